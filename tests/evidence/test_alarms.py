"""Alarms: each is raised by what it is about, and by nothing else; noise raises none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Finished, Tpt
from msgspec.structs import replace
from resealed import reseal

from tpt.config import AlarmConfig, RunConfig
from tpt.evidence import evidence_of
from tpt.evidence.alarms import FEWEST, Alarm, Observed, alarms_between, alarms_of, in_words
from tpt.records import Problem, ProblemDiversity
from tpt.report.collapse import alarm_lines, collapse_section
from tpt.rounds import Run
from tpt.scoring.score import Counts
from tpt.system.jsonl import read_json, read_records, replace_records

CONFIG = AlarmConfig()
PROBE = {
    "kl_base_round": 0.05,
    "kl_base_round_stderr": 0.005,
    "human_nll": 0.5,
    "human_nll_change": 0.0,
    "human_nll_change_stderr": 0.01,
}


def observed(
    index: int = 1,
    *,
    strict: float = 0.4,
    lenient: float = 0.5,
    problems: int = 200,
    seed: int = 0,
    probe: dict[str, float] | None = None,
    **diversity: float | None,
) -> Observed:
    """A round of 16 samples a problem; the problems' difficulties spread, the same ones in every round."""
    rng = np.random.default_rng((index, seed))
    names = tuple(f"p{number:04d}" for number in range(problems))
    ease = np.random.default_rng(9).uniform(-0.3, 0.3, problems)
    right = rng.binomial(16, np.clip(lenient + ease, 0, 1))
    formed = rng.binomial(right, min(1.0, strict / lenient))
    row: dict[str, Any] = {
        "chains": 1.7, "texts": 3.0, "answer_entropy": 1.0, "tokens": 40.0, "truncated": 0.01, "looped": 0.0, **diversity,
    }  # fmt: skip
    noise = rng.normal(1, 0.2, (problems, len(row)))
    rows = {
        name: ProblemDiversity(
            name, **{k: v if v is None else float(v * e) for (k, v), e in zip(row.items(), each, strict=True)}
        )
        for name, each in zip(names, noise, strict=True)
    }
    counts = Counts(names, np.full(problems, 16), formed, right)
    return Observed(index, 16, counts, rows, PROBE if probe is None else {**PROBE, **probe})


def names(now: Observed, config: AlarmConfig = CONFIG) -> list[str]:
    return [alarm.name for alarm in alarms_between(observed(0), now, config)]


def only(now: Observed, config: AlarmConfig = CONFIG) -> str:
    (alarm,) = alarms_between(observed(0), now, config)
    assert re.fullmatch(r"[A-Z][a-z]+ .*[a-z\")]\.", alarm.advice), "a sentence of what to do"
    for section, key in re.findall(r"\b([a-z]+)\.([a-z_]+)\b", f"{alarm.threshold} {alarm.advice}"):
        assert key in type(getattr(RunConfig(), section)).model_fields, "a key that there is"
    return in_words(alarm)


def test_a_healthy_gain_raises_none() -> None:
    assert (
        names(observed(strict=0.6, lenient=0.7, chains=1.5, probe={"human_nll": 0.3, "human_nll_change": -0.2})) == []
    )


def test_mode_collapse_is_diversity_lost_while_the_score_rises() -> None:
    said = only(observed(3, strict=0.6, lenient=0.7, chains=1.1))
    assert said.startswith("Round 3, mode collapse: pass@1 rose from ") and "different equation chains (-3" in said
    assert "pass@16 has not fallen" in said and "(alarm: alarms.variety_drop = 0.25). Sample at a higher" in said
    assert names(observed(chains=1.1)) == [], "no score rises"
    assert names(observed(strict=0.6, lenient=0.7, chains=1.1), CONFIG.model_copy(update={"variety_drop": 0.5})) == []
    assert names(observed(strict=0.6, lenient=0.7, chains=None)) == [], "no problem has enough right traces"


