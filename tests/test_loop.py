"""The reference loop ends with the training set and the weights of ``tpt run``, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_line import QUICKSTART, Tpt, sets

from tpt.config import load_config, render_toml

LOOP = QUICKSTART.with_name("loop.py")
SMALL = [
    "rounds=2",
    "problems.max_train=40",
    "problems.max_heldout=10",
    "prune.size=12",
    "think.samples=3",
    "evaluate.samples=2",
    "engine.slots=16",
]


def test_it_ends_with_the_bytes_of_tpt_run(tmp_path: Path, tpt: Tpt) -> None:
    run, loop = tmp_path / "run", tmp_path / "loop"
    assert tpt("run", QUICKSTART, "--out", run, *sets(*SMALL)).code == 0
    config = tmp_path / "small.toml"
    config.write_text(render_toml(load_config(QUICKSTART, SMALL)), encoding="utf-8")
    done = subprocess.run([sys.executable, LOOP, config, loop], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["round 0", "round 1", "round 2"]
    for name in ("examples.jsonl", "checkpoint/model.safetensors"):
        for number in (1, 2):
            path = f"round-{number}/{name}"
            assert (run / path).read_bytes() == (loop / path).read_bytes(), path


def test_it_can_be_read_in_one_sitting() -> None:
    text = LOOP.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "class " not in text
