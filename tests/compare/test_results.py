"""Every number of the comparison against one worked out by hand, on runs whose verdicts are made up."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import QUICKSTART

from tpt.compare import comparison_json
from tpt.compare.arms import StudyPlan, load_arms
from tpt.compare.bootstrap import bootstrap_gain, gains, over_seeds
from tpt.compare.figure import figure_svg
from tpt.compare.results import ArmResult, Study, compared
from tpt.compare.running import arm_run_of
from tpt.compare.table import study_markdown, study_text
from tpt.config import render_toml
from tpt.evidence.best_round import split_heldout
from tpt.records import Outcome, Problem, RoundRecord, Trace, Verdict
from tpt.scoring.score import score
from tpt.system.jsonl import replace_records, write_json, write_text

ANSWERS = {"S": "7", "C": "7", "W": "8", "V": "9"}
IDS = [f"p{place}" for place in range(8)]
Round = Mapping[str, str]


def all_of(row: str) -> Round:
    return dict.fromkeys(IDS, row)


BASE = all_of("SWWV")
BETTER = {**all_of("SSWW"), "p0": "SSSS", "p1": "CCCC"}
WORSE = {**all_of("WWVV"), "p0": "SWWW"}


def made_run(out: Path, plan: StudyPlan, arm: int, seed: int, *rounds: Round, questions: str = "") -> None:
    """A finished run; S: right as asked, C: right, W and V: wrong in two ways. Every completion has 10 tokens."""
    task = arm_run_of(out, plan.arms[arm], seed)
    run = task.run
    write_text(run.config, render_toml(plan.arms[arm].config(seed)))
    replace_records(run.heldout, [Problem(each, f"What is {each}{questions}?", "7") for each in IDS])
    for index, scores in enumerate(rounds):
        place = run.round(index)
        verdicts = [
            Verdict(each, sample, Outcome.CORRECT if letter in "SC" else Outcome.WRONG, letter == "S", ANSWERS[letter])
            for each, row in scores.items()
            for sample, letter in enumerate(row)
        ]
        traces = [Trace(v.problem_id, v.sample, f"{v.sample}+1={v.sample + 1}", "stop", 10, 0) for v in verdicts]
        scored = score(traces, verdicts, ks=[], seed=seed)
        replace_records(place.evaluate_traces, traces)
        replace_records(place.evaluate_verdicts, verdicts)
        replace_records(place.evaluate_diversity, scored.problems)
        record = RoundRecord(index, "m", scored.report)
        if index:
            think: dict[str, float] = {
                "traces": 30,
                "completion_tokens": 100 * (seed + 1),
                "surplus_tokens": 10,
                "prompt_tokens": 20,
                "surplus_traces": 1,
            }
            think |= {"cancelled_tokens": 5, "cancelled_requests": 1, "wall_s": 60.0}
            prune: dict[str, float] = {"wall_s": 0.0, "size_wanted": 6, "problems_kept": 6 if arm == 0 else 5}
            train: dict[str, float] = {"target_tokens": 50, "examples": 6, "wall_s": 30.0}
            train |= {"parameters": 1000, "total_tokens": 80}
            record = RoundRecord(index, "m", scored.report, think=think, prune=prune, train=train, wall_s=99.0)
        write_json(place.record, record)


@pytest.fixture
def plan(tmp_path: Path) -> StudyPlan:
    arms = "".join(f'[[arm]]\nname = "{name}"\n' for name in ("tpt", "star", "majority-vote"))
    (tmp_path / "arms.toml").write_text(f'seeds = [0, 1]\nconfig = "{QUICKSTART}"\n{arms}')
    return load_arms(tmp_path / "arms.toml")


@pytest.fixture
def found(plan: StudyPlan, tmp_path: Path) -> Study:
    for seed in plan.seeds:
        made_run(tmp_path, plan, 0, seed, BASE, BETTER, questions=str(seed))
        made_run(tmp_path, plan, 1, seed, BASE, BETTER if seed else WORSE, questions=str(seed))
        made_run(tmp_path, plan, 2, seed, BASE, questions=str(seed))
    return compared(plan, tmp_path)


def arm(found: Study, name: str) -> ArmResult:
    return next(each for each in found.arms if each.name == name)


def test_scores_at_the_last_round_are_means_over_seeds(found: Study) -> None:
    better = (1 + 0 + 6 * 0.5) / 8
    worse = 0.25 / 8
    first, second = arm(found, "tpt").last, arm(found, "star").last
    assert (first.strict.mean, first.strict.stderr) == (pytest.approx(better), 0.0)
    assert first.lenient.mean == pytest.approx((1 + 1 + 6 * 0.5) / 8)
    assert second.strict.mean == pytest.approx((better + worse) / 2)
    assert second.strict.stderr == pytest.approx(abs(better - worse) / 2)  # sd / sqrt(2) of two values
    assert first.pass_at_k is not None and first.pass_at_k.mean == pytest.approx(7 / 8)
    # Two right against two equal wrong answers share the vote; p0 and p1 win it.
    assert first.maj_at_k.mean == pytest.approx((2 + 6 * 0.5) / 8)
    assert first.problems == 8 and first.rounds == [1, 1]
    assert found.base[0].mean == pytest.approx(0.25)


def test_the_chosen_round_is_scored_on_problems_that_did_not_choose_it(
    plan: StudyPlan, found: Study, tmp_path: Path
) -> None:
    shares = []
    for seed in plan.seeds:
        parts = split_heldout(IDS, share=0.5, seed=seed)
        chosen = BETTER if arm(found, "tpt").chosen.rounds[seed] else BASE
        shares.append(np.mean([chosen[each].count("S") / 4 for each in parts.claiming]))
    assert arm(found, "tpt").chosen.strict.mean == pytest.approx(np.mean(shares))
    assert arm(found, "tpt").chosen.problems == 4


def test_costs_are_those_of_all_rounds_but_the_evaluation(found: Study) -> None:
    cost = arm(found, "tpt").cost
    assert (cost.tokens_sampled.mean, cost.tokens_sampled.stderr) == (
        pytest.approx((115 + 215) / 2),
        pytest.approx(50.0),
    )
    assert (cost.completions.mean, cost.tokens_trained.mean, cost.examples.mean) == (32, 50, 6)
    assert cost.minutes.mean == pytest.approx(1.5)
    each = [1000 * (2 * (sampled + 20) + 6 * 80) for sampled in (115, 215)]
    assert cost.flops is not None and cost.flops.mean == pytest.approx(sum(each) / 2)
    gain = 0.5 - 0.25
    per_flop = arm(found, "tpt").last.per_flop
    assert per_flop is not None and per_flop.mean == pytest.approx(sum(gain / one for one in each) / 2)
    assert f"{cost.flops.mean / 1e9:.3g}" in study_text(found) and "points/GFLOP" in study_text(found)
    assert [run["flops"] for run in found.runs[:2]] == each
    assert arm(found, "star").notes[0] == "seed 0, round 1: 5 problems had a keepable trace, 6 were wanted"


def test_the_vote_has_the_tokens_that_the_reference_arm_sampled(found: Study) -> None:
    """One answer to all 8 problems costs 80 tokens; 115 and 215 tokens pay for one and two votes more."""
    vote = arm(found, "majority-vote")
    assert [run["votes"] for run in found.runs if run["arm"] == "majority-vote"] == [2, 3]
    # Of SWWV: two drawn are right by a half where S is among them; of three drawn, S ties twice or W wins.
    two = sum(0.5 for pair in itertools.combinations("SWWV", 2) if "S" in pair) / 6
    votes = ["SWW", "SWV", "SWV", "WWV"]
    three = sum({"SWW": 0.0, "SWV": 1 / 3, "WWV": 0.0}[each] for each in votes) / 4
    assert vote.last.strict.mean == pytest.approx((two + three) / 2)
    assert vote.last.pass_at_k is None and vote.last.variety is None
    assert vote.cost.tokens_sampled.mean == pytest.approx((80 + 160) / 2)


def test_gains_are_paired_and_adjusted(found: Study) -> None:
    star, vote = arm(found, "star").last.strict_gain, arm(found, "majority-vote").last.strict_gain
    assert arm(found, "tpt").last.strict_gain is None and star is not None and vote is not None
    better, worse = 0.5, 0.25 / 8
    assert star.mean == pytest.approx((worse - better) / 2)
    assert star.low < star.mean < star.high
    assert max(star.p_holm, vote.p_holm) <= 2 * max(star.p_value, vote.p_value)
    assert min(star.p_holm, vote.p_holm) == pytest.approx(min(1.0, 2 * min(star.p_value, vote.p_value)))


def test_table_figure_and_json_say_the_same(found: Study) -> None:
    text, page = study_text(found), study_markdown(found)
    for each in (text, page):
        assert "26.6 ± 23.4" in each and "2 seeds. The base model: 25.0 ± 0.0 strict" in each
        assert "majority-vote (maj@2)" in each and "tpt, strict" not in each
    assert len({line.count("|") for line in page.splitlines() if line.startswith("|")}) == 1
    svg = ElementTree.fromstring(figure_svg(found))
    labels = [each.text for each in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"tpt", "star", "majority-vote", "base"} <= set(labels)
    assert json.loads(json.dumps(comparison_json(found), allow_nan=False))["reference"] == "tpt"


def test_one_seed_has_no_error_over_seeds(plan: StudyPlan, tmp_path: Path) -> None:
    alone = StudyPlan(plan.arms[:2], [0], "examples")
    for index in (0, 1):
        made_run(tmp_path, plan, index, 0, BASE, BETTER)
    found = compared(alone, tmp_path)
    assert math.isnan(found.arms[0].last.strict.stderr)
    assert "says nothing of another seed" in study_text(found)
    json.dumps(comparison_json(found), allow_nan=False)


def test_mean_and_error_over_seeds() -> None:
    found = over_seeds([0.1, 0.2, 0.6])
    assert found is not None
    assert (found.mean, found.stderr) == pytest.approx((0.3, np.std([0.1, 0.2, 0.6], ddof=1) / 3**0.5))
    assert over_seeds([0.1, None]) is None and over_seeds([]) is None


def test_the_bootstrap_against_enumeration() -> None:
    """Two seeds, so one is drawn; two shared problems: every outcome can be written down."""
    rows = [{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": -1.0}]
    exact = [np.mean([row[key] for key in drawn]) for row in rows for drawn in itertools.product("ab", repeat=2)]
    drawn = bootstrap_gain(rows, draws=40_000, seed=1)
    for value in set(exact):
        assert np.mean(np.isclose(drawn, value)) == pytest.approx(exact.count(value) / 8, abs=0.01)


def test_the_bootstraps_spread_is_that_of_seeds_and_problems() -> None:
    """Seeds with problems of their own: the unbiased variance over seeds, and on the safe side that over problems too.

    Of S seeds S - 1 are drawn, one of them perhaps several times with the same problems: so each counts 2 / S.
    """
    rng = np.random.default_rng(0)
    rows = [{f"{seed}-{key}": rng.normal(seed / 10, 1.0) for key in range(50)} for seed in range(4)]
    means = np.array([np.mean(list(row.values())) for row in rows])
    within = sum(np.var(list(row.values())) / 50 for row in rows) / 4
    expected = np.var(means, ddof=1) / 4 + within * 2 / 4
    assert np.var(bootstrap_gain(rows, draws=20_000, seed=2)) == pytest.approx(expected, rel=0.05)


def test_two_arms_alike_differ_by_nothing() -> None:
    (gain,) = gains([[{"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0}]], seed=0)
    assert (gain.mean, gain.low, gain.high, gain.p_value, gain.p_holm) == (0, 0, 0, 1, 1)


@pytest.mark.parametrize("width", [80, 100, 200, 300])
def test_the_tables_fit_a_terminal(found: Study, width: int) -> None:
    lines = study_text(found, width=width).split("\n")
    assert max(map(len, lines)) <= width
    headings = [line.split()[0:2] for line in lines if line.startswith("arm")]
    assert headings == [["arm", "round"], ["arm", "round"]]
    assert all("strict pass@1" in line for line in lines if line.startswith("arm"))
    assert any(line.startswith("(no room for: ") for line in lines) == (width < 300)
