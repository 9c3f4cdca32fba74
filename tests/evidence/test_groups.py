"""Further sets and levels: scores by themselves, paired with the base model, and the alarm for what is forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scored_run import Scores, many, records_of, run_of, verdicts_of

from tpt.config import load_config
from tpt.errors import RunError
from tpt.evidence import Evidence, evidence_of
from tpt.evidence.groups import _group, forgetting
from tpt.records import Problem
from tpt.report.groups import also_text, groups_markdown, groups_table
from tpt.report.summary import summary_of
from tpt.run.directory import RunDir
from tpt.run.manifest import write_manifest
from tpt.scoring.score import Counts
from tpt.system.jsonl import read_records, replace_records, to_table

OTHER = ('evaluate.also=["other.jsonl"]',)
KNOWN = {f"o{index:02d}": "SSSS" if index % 3 else "WWWW" for index in range(30)}
FORGOTTEN = dict.fromkeys(KNOWN, "WWWS")


def with_also(run: RunDir, rounds: Mapping[int, Scores], *, greedy: Mapping[int, Scores] | None = None) -> RunDir:
    """The run, some of whose rounds have scored so on its one further set."""
    (source,) = load_config(run.config).evaluate.also
    replace_records(run.also(source.stage), [Problem(each, f"Other {each}?", "7") for each in rounds[0]])
    for index, scores in rounds.items():
        place = run.round(index).also(source.stage)
        replace_records(place.verdicts, verdicts_of(scores))
        write_manifest(run.round(index), source.stage, inputs={}, outputs={}, settings={}, counts={})
        if greedy:
            replace_records(place.greedy_verdicts, verdicts_of(greedy[index]))
    return run


def found(run: RunDir) -> Evidence:
    return evidence_of(run, records_of(run))


def test_a_further_set_has_its_scores_and_its_paired_difference(tmp_path: Path) -> None:
    run = with_also(run_of(tmp_path, many(0), many(1), settings=OTHER), {0: KNOWN, 1: FORGOTTEN})
    (group,) = found(run).also
    assert (group.name, group.problems, group.samples) == ("other", 30, 4)
    base, trained = group.rounds
    assert (base.round, base.to_base, trained.round) == (0, None, 1)
    assert base.lenient.mean == pytest.approx(20 / 30)
    assert trained.lenient.mean == pytest.approx(0.25)
    assert trained.to_base is not None
    assert trained.to_base.lenient.mean == pytest.approx(0.25 - 20 / 30)
    assert trained.to_base.lenient.finding == "loss"
    change = trained.to_base.lenient
    assert change.high < 0
    assert [float(each) for each in re.findall(r"[-+][\d.]+", change.in_points())] == pytest.approx(
        [100 * change.mean, 100 * change.low, 100 * change.high], abs=0.05
    )


def test_only_rounds_that_were_scored_are_shown(tmp_path: Path) -> None:
    run = with_also(run_of(tmp_path, many(0), many(1), many(2), settings=OTHER), {0: KNOWN, 2: KNOWN})
    (group,) = found(run).also
    assert [each.round for each in group.rounds] == [0, 2]


def test_a_set_that_the_base_model_was_not_scored_on_is_not_shown(tmp_path: Path) -> None:
    assert found(run_of(tmp_path, many(0), many(1), settings=OTHER)).also == []


def test_forgetting_is_an_alarm_of_its_set(tmp_path: Path) -> None:
    run = with_also(run_of(tmp_path, many(0), many(1), settings=OTHER), {0: KNOWN, 1: FORGOTTEN})
    (alarm,) = forgetting(found(run).also, level=0.05)
    assert (alarm.round, alarm.name) == (1, "forgetting of other")
    assert "lenient pass@1 fell from 66.7% to 25.0% (-41.7 [" in alarm.seen
    assert [each.name for each in summary_of(run).alarms if each.name == alarm.name] == [alarm.name]


def test_a_greedy_loss_is_seen_where_samples_got_sharper(tmp_path: Path) -> None:
    """Half of the samples right before, and after: but the greedy answer was right and is wrong."""
    even = dict.fromkeys(KNOWN, "SSWW")
    greedy = {0: dict.fromkeys(KNOWN, "S"), 1: {each: "S" if index < 10 else "W" for index, each in enumerate(KNOWN)}}
    run = with_also(run_of(tmp_path, many(0), many(1), settings=OTHER), {0: even, 1: even}, greedy=greedy)
    (alarm,) = forgetting(found(run).also, level=0.05)
    assert "the greedy score fell from 100.0% to 33.3%" in alarm.seen
    assert "lenient" not in alarm.seen


def test_noise_and_gains_are_no_alarm(tmp_path: Path) -> None:
    slightly = {**KNOWN, "o01": "WWWW"}
    run = with_also(
        run_of(tmp_path, many(0), many(1), many(2), settings=OTHER),
        {0: KNOWN, 1: slightly, 2: dict.fromkeys(KNOWN, "SSSS")},
    )
    assert forgetting(found(run).also, level=0.05) == []


@pytest.mark.parametrize("problems", [12, 60])
def test_a_model_against_itself_raises_the_alarm_at_most_one_time_in_twenty(problems: int) -> None:
    rng = np.random.default_rng(problems)
    ids = tuple(f"p{index}" for index in range(problems))
    alarms = 0
    for seed in range(300):
        rates = rng.beta(0.5, 0.5, problems)
        counts = {
            index: Counts(
                ids,
                np.full(problems, 4),
                right := rng.binomial(4, rates),
                right,
                np.repeat((rng.random(problems) < rates)[:, None].astype(float), 2, axis=1),
            )
            for index in (0, 1)
        }
        alarms += bool(forgetting([_group("other", counts, seed=seed, level=0.05)], level=0.05))
    # 15 are expected at most; the 99.9th percentile of as many draws is 28.
    assert alarms <= 28


def test_verdicts_of_other_problems_are_refused(tmp_path: Path) -> None:
    run = with_also(run_of(tmp_path, many(0), many(1), settings=OTHER), {0: KNOWN, 1: KNOWN})
    (source,) = load_config(run.config).evaluate.also
    replace_records(run.round(1).also(source.stage).verdicts, verdicts_of({"x": "S"}))
    named = re.escape(str(run.also(source.stage)))
    with pytest.raises(
        RunError, match=rf"verdicts of 1 problems, which are not the 30 of {named}. Delete .*also-other"
    ):
        found(run)


def levelled(path: Path, levels: Sequence[str]) -> RunDir:
    run = run_of(path, many(0), many(2))
    problems = read_records(run.heldout, Problem)
    replace_records(
        run.heldout,
        [Problem(each.id, each.question, each.answer, level=levels[index]) for index, each in enumerate(problems)],
    )
    return run


def test_levels_have_scores_of_their_own_in_the_order_of_numbers(tmp_path: Path) -> None:
    run = levelled(tmp_path, ["10", "2", "1"] * 20)
    groups = found(run).levels
    assert [(group.name, group.problems) for group in groups] == [("1", 20), ("2", 20), ("10", 20)]
    whole = found(run).rounds[1]
    assert whole.to_base is not None
    gains = [group.rounds[1].to_base.strict.mean for group in groups if group.rounds[1].to_base]
    assert np.mean(gains) == pytest.approx(whole.to_base.strict.mean)


@pytest.mark.parametrize("levels", [["1"] * 60, [""] * 60, [f"{index}" for index in range(60)]])
def test_one_level_none_or_dozens_of_them_are_no_levels(tmp_path: Path, levels: list[str]) -> None:
    assert found(levelled(tmp_path, levels)).levels == []


def test_a_level_of_one_problem_has_scores_but_no_test(tmp_path: Path) -> None:
    groups = found(levelled(tmp_path, ["hard", *["easy"] * 59])).levels
    assert [(group.name, group.rounds[1].to_base is None) for group in groups] == [("easy", False), ("hard", True)]


def test_tables_in_text_and_markdown(tmp_path: Path) -> None:
    run = with_also(run_of(tmp_path, many(0), many(1), settings=OTHER), {0: KNOWN, 1: FORGOTTEN})
    evidence = found(run)
    heading, base, trained = also_text(evidence)
    assert heading.startswith("also scored  problems  round")
    assert base.split()[:5] == ["other", "30", "x", "4", "0"]
    assert trained.rstrip().endswith("loss")
    written = groups_markdown(evidence)
    assert "## Scored besides" in written
    assert "## By level" not in written
    assert groups_markdown(found(levelled(tmp_path / "levels", ["1", "2"] * 30))).count("| 2 | 30 x 8 |") == 2


def test_names_cannot_break_the_table(tmp_path: Path) -> None:
    (group,) = found(with_also(run_of(tmp_path, many(0), many(1), settings=OTHER), {0: KNOWN, 1: KNOWN})).also
    table = groups_table("set", [type(group)("a|b\n\u202ec", group.problems, group.samples, group.rounds)])
    assert "| a/b \\u{202e}c | 30 x 4 |" in table


def test_it_is_in_the_json(tmp_path: Path) -> None:
    run = with_also(run_of(tmp_path, many(0), many(1), settings=OTHER), {0: KNOWN, 1: FORGOTTEN})
    table = json.loads(json.dumps(to_table(found(run))))
    assert table["also"][0]["rounds"][1]["to_base"]["lenient"]["finding"] == "loss"
