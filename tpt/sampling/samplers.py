"""Which problem gets the next sample, and when to stop: a fixed number, or until the training set is full."""

from __future__ import annotations

import heapq
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

    def reached(self) -> int:
        """Return how far the work is towards ``target``."""

    def finished(self) -> bool:
        """Return whether every sample that the result needs has been recorded."""

    def belongs(self, key: RequestId) -> bool:
        """Return, once finished, whether a recorded sample is part of the result."""


class Fixed:
    """N samples of every problem; a byte for each is all that it remembers."""

    def __init__(self, problem_ids: list[str], samples: int) -> None:
        self.target = len(problem_ids) * samples
        self._problem_ids = problem_ids
        self._samples = samples
        self._asked = bytearray(self.target)
        """1 for each sample asked for or found on disk, the samples of one problem together."""
        self._next = 0
        """All samples before this one have been asked for."""
        self._recorded = 0

    def next_requests(self, room: int) -> list[RequestId]:
        """See Sampler."""
        chosen: list[RequestId] = []
        while len(chosen) < room and (at := self._asked.find(0, self._next)) >= 0:
            self._asked[at] = 1
            self._next = at + 1
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

    def reached(self) -> int:
        """See Sampler."""
        return self._recorded

    def finished(self) -> bool:
        """See Sampler."""
        return self._recorded == self.target

    def belongs(self, key: RequestId) -> bool:
        """See Sampler."""
        return True


class UntilFull:
    """Each problem until its first k different keepable traces or N tries, until the first M solved problems are known.

    "First" is by the given order, which must be random: never by which problem happened to finish first, since that
    would favour easy problems and short traces. The traces of one problem are independent draws, so its first k
    keepable ones are distributed as a random k of all its keepable ones, and the first M solved problems of a random
    order are a random M of all solved ones: the same training sets as sampling everything N times, for fewer tokens.
    Of duplicates only the first counts, as with ``prune.pick = "first"``.
    """

    def __init__(self, order: list[str], *, samples: int, size: int | None, per_problem: int) -> None:
        self.target = len(order) if size is None else min(size, len(order))
        self._size = len(order) if size is None else size
        self._order = order
        self._samples = samples
        self._per_problem = per_problem
        self._position = {problem_id: position for position, problem_id in enumerate(order)}
        self._marks: dict[int, dict[int, int | None]] = {}
        """By position and sample, of the problems that are tried and not done."""
        self._counted = [0] * len(order)
        """How many samples of a problem that is done belong to the result; 0: it is not done."""
        self._solved = bytearray(len(order))
        """1 for each problem with a keepable trace."""
        self._solved_count = 0
        self._cutoff = len(order)
        """The position behind the M-th solved problem known so far: none from there on can be needed."""
        self._opened = 0
        """Problems before this position have been asked at least once."""
        self._retries: list[int] = []
        """Heap of the positions that need another try and have none in flight."""
        self._settled = 0
        """Every problem before this position is done."""
        self._settled_solved = 0

    def next_requests(self, room: int) -> list[RequestId]:
        """See Sampler."""
        chosen: list[RequestId] = []
        # The lowest positions first: they are sure to be needed.
        while len(chosen) < room and self._retries and self._retries[0] < self._cutoff:
            position = heapq.heappop(self._retries)
            tried = self._marks[position]
            chosen.append((self._order[position], next(each for each in range(self._samples) if each not in tried)))
        while len(chosen) < room and self._opened < self._cutoff:
            if not self._counted[self._opened] and self._opened not in self._marks:
                chosen.append((self._order[self._opened], 0))
            self._opened += 1
        return chosen

    def record(self, key: RequestId, mark: int | None) -> None:
        """See Sampler."""
        position = self._position[key[0]]
        self._take(position, key[1], mark)
        if not self._counted[position]:
            heapq.heappush(self._retries, position)

    def restore(self, found: Iterable[tuple[RequestId, int | None]]) -> None:
        """See Sampler."""
        for key, mark in found:
            self._take(self._position[key[0]], key[1], mark)
        self._retries = sorted(self._marks)

    def reached(self) -> int:
        """See Sampler: solved problems, those included that may turn out to lie behind the first M."""
        return min(self._size, self._solved_count)

    def finished(self) -> bool:
        """See Sampler."""
        return self._settled_solved >= self._size or self._settled == len(self._order)

    def belongs(self, key: RequestId) -> bool:
        """See Sampler."""
        position = self._position[key[0]]
        return position < self._settled and key[1] < self._counted[position]

    def _take(self, position: int, sample: int, mark: int | None) -> None:
        if self._counted[position]:
            return
        tried = self._marks.setdefault(position, {})
        tried[sample] = mark
        if mark is not None and not self._solved[position]:
            self._solved[position] = 1
            self._solved_count += 1
            self._cut(position)
        self._counted[position] = self._needed(tried)
        if self._counted[position]:
            del self._marks[position]
            self._settle()

    def _needed(self, tried: dict[int, int | None]) -> int:
        """Return how many of a problem's samples, from its first on, complete it; 0: more must be tried."""
        kept: set[int] = set()
        for sample in range(self._samples):
            if sample not in tried:
                return 0
            if (mark := tried[sample]) is not None:
                kept.add(mark)
            if len(kept) == self._per_problem:
                return sample + 1
        return self._samples

    def _settle(self) -> None:
        while self._settled < len(self._order) and self._settled_solved < self._size and self._counted[self._settled]:
            self._settled_solved += self._solved[self._settled]
            self._settled += 1

    def _cut(self, position: int) -> None:
        """Move the cutoff to behind the M-th solved problem, now that the one at this position is solved too."""
        if self._solved_count == self._size or (self._solved_count > self._size and position < self._cutoff):
            # The last solved problem before the cutoff; the new one makes it the M-th, or leaves one too many.
            last = self._solved.rfind(1, 0, self._cutoff)
            self._cutoff = (last if self._solved_count == self._size else self._solved.rfind(1, 0, last)) + 1
