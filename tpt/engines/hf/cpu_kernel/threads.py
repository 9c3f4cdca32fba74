"""Threads that join in a piece of compiled work, each as soon as it wakes up."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], object]


class ThreadTeam:
    """Threads that sleep until there is work, and end when nobody holds this object any more.

    The work is one function, called here and by every thread, that takes what is left to do piece by piece and returns
    when nothing is. So it does not matter when a thread wakes up: one that comes late finds nothing to do. The function
    must release the interpreter's lock.
    """

    def __init__(self, count: int) -> None:
        """Start so many threads."""
        self.count = count
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._work: list[Work] = []
        """The present one, if there is any; one that threads are late for is not kept for them."""
        self._failures: list[BaseException] = []
        for _ in range(count):
            threading.Thread(target=_serve, args=(self._calls, self._work, self._failures), daemon=True).start()
        weakref.finalize(self, _call, self._calls, count, stay=False)

    def share(self, work: Work, finished: Callable[[], bool]) -> None:
        """Do a piece of work together, and return when it is ``finished``; raise what was raised in a thread."""
        self._work[:] = [work]
        try:
            _call(self._calls, self.count - self._calls.qsize(), stay=True)
            work()
            while not finished():
                if self._failures:
                    raise self._failures.pop()
                time.sleep(0)  # a thread is still at its last piece
        finally:
            self._work.clear()


def _call(calls: SimpleQueue[bool], count: int, *, stay: bool) -> None:
    for _ in range(count):
        calls.put(stay)


def _serve(calls: SimpleQueue[bool], present: list[Work], failures: list[BaseException]) -> None:
    while calls.get():
        try:
            _join_in(present)
        except BaseException as error:
            failures.append(error)


def _join_in(present: list[Work]) -> None:
    """A function of its own, so that a thread that waits holds on to nothing."""
    for work in present[:1]:
        work()
