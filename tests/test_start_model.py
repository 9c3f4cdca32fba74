"""Which model a round starts with: the last round's, or, after a significant loss, the best one's."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import QUICKSTART

from tpt.config import RunConfig, load_config
from tpt.errors import RunError, StaleStageError
from tpt.records import Outcome, Verdict
from tpt.run.directory import RunDir
from tpt.run.manifest import write_manifest
from tpt.start_model import StartModel, sampled_model_of
from tpt.system.jsonl import replace_records, write_json

ROLLBACK = load_config(QUICKSTART, ["stop.rollback=true"])
ONWARD = load_config(QUICKSTART, [])


def scored(path: Path, *rights: int) -> RunDir:
    """A run of which each round got so many of 4 samples of each of 40 problems right."""
    run = RunDir(path)
    write_json(run.base, {"model": "embedded", "digest": "base"})
    for index, right in enumerate(rights):
        round_dir = run.round(index)
        verdicts = [
            Verdict(
                f"p{problem:02d}", sample, Outcome.CORRECT if sample < right else Outcome.WRONG, sample < right, "1"
            )
            for problem in range(40)
            for sample in range(4)
        ]
        replace_records(round_dir.evaluate_verdicts, verdicts)
        outputs = {"verdicts": round_dir.evaluate_verdicts}
        write_manifest(round_dir, "evaluate", inputs={}, outputs=outputs, settings={}, counts={})
        if index:
            write_json(round_dir.checkpoint / "config.json", {"round": index})
            outputs = {"checkpoint": round_dir.checkpoint}
            write_manifest(round_dir, "train", inputs={}, outputs=outputs, settings={}, counts={})
    return run


def start_of(run: RunDir, index: int, config: RunConfig) -> StartModel:
    return sampled_model_of(run, run.round(index), config)


def test_a_loss_is_rolled_back_to_the_best_round(tmp_path: Path) -> None:
    run = scored(tmp_path, 1, 3, 2, 0)
    assert [start_of(run, index, ROLLBACK).round for index in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert start_of(run, 4, ROLLBACK).spec == str(run.round(1).checkpoint)
    assert start_of(run, 4, ROLLBACK).digest != start_of(run, 4, ONWARD).digest
    assert [start_of(run, index, ONWARD).round for index in (1, 2, 3, 4)] == [0, 1, 2, 3]


def test_a_loss_against_the_base_model_goes_back_to_it(tmp_path: Path) -> None:
    assert start_of(scored(tmp_path, 2, 1), 2, ROLLBACK) == StartModel("embedded", "base", 0)


def test_no_difference_is_no_reason_to_go_back(tmp_path: Path) -> None:
    assert start_of(scored(tmp_path, 2, 2, 2), 3, ROLLBACK).round == 2


def test_later_rounds_do_not_change_what_an_earlier_one_started_from(tmp_path: Path) -> None:
    before = [start_of(scored(tmp_path / "short", 1, 3, 2), index, ROLLBACK).round for index in (1, 2, 3)]
    after = [start_of(scored(tmp_path / "long", 1, 3, 2, 4, 4), index, ROLLBACK).round for index in (1, 2, 3)]
    assert before == after == [0, 1, 1]


def test_going_back_needs_the_scores_of_every_round_before(tmp_path: Path) -> None:
    run = scored(tmp_path, 1, 2)
    run.round(1).evaluate_verdicts.write_text("")
    with pytest.raises(StaleStageError, match=r"verdicts\.jsonl: changed since"):
        start_of(run, 2, ROLLBACK)
    run.round(1).manifest("evaluate").unlink()
    with pytest.raises(RunError, match="round 1 has no finished evaluate stage"):
        start_of(run, 2, ROLLBACK)
    assert start_of(run, 2, ONWARD).round == 1