def test_model_collapse_is_human_text_less_likely_while_the_score_falls() -> None:
    forgets = {"human_nll": 0.6, "human_nll_change": 0.1}
    said = only(observed(strict=0.3, lenient=0.4, probe=forgets))
    assert "model collapse: lenient pass@1 fell from" in said and "0.500 to 0.600 nats a token (+20%)" in said
    assert names(observed(probe=forgets)) == [], "no score falls"
    assert names(observed(strict=0.3, lenient=0.4)) == [], "human text is as likely as before"
    noisy = {**forgets, "human_nll_change_stderr": 0.04}
    assert names(observed(strict=0.3, lenient=0.4, probe=noisy)) == []
    little = {"human_nll": 0.51, "human_nll_change": 0.01, "human_nll_change_stderr": 0.001}
    assert names(observed(strict=0.3, lenient=0.4, probe=little)) == []


def test_no_human_solutions_no_alarm_about_them() -> None:
    now = observed(strict=0.3, lenient=0.4)
    assert alarms_between(observed(0), now._replace(probe={}), CONFIG) == []


def test_format_only_is_strict_without_lenient() -> None:
    said = only(observed(strict=0.499, lenient=0.5))
    assert (
        "format-only gain: strict pass@1 rose by 1" in said
        and "most of the gain is format, how answers are written, not how they are found" in said
    )
    assert names(observed(strict=0.6, lenient=0.65)) == []


def with_greedy(each: Observed, right: float, *, unlike: int = 0) -> Observed:
    """The round with greedy samples, right on this share of the problems; on so many it differs both ways at once."""
    problems = len(each.counts.problem_ids)
    greedy = (np.arange(problems) < right * problems).astype(np.float64)
    greedy[:unlike], greedy[problems - unlike :] = 0.0, 1.0 if unlike else greedy[-1]
    return each._replace(counts=each.counts._replace(greedy=np.stack([greedy, greedy], axis=1)))


@pytest.mark.parametrize(
    ("before", "lenient", "after", "unlike", "raised"),
    [
        (0.6, 0.65, 0.6, 0, ["sharpening only"]),
        (0.6, 0.65, 0.6, 5, ["sharpening only"]),
        (0.6, 0.65, 0.62, 0, ["sharpening only"]),
        (0.6, 0.65, 0.5, 0, ["sharpening only"]),
        (0.6, 0.65, 0.65, 0, []),  # a third of the gain is the greedy answer's
        (0.6, 0.65, 0.75, 0, []),
        (0.6, 0.5, 0.6, 0, []),  # nothing is gained
        (0.6, 0.3, 0.6, 0, []),
        (0.6, 0.65, 0.6, 40, []),  # the greedy answers moved too much to tell
    ],
)
def test_sharpening_only_is_a_gain_that_decoding_greedily_lacks(
    before: float, lenient: float, after: float, unlike: int, raised: list[str]
) -> None:
    base = with_greedy(observed(0), before)
    now = with_greedy(observed(strict=0.8 * lenient, lenient=lenient), after, unlike=unlike)
    found = alarms_between(base, now, CONFIG)
    assert [alarm.name for alarm in found] == raised
    if raised and (after, unlike) == (before, 0):
        assert (
            "greedily by +0.0 (standard error 0.0), from 60.0% to 60.0%: samples come nearer to what the base"
            in in_words(found[0])
        )
        every_gain = CONFIG.model_copy(update={"skill_share": 0.0})
        assert alarms_between(base, now, every_gain) == []


def test_without_greedy_samples_of_both_rounds_nothing_is_said_of_sharpening() -> None:
    now = observed(strict=0.52, lenient=0.65)
    assert alarms_between(observed(0), with_greedy(now, 0.6), CONFIG) == []
    assert alarms_between(with_greedy(observed(0), 0.6), now, CONFIG) == []


