"""The benchmark for a GPU, without one: it runs through on a CPU, and what ends a part does not end the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
PARTS = ["machine", "thinking", "training", "embedded loop", "vLLM", "model's loop"]


def run(out: Path, *arguments: str) -> tuple[dict[str, dict[str, object]], str]:
    environment = {**os.environ, "TPT_DATA": "nowhere"}
    command = [sys.executable, str(BENCHMARK), "--device", "cpu", "--small", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "gpu.json").read_text(encoding="utf-8"))
    assert list(found) == PARTS
    assert (out / "gpu.md").read_text(encoding="utf-8") == done.stdout.removesuffix("\n")
    return found, done.stdout


@pytest.mark.slow
def test_it_runs_through_on_a_cpu(tmp_path: Path) -> None:
    found, table = run(tmp_path, "--budget-s", "3000")
    assert not any("ended" in part for part in found.values()), found
    assert "| thinking | steady state: without CUDA graphs: ms a step |" in table
    assert "| training | measured / estimated |" in table
    assert "| embedded loop | 1: pass@1 |" in table


def test_a_part_that_fails_or_takes_too_long_is_written_down_and_the_next_begins(tmp_path: Path) -> None:
    found, _ = run(tmp_path / "failing", "--model", str(tmp_path / "nothing.gguf"), "--budget-s", "40")
    for part in ("thinking", "training"):
        assert str(found[part]["ended"]).startswith(("exit code", "not done after")), found[part]
    assert "copy GB/s" in found["machine"] or "ended" in found["machine"]
