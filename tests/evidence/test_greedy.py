"""Greedy samples: read where they lie, taken as given where the whole run is greedy, and left out where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from scored_run import evidence, many, records_of, run_of, verdicts_of

from tpt.config import AlarmConfig
from tpt.evidence import compare_runs
from tpt.evidence.alarms import alarms_of
from tpt.evidence.rounds import evidence_of
from tpt.records import Problem
from tpt.report.markdown import markdown_report
from tpt.report.rows import report_rows
from tpt.report.sentences import parts_text
from tpt.report.text import headline
from tpt.system.jsonl import replace_records

SURE = dict.fromkeys(many(1), "S")
UNSURE = {name: "S" if index % 5 > 1 else "W" for index, name in enumerate(many(1))}
ROUNDS = (many(1), many(3))


def test_the_greedy_scores_come_from_their_own_files(tmp_path: Path) -> None:
    found = evidence(tmp_path, *ROUNDS, greedy=(UNSURE, SURE))
    base, later = found.rounds
    assert base.greedy is not None and base.greedy_lenient is not None and later.greedy_lenient is not None
    assert (base.greedy.mean, base.greedy_lenient.mean, later.greedy_lenient.mean) == (0.6, 0.6, 1.0)
    gained = later.to_base
    assert gained is not None and gained.skill is not None and gained.sharpening is not None
    assert (gained.skill.mean, gained.skill.finding) == (pytest.approx(0.4), "gain")
    assert gained.sharpening.mean == pytest.approx(gained.lenient.mean - 0.4)
    assert gained.format.mean == 0.0 and gained.most == "skill"
    claim = found.claim
    assert claim is not None and claim.greedy_before is not None and claim.greedy_after is not None
    assert "greedy from " in headline(found) and "Most of the gain is skill" in headline(found)
    run = run_of(tmp_path, *ROUNDS, greedy=(UNSURE, SURE))
    text = markdown_report(
        report_rows(records_of(run), found), records_of(run), found, title="first", said=headline(found), stopped=""
    )
    assert "| 1 | 0 (base) | skill (greedy) | +40.0 [" in text and "| 1 | 0 (base) | sharpening | -15.0 [" in text


def test_a_gain_that_decoding_greedily_has_too_is_sharpening(tmp_path: Path) -> None:
    run = run_of(tmp_path, *ROUNDS, greedy=(SURE, SURE))
    found = evidence_of(run, records_of(run))
    gained = found.rounds[1].to_base
    assert gained is not None and gained.skill is not None and gained.sharpening is not None
    assert gained.most == "sharpening" and gained.skill.finding == "within noise"
    assert gained.sharpening.mean == pytest.approx(gained.strict.mean)
    assert "which decoding greedily gives without training" in parts_text(gained)
    (alarm,) = alarms_of(run, records_of(run), AlarmConfig())
    assert alarm.name == "sharpening only" and "greedily by +0.0" in alarm.seen


def test_without_greedy_samples_of_both_rounds_there_are_two_parts(tmp_path: Path) -> None:
    for name, greedy in (("none", ()), ("base alone", (SURE,))):
        found = evidence(tmp_path / name, *ROUNDS, greedy=greedy)
        gained = found.rounds[1].to_base
        assert gained is not None and gained.sharpening is gained.skill is None
        assert "sharpening and skill are not told apart, as there are no greedy samples" in headline(found)
        assert found.claim is not None and found.claim.greedy_after is None and "greedy from" not in headline(found)
    assert found.rounds[0].greedy_lenient is not None and found.rounds[1].greedy_lenient is None


def test_greedy_samples_of_other_problems_are_left_out(tmp_path: Path) -> None:
    run = run_of(tmp_path, *ROUNDS, greedy=(SURE, SURE))
    replace_records(run.round(1).greedy_verdicts, verdicts_of({"p00": "S"}))
    found = evidence_of(run, records_of(run)).rounds[1]
    assert found.greedy is None and found.to_base is not None and found.to_base.skill is None


def test_a_run_at_temperature_0_is_greedy_throughout(tmp_path: Path) -> None:
    rounds = ({name: row[0] for name, row in UNSURE.items()}, SURE)
    found = evidence(tmp_path, *rounds, settings=("evaluate.temperature=0.0",))
    later = found.rounds[1]
    assert later.greedy == later.strict and later.greedy_lenient == later.lenient
    gained = later.to_base
    assert gained is not None and gained.skill == gained.lenient and gained.sharpening is not None
    assert (gained.sharpening.mean, gained.sharpening.finding) == (0.0, "within noise")


def test_runs_are_compared_in_three_parts(tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", many(1), greedy=(UNSURE,))
    second = run_of(tmp_path / "second", many(3), greedy=(SURE,))
    found = compare_runs(first, second)
    compared = found.best.comparison
    assert compared is not None and compared.skill is not None and compared.skill.mean == pytest.approx(0.4)
    assert [alarm.name for alarm in found.alarms] == []
    sharper = compare_runs(first, run_of(tmp_path / "third", many(3), greedy=(UNSURE,)))
    assert [alarm.name for alarm in sharper.alarms] == ["sharpening only"]


def test_problems_may_be_gone_from_the_run(tmp_path: Path) -> None:
    """Clusters are read with the problems; a run without them has none."""
    run = run_of(tmp_path, *ROUNDS, clusters=dict.fromkeys(many(1), "one"))
    assert evidence_of(run, records_of(run)).clusters == 1
    run.heldout.unlink()
    assert evidence_of(run, records_of(run)).clusters is None
    replace_records(run.heldout, [Problem("p00", "q", "7")])
    assert evidence_of(run, records_of(run)).clusters is None
