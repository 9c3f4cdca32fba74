"""A look at a sampling's first problems while it goes on: the same ones however often it was interrupted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from tpt.records import Trace, Verdict
from tpt.run.journal import Key, Pair


class EarlyLook:
    """Gathers every sample of some problems, and hands them over once, when all of them are there.

    Which samples these are follows from the config alone, never from which happened to finish first, so a resumed
    sampling decides what the interrupted one would have.
    """

    def __init__(
        self,
        problem_ids: Iterable[str],
        samples: int,
        decide: Callable[[list[Pair], float | None], None],
        *,
        until: Callable[[Trace, Verdict], bool] = lambda trace, verdict: False,
    ) -> None:
        """Look at ``samples`` of each problem.

        ``decide`` takes the samples, sorted by key, and the seconds a sample took, if any was taken in this process; it
        may raise. After a sample of which ``until`` holds there is nothing left to decide.
        """
        self._wanted = frozenset(problem_ids)
        self._samples = samples
        self._decide = decide
        self._until = until
        self._pairs: dict[Key, Pair] = {}
        self._open = bool(self._wanted)
        self._began: float | None = None
        self._taken = 0

    @property
    def first(self) -> tuple[int, int]:
        """How many problems it looks at, and how many samples of each."""
        return len(self._wanted), self._samples

    def take(self, trace: Trace, verdict: Verdict) -> None:
        """Take in a sample, of whichever problem."""
        self._taken += self._began is not None
        if self._open and trace.problem_id in self._wanted and trace.sample < self._samples:
            self._pairs[trace.problem_id, trace.sample] = trace, verdict
            if self._until(trace, verdict):
                self._close()

    def decide(self) -> None:
        """Decide, if all samples are there and it has not been done; called when a batch of samples is in."""
        if self._began is None:
            self._began = time.monotonic()
        if self._open and len(self._pairs) == len(self._wanted) * self._samples:
            pairs = [self._pairs[key] for key in sorted(self._pairs)]
            pace = (time.monotonic() - self._began) / self._taken if self._taken else None
            self._close()
            self._decide(pairs, pace)

    def _close(self) -> None:
        self._open = False
        self._pairs.clear()
