"""The benchmark for a GPU, without one: it runs through on a CPU, and what ends a part does not end the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu as bench


@pytest.mark.slow
def test_it_runs_through_on_a_cpu(tmp_path: Path) -> None:
    command = [
        sys.executable,
        bench.__file__,
        "--device",
        "cpu",
        "--small",
        "--out",
        str(tmp_path),
        "--budget-s",
        "3000",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TPT_DATA": "nowhere"})
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert list(found) == list(bench.PARTS)
    assert not any("ended" in part for part in found.values()), found
    table = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert done.stdout == f"{table}\n"
    for figure in (
        "thinking | steady state: without CUDA graphs: ms a step",
        "training | measured / estimated",
        "embedded loop | 1: pass@1",
    ):
        assert f"| {figure} | " in table


def test_a_part_that_fails_or_takes_too_long_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing.gguf"
    monkeypatch.setattr(
        sys, "argv", ["gpu.py", "--device", "cpu", "--small", "--out", str(tmp_path), "--model", str(missing)]
    )
    ended = bench.apart("thinking", 600, "cpu")["ended"]
    assert ended.startswith("exit code 1: ") and "missing.gguf" in ended
    assert bench.apart("training", 0.05, "cpu") == {"ended": "not done after 0 s"}


def test_the_table_has_a_row_for_each_figure_and_no_bar_within_one() -> None:
    found = {"machine": {"copy GB/s": 53.2}, "training": {"ended": "exit code 1: a|b\nc"}, "x": {"1": {"y": 2}}}
    assert bench.table(found).splitlines()[2:] == [
        "| machine | copy GB/s | 53.2 |",
        "| training | ended | exit code 1: a/b c |",
        "| x | 1: y | 2 |",
    ]
