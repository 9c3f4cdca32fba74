"""Until full: sample problems until the first M solved ones of a random order are known, and ask for little more than that."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import erf, sqrt
from typing import Final

from tpt.engines import RequestId
from tpt.scoring.solve_rates import SOLVE_RATE, Rates, fit_rates

_UNKNOWN: Final = Rates.of_mean(SOLVE_RATE)
_FREE_SHARE = 8
"""A step with an eighth of the slots at work is taken to cost twice what an empty one would: the weights are read anyway."""
_FIRST_FIT = 24
_NEXT_FIT = 1.5
"""From so many recorded samples on the round's own solve rates are believed; with so many times more they are fitted anew."""


@dataclass(slots=True)
class _Attempts:
    """The tries of a problem that is not done."""

    marks: dict[int, int | None] = field(default_factory=dict)
    """By sample, of those recorded."""
    pending: set[int] = field(default_factory=set)
    """The samples in flight."""
    kept: int = 0
    """How many of those recorded are keepable."""

    def following(self) -> int:
        """Return the lowest sample that is neither recorded nor in flight."""
        asked = len(self.marks) + len(self.pending)
        return next(each for each in range(asked + 1) if not (each in self.marks or each in self.pending))

    def kept_before(self, sample: int) -> int:
        """Return how many different keepable ones are recorded before a sample."""
        if not self.kept:
            return 0
        return len({mark for each, mark in self.marks.items() if each < sample and mark is not None})