@pytest.mark.parametrize(("clusters", "raised"), [(None, True), (100, True), (10, False), (FEWEST - 1, False)])
def test_problems_of_one_cluster_are_one_witness(clusters: int | None, raised: bool) -> None:
    """The first fifth of the problems is written as asked now: proof unless it is two witnesses of ten."""
    base = observed(0)
    counts = base.counts._replace(clusters=None if clusters is None else np.arange(200) * clusters // 200)
    strict = np.where(np.arange(200) < 40, counts.lenient, counts.strict)
    found = alarms_between(
        base._replace(counts=counts), base._replace(round=1, counts=counts._replace(strict=strict)), CONFIG
    )
    assert [alarm.name for alarm in found] == ["format-only gain"] * raised


def test_few_clusters_raise_none() -> None:
    clusters = np.arange(200) * (FEWEST - 1) // 200
    base, far = (
        each._replace(counts=each.counts._replace(clusters=clusters))
        for each in (observed(0), observed(tokens=90.0, looped=0.5))
    )
    assert alarms_between(base, far, CONFIG) == []
    # What is defined in few clusters alone is not watched; the rest is.
    spread = base.counts._replace(clusters=np.arange(200) // 10)
    one = [
        each._replace(
            counts=spread,
            diversity={
                name: row if place < 20 else replace(row, chains=None)
                for place, (name, row) in enumerate(each.diversity.items())
            },
        )
        for each in (base, far)
    ]
    assert [alarm.name for alarm in alarms_between(one[0], one[1], CONFIG)] == ["length drift", "repetition"]


@pytest.mark.parametrize(
    ("now", "name"),
    [
        (observed(probe={"kl_base_round": 1.8, "kl_base_round_stderr": 0.05}), "far from the base model"),
        (observed(tokens=70.0), "length drift"),
        (observed(tokens=20.0), "length drift"),
        (observed(truncated=0.1), "truncation drift"),
        (observed(looped=0.05), "repetition"),
    ],
)
def test_drift(now: Observed, name: str) -> None:
    said = only(now)
    assert f"Round 1, {name}: " in said and "alarms." in said
    loose = AlarmConfig(kl=2.0, length_factor=2.5, truncated_rise=0.2, looped_rise=0.1)
    assert names(now, loose) == []


def test_few_problems_raise_none() -> None:
    few = {"problems": FEWEST - 1}
    far = observed(tokens=90.0, looped=0.5, problems=FEWEST - 1)
    assert alarms_between(observed(0, **few), far, CONFIG) == []  # type: ignore[arg-type]
    assert len(names(observed(tokens=90.0, looped=0.5))) == 2


def test_a_rare_event_is_not_significant() -> None:
    """One problem of 200 whose traces all loop: above a threshold of 0.001, but within noise."""
    now = observed()
    first = next(iter(now.diversity))
    now.diversity[first] = replace(now.diversity[first], looped=1.0)
    assert names(now, CONFIG.model_copy(update={"looped_rise": 0.001})) == []


def test_rounds_of_the_same_model_raise_none() -> None:
    """With thresholds of zero only the standard errors hold alarms back: few pass 3 of them."""
    bare = AlarmConfig(
        variety_drop=0, human_nll_rise=0, kl=1e9, length_factor=1, truncated_rise=0, looped_rise=0, format_share=1
    )
    pairs = [(observed(0, seed=seed, looped=0.02), observed(1, seed=seed, looped=0.02)) for seed in range(80)]
    assert sum(bool(alarms_between(base, now, bare)) for base, now in pairs) <= 4, "expected about 1"
    moved = [(base, observed(1, seed=seed, looped=0.03)) for seed, (base, _) in enumerate(pairs)]
    assert all(alarms_between(base, now, bare) for base, now in moved), "a real change is seen every time"


def test_of_each_kind_the_last_round_is_shown() -> None:
    alarms = [
        Alarm(1, "repetition", "a", "t", "x."),
        Alarm(2, "length drift", "b", "t", "x."),
        Alarm(3, "repetition", "c", "t", "x."),
    ]
    assert alarm_lines(alarms) == ["Round 3, repetition: c (alarm: t). x.", "Round 2, length drift: b (alarm: t). x."]


def far_from_base(run: Path) -> None:
    """Has a finished run's first round end far from its base model."""
    # Ten problems in nine clusters would be too few for any alarm.
    heldout = run / "heldout.jsonl"
    replace_records(heldout, [replace(each, cluster="") for each in read_records(heldout, Problem)])
    probe = read_json(run / "round-1" / "evaluate.json")["counts"]["report"]["probe"]
    reseal(run, report={1: {"probe": {**probe, "kl_base_round": 1.7}}})


def test_thresholds_are_config_and_may_change_on_resuming(finished_copy: Path) -> None:
    far_from_base(finished_copy)
    opened = Run(finished_copy)
    changed = opened.config.model_copy(update={"alarms": AlarmConfig(kl=1.9)})
    Run(finished_copy, changed).prepare()
    again = Run(finished_copy)
    assert again.config.alarms.kl == 1.9
    assert [len(alarms_of(again.dir, again.records(), each.config.alarms)) for each in (opened, again)] == [1, 0]


def test_a_run_shows_its_alarms(finished_copy: Path, tpt: Tpt) -> None:
    far_from_base(finished_copy)
    result = tpt("report", finished_copy)
    assert "Round 1, far from the base model: on correct traces of the base model" in result.out
    assert '"name": "far from the base model"' in tpt("report", finished_copy, "--format", "json").out
    text = (finished_copy / "report.md").read_text()
    assert "## Collapse dashboard\n\n- Round 1, far from the base model: " in text
    assert "| round | chains in 2 |" in text and "KL(base ‖ round)" in text


def test_a_quiet_run_says_so(finished: Finished) -> None:
    opened = Run(finished.path)
    assert alarms_of(opened.dir, opened.records(), opened.config.alarms) == []


def test_what_was_not_probed_has_no_columns(finished: Finished) -> None:
    records = Run(finished.path).records()
    bare = [replace(record, evaluate=replace(record.evaluate, probe={}, diversity={})) for record in records]
    found = evidence_of(Run(finished.path).dir, records)
    section = collapse_section(bare, [], found)
    # The ten problems of this run are fewer clusters.
    assert "No alarm can be raised about these: there are fewer than 10 held-out clusters of problems." in section
    assert "human NLL |" not in section and "| 1 |  |  |" in section
    assert "human NLL |" in collapse_section(records, [], found) and collapse_section([], [], found) == ""


def test_rounds_without_diversity_are_watched_for_the_rest(finished_copy: Path) -> None:
    far_from_base(finished_copy)
    for index in (0, 1):
        (finished_copy / f"round-{index}" / "evaluate" / "diversity.jsonl").unlink()
    reseal(finished_copy)
    opened = Run(finished_copy)
    alarms = alarms_of(opened.dir, opened.records(), opened.config.alarms)
    assert [alarm.name for alarm in alarms] == ["far from the base model"]


def test_the_file_of_older_runs_is_read_under_its_old_name(finished_copy: Path) -> None:
    opened = Run(finished_copy)
    before = alarms_of(opened.dir, opened.records(), opened.config.alarms.model_copy(update={"length_factor": 1.0}))
    for index in (0, 1):
        folder = finished_copy / f"round-{index}" / "evaluate"
        (folder / "diversity.jsonl").rename(folder / "variety.jsonl")
        assert opened.dir.round(index).evaluate_diversity == folder / "variety.jsonl"
    reseal(finished_copy)
    after = alarms_of(opened.dir, opened.records(), opened.config.alarms.model_copy(update={"length_factor": 1.0}))
    assert after == before
