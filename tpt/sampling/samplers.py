"""Which problem gets the next sample, and when to stop: what samplers have in common, and the one that takes a fixed number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tpt.engines import RequestId
from tpt.errors import RunError


class Sampler(Protocol):
    """Which samples to take, and which of those taken belong to the result."""

    target: int
    """How many units of ``reached`` make the work complete, for progress."""

    def next_requests(self, room: int) -> list[RequestId]:
        """Return at most ``room`` samples to take next; each is returned once."""

    def record(self, key: RequestId, mark: int | None) -> None:
        """Take in a sample asked for by ``next_requests``: its mark if it may be kept, which duplicates share; else None."""

    def restore(self, found: Iterable[tuple[RequestId, int | None]]) -> None:
        """Take in the samples of an interrupted attempt with their marks, in any order."""

    def needless(self) -> set[RequestId]:
        """Return the samples in flight that have turned out not to be needed, each of them once."""

    def reached(self) -> int:
        """Return how far the work is towards ``target``."""

    def undecided(self) -> int:
        """Return how many problems must still be tried though the target is reached."""

    def finished(self) -> bool:
        """Return whether every sample that the result needs has been recorded."""

    def belongs(self, key: RequestId) -> bool:
        """Return, once finished, whether a recorded sample is part of the result."""


class Fixed:
    """N samples of every problem; a byte for each is all that it remembers."""

    def __init__(self, problem_ids: list[str], samples: int, *, first: tuple[int, int] = (0, 0)) -> None:
        """Take ``samples`` of each problem, problem by problem; of the first so many problems so many ones come before."""
        problems, few = min(first[0], len(problem_ids)), min(first[1], samples)
        self._early = iter([problem * samples + sample for problem in range(problems) for sample in range(few)])
        self.target = len(problem_ids) * samples
        self._problem_ids = problem_ids
        self._samples = samples
        self._asked = bytearray(self.target)
        """1 for each sample asked for or found on disk, the samples of one problem together."""
        self._next = 0
        """All samples before this one have been asked for."""
        self._recorded = 0

    def _following(self) -> int:
        """Return the place of the next sample to ask for; -1: there is none."""
        early = next((at for at in self._early if not self._asked[at]), -1)
        if early >= 0:
            return early
        found = self._asked.find(0, self._next)
        self._next = max(self._next, found)
        return found

    def next_requests(self, room: int) -> list[RequestId]:
        """See Sampler."""
        chosen: list[RequestId] = []
        while len(chosen) < room and (at := self._following()) >= 0:
            self._asked[at] = 1
            chosen.append((self._problem_ids[at // self._samples], at % self._samples))
        return chosen

    def record(self, key: RequestId, mark: int | None) -> None:
        """See Sampler; what may be kept makes no difference here."""
        self._recorded += 1

    def restore(self, found: Iterable[tuple[RequestId, int | None]]) -> None:
        """See Sampler.

        Raises:
            RunError: a key is none of the samples to take, or comes twice.
        """
        first = {problem_id: at * self._samples for at, problem_id in enumerate(self._problem_ids)}
        for (problem_id, sample), _ in found:
            at = first.get(problem_id, -1) + sample
            if problem_id not in first or not 0 <= sample < self._samples or self._asked[at]:
                raise RunError(
                    f"problem {problem_id!r}, sample {sample}: a trace that is not to be sampled, or is there twice; "
                    "delete the traces and verdicts of this stage to have them made again"
                )
            self._asked[at] = 1
            self._recorded += 1

    def needless(self) -> set[RequestId]:
        """See Sampler: every one is needed."""
        return set()

    def reached(self) -> int:
        """See Sampler."""
        return self._recorded

    def undecided(self) -> int:
        """See Sampler."""
        return 0

    def finished(self) -> bool:
        """See Sampler."""
        return self._recorded == self.target

    def belongs(self, key: RequestId) -> bool:
        """See Sampler."""
        return True