class UntilFull:
    """Each problem until its first k different keepable traces or N tries, until the first M solved problems are known.

    "First" is by the given order, which must be random: never by which problem happened to finish first, since that
    would favour easy problems and short traces. The traces of one problem are independent draws, so its first k
    keepable ones are distributed as a random k of all its keepable ones, and the first M solved problems of a random
    order are a random M of all solved ones: the same training sets as sampling everything N times, for fewer tokens.
    Of duplicates only the first counts, as with ``prune.pick = "first"``.

    What is asked for follows from what is likely to be needed, and may depend on timing; what belongs to the result
    follows from the order and the samples alone. While even the next unopened problem is sure to be needed, problems
    are opened in order, one try of each at a time. After that a sample is asked for when the chance that it will be
    needed, by the solve rates known so far, is above the share of the engine that is busy: a further problem, or a
    second try of one whose first has not come back.
    """

    def __init__(
        self,
        order: list[str],
        *,
        samples: int,
        size: int | None,
        per_problem: int,
        expected: Rates = _UNKNOWN,
        first: tuple[int, int] = (0, 0),
    ) -> None:
        """Take the problems in order.

        ``samples`` is N, ``size`` M (None: all) and ``per_problem`` k. What is ``expected`` of the model decides how
        much is asked for, never what belongs. Once as many samples as the ``first`` so many problems are have come in
        without one to keep, so many ones of each of those come before all else: whoever judges by them, and may give
        up, need not wait for as many samples as there are slots, times N.
        """
        self.target = len(order) if size is None else min(size, len(order))
        self._size = len(order) if size is None else size
        self._order = order
        self._samples = samples
        self._first = min(first[0], len(order)), min(first[1], samples)
        self._per_problem = per_problem
        self._rates = expected
        self._chances: dict[tuple[int, int, int, int], float] = {}
        self._next_fit: float = _FIRST_FIT
        self._recorded = 0
        self._ended: Counter[tuple[int, int]] = Counter()
        """(keepable, tried) of the problems that are done."""
        self._position = {problem_id: position for position, problem_id in enumerate(order)}
        self._open: dict[int, _Attempts] = {}
        """By position, the problems that have been asked and are not done."""
        self._waiting: list[int] = []
        """Heap of positions that had nothing in flight when they were put here: each is looked at again."""
        self._in_flight = 0
        self._needless: set[RequestId] = set()
        self._changed = True
        """Whether anything was recorded since no sample was likely enough to be needed."""
        self._counted = [0] * len(order)
        """How many samples of a problem that is done belong to the result; 0: it is not done."""
        self._solved = bytearray(len(order))
        """1 for each problem with a keepable trace."""
        self._solved_count = 0
        self._cutoff = len(order)
        """The position behind the M-th solved problem known so far: none from there on can be needed."""
        self._opened = 0
        """Problems before this position have been asked at least once."""
        self._settled = 0
        """Every problem before this position is done."""
        self._settled_solved = 0

    def next_requests(self, room: int) -> list[RequestId]:
        """See Sampler."""
        if self._seems_hopeless():
            return list(islice(self._of_the_first(), room))
        chosen: list[RequestId] = []
        slots = room + self._in_flight
        # Even if every open problem were solved, more would be needed: nothing has to be guessed.
        while len(chosen) < room and len(self._open) + self._solved_count < self._size and (key := self._sure()):
            chosen.append(key)
        if len(chosen) < room and self._changed:
            chosen += islice(self._likely(slots), room - len(chosen))
            self._changed = len(chosen) == room
        return chosen

    def record(self, key: RequestId, mark: int | None) -> None:
        """See Sampler."""
        position, cutoff = self._position[key[0]], self._cutoff
        attempts = self._open.get(position)
        if attempts is not None and key[1] in attempts.pending:
            attempts.pending.remove(key[1])
            self._in_flight -= 1
        self._take(position, key[1], mark)
        self._drop(position, attempts)
        if self._cutoff < cutoff:
            for behind in [each for each in self._open if each >= self._cutoff]:
                self._drop(behind, self._open.pop(behind))
        if position in self._open and not self._open[position].pending:
            heapq.heappush(self._waiting, position)
        self._changed = True
        self._recorded += 1
        if self._recorded >= self._next_fit:
            self._learn()

    def restore(self, found: Iterable[tuple[RequestId, int | None]]) -> None:
        """See Sampler."""
        last = -1
        for key, mark in found:
            position = self._position[key[0]]
            self._take(position, key[1], mark)
            self._recorded += 1
            last = max(last, position)
        # Those in flight when the attempt ended left nothing.
        self._opened = last + 1
        below = range(min(self._opened, self._cutoff))
        self._open = {each: self._open.get(each) or _Attempts() for each in below if not self._counted[each]}
        self._waiting = list(self._open)
        if self._recorded >= self._next_fit:
            self._learn()

    def needless(self) -> set[RequestId]:
        """See Sampler: those behind what completes their problem, and those of problems behind the M-th solved one."""
        found, self._needless = self._needless, set()
        return found

    def reached(self) -> int:
        """See Sampler: solved problems, those included that may turn out to lie behind the first M."""
        return min(self._size, self._solved_count)

    def undecided(self) -> int:
        """See Sampler: those before the M-th solved one that may be solved yet, and would be taken instead of it."""
        full = self._solved_count >= self._size
        return self._counted[: self._cutoff].count(0) if full and not self.finished() else 0

    def finished(self) -> bool:
        """See Sampler."""
        return self._settled_solved >= self._size or self._settled == len(self._order)

    def belongs(self, key: RequestId) -> bool:
        """See Sampler."""
        position = self._position[key[0]]
        return position < self._settled and key[1] < self._counted[position]

    def _seems_hopeless(self) -> bool:
        """Return whether no sample was keepable so far, and some of those that decide are not there yet."""
        problems, tries = self._first
        if self._solved_count or self._recorded < max(problems, 1):
            return False
        return self._opened < problems or any(
            len(self._open[at].marks) < tries for at in range(problems) if at in self._open
        )

    def _of_the_first(self) -> Iterator[RequestId]:
        """Ask for what is missing of the first problems' samples."""
        problems, tries = self._first
        for position in range(problems):
            if position == self._opened:
                yield self._open_next()
            while position in self._open and self._open[position].following() < tries:
                yield self._ask(position, self._open[position])

    def _sure(self) -> RequestId | None:
        """Return the next try of the first problem that has none in flight, or else the first of a further one."""
        while self._waiting:
            position = heapq.heappop(self._waiting)
            attempts = self._open.get(position)
            if attempts is not None and not attempts.pending:
                return self._ask(position, attempts)
        return self._open_next() if self._opened < self._cutoff else None

    def _open_next(self) -> RequestId:
        position = self._opened
        self._opened += 1
        self._open[position] = _Attempts()
        return self._ask(position, self._open[position])

    def _ask(self, position: int, attempts: _Attempts) -> RequestId:
        sample = attempts.following()
        attempts.pending.add(sample)
        self._in_flight += 1
        return self._order[position], sample

    def _likely(self, slots: int) -> Iterator[RequestId]:
        """Ask for samples by falling chance of being needed, as long as it is above the busy share of the engine."""
        ranked: list[tuple[float, int, float]] = []
        solved, variance, before = float(self._settled_solved), 0.0, self._settled
        for position in sorted(self._open):
            solved += self._solved.count(1, before, position)
            before = position
            self._rank(ranked, position, self._chance_of_room(solved, variance))
            if not self._solved[position]:
                left = self._samples - len(self._open[position].marks)
                chance = 1 - self._chance_below(self._open[position], left, 1)
                solved, variance = solved + chance, variance + chance * (1 - chance)
        solved += self._solved.count(1, before, self._opened)
        while True:
            further = self._chance_of_room(solved, variance) if self._opened < self._cutoff else 0.0
            chance = max(-ranked[0][0] if ranked else 0.0, further)
            if not chance or chance * (self._in_flight + slots / _FREE_SHARE) < self._in_flight:
                return
            if ranked and -ranked[0][0] == chance:
                _, position, needed = heapq.heappop(ranked)
                yield self._ask(position, self._open[position])
            else:
                position, needed = self._opened, further
                chance = 1 - self._rates.share_below(self._samples, 1)
                solved, variance = solved + chance, variance + chance * (1 - chance)
                yield self._open_next()
            self._rank(ranked, position, needed)

    def _rank(self, ranked: list[tuple[float, int, float]], position: int, needed: float) -> None:
        """Put a problem's next try among those that may be asked for, if it can be needed.

        ``ranked`` is a heap of (minus the chance that the try is needed, position, chance that the problem is).
        """
        attempts = self._open[position]
        sample = attempts.following()
        if sample >= self._samples:
            return
        waited = sum(each < sample for each in attempts.pending)
        missing = self._per_problem - attempts.kept_before(sample)
        if missing > 0:
            chance = needed * self._chance_below(attempts, waited, missing)
            heapq.heappush(ranked, (-chance, position, needed))

    def _chance_below(self, attempts: _Attempts, tries: int, hits: int) -> float:
        """Return the chance that fewer than so many of further tries of a problem are keepable."""
        key = attempts.kept, len(attempts.marks) - attempts.kept, tries, hits
        if key not in self._chances:
            self._chances[key] = self._rates.after(*key[:2]).share_below(tries, hits)
        return self._chances[key]

    def _chance_of_room(self, solved: float, variance: float) -> float:
        """Return the chance that fewer than M problems are solved of those whose number has this mean and variance."""
        gap = self._size - 0.5 - solved
        if not variance:
            return float(gap > 0)
        # Never 0: what it is must be tried in the end, if nothing before it is solved.
        return max(1e-9, 0.5 + 0.5 * erf(gap / sqrt(2 * variance)))

    def _learn(self) -> None:
        """Believe what the samples of this round say of its solve rates."""
        self._next_fit = self._recorded * _NEXT_FIT
        self._chances.clear()
        under_way = [(attempts.kept, len(attempts.marks)) for attempts in self._open.values() if attempts.marks]
        self._rates = fit_rates([*self._ended.elements(), *under_way])

    def _drop(self, position: int, attempts: _Attempts | None) -> None:
        """Give up what is in flight of a problem and cannot belong to the result any more."""
        if attempts is None:
            return
        needed = attempts is self._open.get(position)
        gone = {each for each in attempts.pending if not needed or attempts.kept_before(each) >= self._per_problem}
        attempts.pending -= gone
        self._in_flight -= len(gone)
        self._needless |= {(self._order[position], each) for each in gone}

    def _take(self, position: int, sample: int, mark: int | None) -> None:
        if self._counted[position] or position >= self._cutoff:
            return
        attempts = self._open.setdefault(position, _Attempts())
        attempts.marks[sample] = mark
        attempts.kept += mark is not None
        if mark is not None and not self._solved[position]:
            self._solved[position] = 1
            self._solved_count += 1
            self._cut(position)
        count = self._counted[position] = self._needed(attempts.marks)
        if count:
            del self._open[position]
            kept = sum(attempts.marks[each] is not None for each in range(count))
            self._ended[kept, count] += 1
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
