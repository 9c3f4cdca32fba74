"""Problems that were edited after they were frozen, whether or not a stage has read them yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.reliability.world import Setting, World, fresh, undisturbed
from tpt.report.verified import verify_run
from tpt.run.directory import RunDir
from tpt.system.jsonl import read_json

SETTING = Setting(problems=4, heldout=2, also=True)


def begun(calls: float) -> World:
    """A run that was killed after a share of its calls."""
    world = fresh(SETTING)
    world.attempt({int(calls * len(undisturbed(SETTING)[1])): "kill"})
    return world


@pytest.mark.parametrize(("share", "stages"), [(0.15, 0), (0.45, 1)])
@pytest.mark.parametrize("name", ["problems.jsonl", "heldout.jsonl", "also/*.jsonl"])
def test_an_edit_is_found_before_any_stage_reads_it(name: str, share: float, stages: int) -> None:
    world = begun(share)
    assert sum((world.path / "round-0" / f"{stage}.json").exists() for stage in ("evaluate", "think")) == stages
    (path,) = world.path.glob(name)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"answer": "', b'"answer": "1', 1))
    ended, _ = world.attempt()
    assert ended.startswith("StaleStageError") and f"{path}" in ended and "changed" in ended, ended
    assert not verify_run(RunDir(world.path)).ok
    path.unlink()
    assert not verify_run(RunDir(world.path)).ok
    path.write_bytes(whole)
    assert not world.attempt()[0]
    world.check_finished(undisturbed(SETTING)[0])


def test_a_run_of_an_earlier_version_has_no_record_and_goes_on() -> None:
    world = begun(0.45)
    record = world.path / "frozen.json"
    record.unlink()
    assert not world.attempt()[0]
    assert {Path(name).name for name in read_json(record)} >= {"problems.jsonl", "heldout.jsonl"}
    world.check_finished(undisturbed(SETTING)[0])


def test_killed_while_freezing_it_is_frozen_again() -> None:
    world = fresh(SETTING)
    for number in range(1, 30):
        world.attempt({number: "kill"})
        assert (world.path / "frozen.json").exists() <= (world.path / "heldout.jsonl").exists()
    assert not world.attempt()[0]
    world.check_finished(undisturbed(SETTING)[0])


def test_a_further_set_is_recorded_when_it_comes() -> None:
    world = fresh(replace(SETTING, also=False))
    assert not world.attempt()[0]
    before = read_json(world.path / "frozen.json")
    world.setting = SETTING
    assert not world.attempt()[0]
    after = read_json(world.path / "frozen.json")
    assert before.pop("seal") != after.pop("seal")
    assert before.items() <= after.items() and len(after) == 3 > len(before)
