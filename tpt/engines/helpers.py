"""Threads that join in a piece of compiled work, each as soon as it wakes up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], object]


class Helpers:
    """Threads that sleep until there is work; they end with the process.

    The work is one function, called here and by every helper, that takes what is left to do piece by piece and returns
    when nothing is. So it does not matter when a helper wakes up: one that comes late finds nothing to do. It must let go
    of the interpreter's lock.
    """

    def __init__(self, count: int) -> None:
        """Start so many threads."""
        self.count = count
        self._calls: SimpleQueue[Work] = SimpleQueue()
        for _ in range(count):
            threading.Thread(target=_help, args=(self._calls,), daemon=True).start()

    def share(self, work: Work) -> None:
        """Call the work here, and have it called in each helper; some may still be at it when this returns."""
        for _ in range(self.count):
            self._calls.put(work)
        work()


def _help(calls: SimpleQueue[Work]) -> None:
    while True:
        calls.get()()
