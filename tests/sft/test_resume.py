"""A training that is killed anywhere goes on to the same weights, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from tpt.config import TrainConfig
from tpt.sft import ResumePoint, Row, fit, snapshot

SCRIPT = Path(__file__).with_name("killed_training.py")


def run_script(*words: str) -> list[str]:
    command = [sys.executable, str(SCRIPT), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_killed_at_any_step_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """12 examples, 4 a step, 2 epochs: 6 steps with a checkpoint every second one."""
    (tmp_path / "killed").mkdir()
    (tmp_path / "calm").mkdir()
    killed, calm = tmp_path / "killed" / "out", tmp_path / "calm" / "out"
    told = run_script(str(calm), "none", "--", str(killed), "step:3", "save:1", "step:6", "none")
    assert told[:2] == ["went on from 0", "none True"]
    assert told[2:] == [
        # Killed after step 3: the checkpoint of step 2 is there.
        "step:3 False checkpoint-2",
        # It went on to step 4, and died in the middle of that checkpoint; the one of step 2 still stands.
        "save:1 False checkpoint-2 checkpoint-4",
        "step:6 False checkpoint-4",
        "went on from 4",
        "none True",
    ]
    assert sorted(path.name for path in killed.parent.iterdir()) == ["out", "train_log.jsonl"]
    for path in killed.iterdir():
        assert path.read_bytes() == (calm / path.name).read_bytes(), path.name
    logs = [
        [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
        for folder in (killed.parent, calm.parent)
    ]
    assert [line["step"] for line in logs[0]] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(*logs, strict=True):
        assert {**one, "tokens_per_s": 0} == {**other, "tokens_per_s": 0}


def test_checkpoints_of_another_training_and_torn_ones_are_deleted(tmp_path: Path) -> None:
    point = ResumePoint(tmp_path / "state", key="ours")
    for name, marker in [("2", '{"key": "ours"}'), ("10", '{"key": "theirs"}'), ("4", '{"key": "ours"}'), ("12", "{")]:
        folder = point.folder / f"checkpoint-{name}"
        folder.mkdir(parents=True)
        (folder / "whole.json").write_text(marker)
    (point.folder / "checkpoint-14").mkdir()
    (point.folder / "stray").touch()
    assert point.find() == point.folder / "checkpoint-4"
    assert [path.name for path in point.folder.iterdir()] == ["checkpoint-4"]
    assert ResumePoint(point.folder, key="other").find() is None
    assert list(point.folder.iterdir()) == []


@pytest.mark.parametrize("spoilt", ["flipped", "cut", "missing", "added"])
def test_a_checkpoint_whose_files_were_changed_is_not_gone_on_from(spoilt: str, tmp_path: Path) -> None:
    point = ResumePoint(tmp_path / "state", key="ours")
    for step in (2, 4):
        folder = point.folder / f"checkpoint-{step}" / "global"
        folder.mkdir(parents=True)
        (folder / "weights.bin").write_bytes(bytes(range(100)))
        point.close(folder.parent)
    assert point.find() == folder.parent
    weights = folder / "weights.bin"
    if spoilt == "flipped":
        weights.write_bytes(bytes([1, *range(1, 100)]))
    elif spoilt == "cut":
        weights.write_bytes(bytes(range(99)))
    elif spoilt == "missing":
        weights.unlink()
    else:
        (folder / "more.bin").touch()
    assert point.find() is None
    assert not folder.parent.exists()


def test_another_training_in_the_same_place_starts_anew(
    build_model: Callable[[], LlamaForCausalLM], tokenizer: Any, rows: list[Row], tmp_path: Path
) -> None:
    config = TrainConfig(batch_size=4, save_every_steps=1, learning_rate=1e-3)

    def weights(key: str, seed: int, place: Path | None) -> tuple[int, dict[str, torch.Tensor]]:
        model = build_model()
        point = None if place is None else ResumePoint(place, key)
        log = fit(model, tokenizer, rows[:12], config=config, seed=seed, point=point)
        return log.resumed_at, snapshot(model)

    place = tmp_path / "state"
    assert weights("first", 1, place)[0] == 0
    assert [path.name for path in place.iterdir()] == ["checkpoint-2"]
    resumed_at, found = weights("second", 2, place)
    assert resumed_at == 0
    expected = weights("second", 2, None)[1]
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert weights("second", 2, place)[0] == 2


def test_a_checkpoint_holds_no_pickled_weights(
    build_model: Callable[[], LlamaForCausalLM], tokenizer: Any, rows: list[Row], tmp_path: Path
) -> None:
    config = TrainConfig(batch_size=4, save_every_steps=1)
    fit(build_model(), tokenizer, rows[:8], config=config, seed=0, point=ResumePoint(tmp_path, "key"))
    names = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert "model.safetensors" in names
    assert {name for name in names if name.endswith((".pt", ".pth", ".bin"))} == {
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "training_args.bin",
    }


def test_short_trainings_keep_no_checkpoints_by_themselves(
    build_model: Callable[[], LlamaForCausalLM],
    tokenizer: Any,
    rows: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fit(build_model(), tokenizer, rows, config=TrainConfig(), seed=0, point=ResumePoint(tmp_path, "key"))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tpt.sft.resume.AUTO_INTERVAL_S", 0.0)
    fit(build_model(), tokenizer, rows, config=TrainConfig(), seed=0, point=ResumePoint(tmp_path, "key"))
    assert len(list(tmp_path.iterdir())) == 1
