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

    def record(self, key: RequestId, *, keepable: bool) -> None:
        """Take in a sample asked for by ``next_requests``."""

    def restore(self, keys: Iterable[tuple[RequestId, bool]]) -> None:
        """Take in the samples of an interrupted attempt: keys with whether each is keepable, in any order."""

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

    def record(self, key: RequestId, *, keepable: bool) -> None:
        """See Sampler; what is keepable makes no difference here."""
        self._recorded += 1

    def restore(self, keys: Iterable[tuple[RequestId, bool]]) -> None:
        """See Sampler.

        Raises:
            RunError: a key is none of the samples to take, or comes twice.
        """
        first = {problem_id: at * self._samples for at, problem_id in enumerate(self._problem_ids)}
        for (problem_id, sample), _ in keys:
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
    """Each problem until its first keepable trace or N tries, until the first M solved problems in order are known.

    "First" is by the given order, which must be random: never by which problem happened to finish first, since that
    would favour easy problems and short traces. The traces of one problem are independent draws, so its first
    keepable one is distributed as a random one of all its keepable ones, and the first M solved problems of a random
    order are a random M of all solved ones: the same training sets as sampling everything N times, for fewer tokens.
    """

    def __init__(self, order: list[str], *, samples: int, size: int | None) -> None:
        self.target = len(order) if size is None else min(size, len(order))
        self._size = len(order) if size is None else size
        self._order = order
        self._samples = samples
        self._position = {problem_id: position for position, problem_id in enumerate(order)}
        self._tries = [0] * len(order)
        self._solved = bytearray(len(order))
        self._solved_count = 0
        self._cutoff = len(order)
        """The position behind the M-th solved problem known so far: none from there on can be needed."""
        self._opened = 0
        """Problems before this position have been asked at least once."""
        self._retries: list[int] = []
        """Heap of the positions that need another try and have none in flight."""
        self._settled = 0
        """Every problem before this position is solved or has used up its tries."""
        self._settled_solved = 0

    def next_requests(self, room: int) -> list[RequestId]:
        """See Sampler."""
        chosen: list[RequestId] = []
        # The lowest positions first: they are sure to be needed.
        while len(chosen) < room and self._retries and self._retries[0] < self._cutoff:
            position = heapq.heappop(self._retries)
            chosen.append((self._order[position], self._tries[position]))
        while len(chosen) < room and self._opened < self._cutoff:
            if not self._tries[self._opened]:
                chosen.append((self._order[self._opened], 0))
            self._opened += 1
        return chosen

    def record(self, key: RequestId, *, keepable: bool) -> None:
        """See Sampler."""
        position, tries = self._position[key[0]], key[1] + 1
        self._tries[position] = max(self._tries[position], tries)
        if keepable and not self._solved[position]:
            self._solved[position] = 1
            self._solved_count += 1
            self._cut(position)
        self._settle()
        if not self._is_settled(position):
            heapq.heappush(self._retries, position)

    def restore(self, keys: Iterable[tuple[RequestId, bool]]) -> None:
        """Take in the samples of an interrupted attempt: keys with whether each is keepable, in any order."""
        for key, keepable in keys:
            self.record(key, keepable=keepable)
        self._retries = [p for p, tries in enumerate(self._tries) if tries and not self._is_settled(p)]

    def reached(self) -> int:
        """See Sampler: solved problems, those included that may turn out to lie behind the first M."""
        return min(self._size, self._solved_count)

    def finished(self) -> bool:
        """See Sampler."""
        return self._settled_solved >= self._size or self._settled == len(self._order)

    def belongs(self, key: RequestId) -> bool:
        """See Sampler."""
        return self._position[key[0]] < self._settled

    def _is_settled(self, position: int) -> bool:
        return self._solved[position] == 1 or self._tries[position] >= self._samples

    def _settle(self) -> None:
        while (
            self._settled < len(self._order) and self._settled_solved < self._size and self._is_settled(self._settled)
        ):
            self._settled_solved += self._solved[self._settled]
            self._settled += 1

    def _cut(self, position: int) -> None:
        """Move the cutoff to behind the M-th solved problem, now that the one at this position is solved too."""
        if self._solved_count == self._size or (self._solved_count > self._size and position < self._cutoff):
            # The last solved problem before the cutoff; the new one makes it the M-th, or leaves one too many.
            last = self._solved.rfind(1, 0, self._cutoff)
            self._cutoff = (last if self._solved_count == self._size else self._solved.rfind(1, 0, last)) + 1
