"""The seconds of a stage count all processes that worked at it, also those that were killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import QUICKSTART

import tpt.run.stage
from tpt.config import load_config
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.stage import StageContext
from tpt.stage_process import do_stage
from tpt.system.jsonl import read_json
from tpt.system.progress import Display

SMALL = [
    *("rounds=1", "problems.max_train=20", "problems.max_heldout=6", "think.samples=3", "prune.size=6"),
    *("evaluate.samples=2", "evaluate.probe=0", "engine.slots=16", "threads=1", "stop.gate=warn"),
]
TITLES = {
    ("evaluate", 0): "round 0 base model's score",
    ("think", 1): "round 1 think (solved)",
    ("train", 1): "round 1 train",
    ("evaluate", 1): "round 1 evaluate",
}


def left_behind(run: RunDir, **told: object) -> None:
    """Leave what a killed process leaves."""
    run.logs.mkdir(exist_ok=True)
    run.progress.write_text(json.dumps(told))


def test_every_stage_counts_the_seconds_of_killed_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Run(tmp_path / "run", load_config(QUICKSTART, SMALL))
    opened.prepare()
    read: list[Path] = []
    monkeypatch.setattr(tpt.run.stage, "read_json", lambda path: (read.append(path), read_json(path))[1])
    for (stage, index), title in TITLES.items():
        left_behind(opened.dir, title=title, spent_s=5000.0)
        if stage == "train":
            assert do_stage(opened.dir.path, "prune", 1)["counts"]["wall_s"] < 1000
        assert 5000 < do_stage(opened.dir.path, stage, index)["counts"]["wall_s"] < 6000
        assert not opened.dir.progress.exists()
    assert read == [opened.dir.progress] * len(TITLES)


@pytest.mark.parametrize(
    "told",
    [
        {"title": "round 1 evaluate", "spent_s": 5000.0},
        {"title": "round 2 train", "spent_s": 5000.0},
        {"title": "round 1 train"},
        {"title": "round 1 train", "spent_s": "long"},
        {"title": "round 1 train", "spent_s": -3},
        {"title": "round 1 train", "spent_s": float("inf")},
        {},
    ],
)
def test_what_tells_of_another_stage_or_of_nothing_does_not_count(tmp_path: Path, told: dict[str, object]) -> None:
    run = RunDir(tmp_path)
    left_behind(run, **told)
    assert StageContext(run, run.round(1), load_config(QUICKSTART), progress=False).spent_s("train") == 0


def test_a_damaged_file_is_no_reason_to_end(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    context = StageContext(run, run.round(1), load_config(QUICKSTART), progress=False)
    assert context.spent_s("train") == 0
    run.logs.mkdir()
    for content in ("", "[]", "{", "3"):
        run.progress.write_text(content)
        assert context.spent_s("train") == 0


def test_work_that_is_broken_off_twice_adds_up(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    context = StageContext(run, run.round(1), load_config(QUICKSTART), progress=False)
    left_behind(run, title="round 1 train", spent_s=100.0)
    for _ in range(2):
        spent_s = context.spent_s("train")
        with pytest.raises(KeyboardInterrupt), context.display("train", total=3, spent_s=spent_s) as display:
            display._begun -= 50
            display._write(1, "")
            raise KeyboardInterrupt
    assert 200 <= context.spent_s("train") < 210
    with Display("round 1 train", total=3, enabled=False, file=run.progress):
        pass
    assert not run.progress.exists()
