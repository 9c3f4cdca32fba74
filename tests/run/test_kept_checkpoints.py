"""Checkpoints that go: never the best round's, the last one's or one that these need, and never half of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import QUICKSTART

from tpt.config import load_config
from tpt.errors import RunError
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.kept_checkpoints import drop_checkpoints
from tpt.start_model import require_weights, trained_model_of


def run_of(path: Path, rounds: int, **adapters: str) -> RunDir:
    """A run with checkpoints; ``adapters``: round to what it is an adapter on."""
    run = RunDir(path)
    for index in range(rounds + 1):
        folder = run.round(index).checkpoint
        folder.mkdir(parents=True)
        if not index:
            shutil.rmtree(folder)
        elif base := adapters.get(f"round{index}"):
            config = {"base_model_name_or_path": base, "r": 4}
            (folder / "adapter_config.json").write_text(json.dumps(config))
            (folder / "adapter_model.safetensors").write_text("weights")
        else:
            (folder / "config.json").write_text("{}")
    return run


def left(run: RunDir) -> list[int]:
    return [each.index for each in run.rounds() if any(each.path.glob("checkpoint*"))]


@pytest.mark.parametrize(("best", "kept"), [(0, [4]), (2, [2, 4]), (4, [4])])
def test_the_best_and_the_last_stay(tmp_path: Path, best: int, kept: list[int]) -> None:
    run = run_of(tmp_path, 4)
    assert drop_checkpoints(run, best=best) == [index for index in range(1, 5) if index not in kept]
    assert left(run) == kept
    assert drop_checkpoints(run, best=best) == []


def test_what_an_adapter_lies_on_stays(tmp_path: Path) -> None:
    on = {"round2": str(tmp_path / "round-1" / "checkpoint"), "round4": str(tmp_path / "round-2" / "checkpoint")}
    run = run_of(tmp_path, 4, **on)
    assert drop_checkpoints(run, best=0) == [3]
    assert left(run) == [1, 2, 4]


def test_what_a_kill_left_goes_with_the_next_call(tmp_path: Path) -> None:
    run = run_of(tmp_path, 3)
    run.round(1).checkpoint.rename(run.round(1).path / "checkpoint.going")
    assert drop_checkpoints(run, best=2) == []
    assert left(run) == [2, 3]


def test_a_run_that_drops_them_goes_on_and_reports(tmp_path: Path) -> None:
    small = ("problems.max_train=40", "problems.max_heldout=8", "think.samples=3", "prune.size=8", "evaluate.samples=2")
    sets = (*small, "engine.slots=16", "threads=1", "stop.gate=warn", "evaluate.probe=0", "stop.patience=0")

    def config(rounds: int) -> Run:
        overrides = [*sets, f"rounds={rounds}", "train.keep=best+last"]
        return Run(tmp_path / "run", load_config(QUICKSTART, overrides))

    assert len(list(config(2).rounds())) == 3
    records = list(config(3).rounds())
    run, best = RunDir(tmp_path / "run"), int((tmp_path / "run" / "best").read_text().split("-")[1])
    assert len(records) == 4 and left(run) == sorted({best, 3} - {0})
    assert len(Run(tmp_path / "run").records()) == 4
    gone = next(index for index in (1, 2) if index != best)
    with pytest.raises(RunError, match="checkpoint: missing"):
        require_weights(trained_model_of(run.round(gone)))
