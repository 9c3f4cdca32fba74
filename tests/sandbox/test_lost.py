"""A container that ends without a word is noticed, though a process that it left behind holds the socket open."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tpt.sandbox import Limits, Task, bubblewrap
from tpt.sandbox.worker import Sandbox, SandboxDiedError

TASK = Task({"role": "whole", "program": "print(1)"}, Limits(cpu_s=2, memory_mb=256))


def runs(process: str) -> bool:
    try:
        return Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_killed_container_leaves_behind_is_not_waited_for(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    script = f"sleep 900 & echo $! > {left}; exec sleep 0.2"
    monkeypatch.setattr(bubblewrap, "container", lambda: ["sh", "-c", script])
    killed = Sandbox("bubblewrap")
    started = time.monotonic()
    with pytest.raises(SandboxDiedError, match="the sandbox ended before its job did"):
        killed.run(TASK)
    assert time.monotonic() - started < 20
    deadline = time.monotonic() + 20
    while runs(left.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(left.read_text().strip())
    monkeypatch.undo()
    (ended,) = killed.run(TASK)
    assert ended.stdout == b"1\n"
    killed.close()
