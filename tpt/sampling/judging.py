"""Judge traces while the engine samples on, so that no accelerator waits for a program under test."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue

from tpt.records import Trace, Verdict
from tpt.run.journal import Pair

Judged = Callable[[Sequence[Trace]], list[Verdict]]


class Judging:
    """Judges traces in the order in which they come: at once, or in a thread of its own, all that have come at a time.

    With ``apart`` the verdicts come later, at a time that nothing promises; their order is the same.
    """

    def __init__(self, judge: Judged, *, apart: bool) -> None:
        self._judge = judge
        self._apart = apart
        self._waiting: list[Trace] = []
        self._under_way: tuple[list[Trace], Future[list[Verdict]]] | None = None

    def __len__(self) -> int:
        """Return how many traces have no verdict yet."""
        return len(self._waiting) + (len(self._under_way[0]) if self._under_way else 0)

    def add(self, traces: Sequence[Trace]) -> None:
        """Take in traces."""
        self._waiting += traces
        self._go_on()

    def take(self, *, wait: bool) -> list[Pair]:
        """Return the traces judged since the last call; with ``wait`` some, unless there are none.

        Raises:
            TPTError: what the judge raised.
        """
        if self._under_way is None:
            return []
        traces, verdicts = self._under_way
        if not (wait or verdicts.done()):
            return []
        pairs = list(zip(traces, verdicts.result(), strict=True))
        self._under_way = None
        self._go_on()
        return pairs

    def _go_on(self) -> None:
        if self._waiting and self._under_way is None:
            traces, self._waiting = self._waiting, []
            self._under_way = traces, _started(self._judge, traces, apart=self._apart)


def _started(judge: Judged, traces: list[Trace], *, apart: bool) -> Future[list[Verdict]]:
    verdicts: Future[list[Verdict]] = Future()
    if apart:
        _thread(os.getpid()).put((judge, traces, verdicts))
    else:
        verdicts.set_result(judge(traces))
    return verdicts


_Asked = tuple[Judged, list[Trace], "Future[list[Verdict]]"]


@functools.lru_cache(maxsize=1)
def _thread(pid: int) -> SimpleQueue[_Asked]:
    """Return the queue of this process's judging thread, which lives as long as the process: its sandboxes end with it.

    A daemon, as an interrupted run waits for no program under test.
    """
    asked: SimpleQueue[_Asked] = SimpleQueue()
    threading.Thread(target=_serve, args=(asked,), name="tpt-judge", daemon=True).start()
    return asked


def _serve(asked: SimpleQueue[_Asked]) -> None:
    while True:
        judge, traces, verdicts = asked.get()
        try:
            verdicts.set_result(judge(traces))
        except BaseException as error:  # raised where the verdicts are taken
            verdicts.set_exception(error)
