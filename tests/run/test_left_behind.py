"""A stage or its server that is killed is told at once, though a process that it has left behind holds its pipes open."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command_line import QUICKSTART, TINY, Tpt, sets

OWN = """
import os, signal, time

def order(*_):
    left = os.fork()
    if left == 0:
        time.sleep(900)
    with open({left!r}, "w") as file:
        file.write(str(left))
    os.kill({whom}, signal.SIGKILL)
    time.sleep(900)
"""


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "left"
    yield file
    if file.exists() and psutil.pid_exists(int(file.read_text())):
        os.kill(int(file.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("whom", "told"),
    [("os.getpid()", "the think stage of round 1 was killed by signal 9"), ("os.getppid()", "ended without an answer")],
    ids=["stage", "server"],
)
def test_what_a_killed_process_leaves_behind_is_not_waited_for(
    whom: str, told: str, left: Path, tpt: Tpt, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN.format(left=str(left), whom=whom))
    started = time.monotonic()
    result = tpt(
        "run", QUICKSTART, "--out", tmp_path / "run", *sets(*TINY, f"think.order={own}:order", "stop.gate=off")
    )
    assert result.code == 1 and told in result.err
    assert left.exists() and time.monotonic() - started < 200
