"""A process ends with its parent, by the kernel or by looking."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tpt.system.parent import wait_readable

PROGRAM = """
import os, sys, time
from tpt.system.parent import end_with_parent

parent = os.getpid()
child = os.fork()
if child == 0:
    sys.platform = sys.argv[1]
    end_with_parent(parent)
    print(os.getpid(), flush=True)
    time.sleep(100)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize(
    "system",
    [pytest.param("linux", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux's own")), "darwin"],
)
def test_a_process_ends_with_a_parent_that_is_killed(system: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, system], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _, alive = psutil.wait_procs([child], timeout=5)
    assert alive == []


def test_a_process_whose_parent_has_ended_before_ends_at_once() -> None:
    code = "import time; from tpt.system.parent import end_with_parent; end_with_parent(1); time.sleep(5)"
    assert subprocess.run([sys.executable, "-c", code], timeout=4).returncode == 1


def test_what_was_said_before_the_end_is_seen_and_a_pipe_held_open_is_not_waited_for() -> None:
    reading, writing = os.pipe()
    ended: list[bool] = []
    os.write(writing, b"last words")
    assert wait_readable([reading], lambda: True) == [reading]
    os.read(reading, 100)
    assert wait_readable([reading], lambda: bool(ended) or ended.append(True)) == []  # type: ignore[func-returns-value]
    os.close(writing)
    assert wait_readable([reading], lambda: False) == [reading]
    os.close(reading)
