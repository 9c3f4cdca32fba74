"""Threads that join in."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from tpt.engines.hf.cpu_kernel.threads import ThreadTeam


def test_the_work_is_shared_and_waited_for() -> None:
    """By as many threads as there are, each taking what is left."""
    left, done, names = list(range(40)), list[int](), set[str]()

    def work() -> None:
        while left:
            try:
                piece = left.pop()
            except IndexError:
                return
            time.sleep(0.005)
            names.add(threading.current_thread().name)
            done.append(piece)

    ThreadTeam(3).share(work, lambda: len(done) == 40)
    assert sorted(done) == list(range(40))
    assert len(names) == 4


def test_what_a_thread_raises_is_raised_here() -> None:
    """Instead of its piece being waited for for ever; the thread goes on."""
    team, here = ThreadTeam(1), threading.current_thread()

    def work() -> None:
        if threading.current_thread() is not here:
            raise MemoryError("no room")

    for _ in range(2):
        with pytest.raises(MemoryError, match="no room"):
            team.share(work, lambda: False)


def test_threads_end_with_their_owner() -> None:
    """An engine that is closed leaves none."""
    before = set(threading.enumerate())
    team = ThreadTeam(2)
    own = set(threading.enumerate()) - before
    assert len(own) == 2
    del team
    gc.collect()
    deadline = time.monotonic() + 5
    while any(thread.is_alive() for thread in own) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(thread.is_alive() for thread in own)
