"""How many samples and tokens a sampler will spend, from what is believed of solve rates and lengths.

Solve rates differ from problem to problem: they are drawn from a Beta distribution. The real sampler then walks problems
drawn from it, with completions of drawn lengths in so many slots, so that retries, what is in flight when the training
set is full, and the slots that stand empty at the end are all counted.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from math import log
from typing import Literal

from tpt.sampling.until_full import UntilFull
from tpt.scoring.solve_rates import Rates

_LENGTH_SIGMA = 0.4
"""Of the lognormal distribution that guessed lengths follow."""
_DRAWN_LENGTHS = 2000
_MOST_SIMULATED = 30_000
"""Samples of a fixed sampler that are simulated; the rest keeps every slot busy."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Completion tokens to draw from: of completions that may be trained on, and of the others."""

    kept: tuple[int, ...]
    others: tuple[int, ...]

    @classmethod
    def guessed(cls, mean: float, most: int) -> Lengths:
        """Return lognormal lengths of a mean, ``most`` at most."""
        source = random.Random(0)
        middle = log(max(1.0, mean)) - _LENGTH_SIGMA**2 / 2
        drawn = (source.lognormvariate(middle, _LENGTH_SIGMA) for _ in range(_DRAWN_LENGTHS))
        lengths = tuple(max(1, min(most, round(length))) for length in drawn)
        return cls(lengths, lengths)

    @property
    def kept_mean(self) -> float:
        """Mean tokens of what may be trained on."""
        return sum(self.kept) / len(self.kept)

    @property
    def longest_kept(self) -> int:
        """Most tokens of what may be trained on."""
        return max(self.kept)


@dataclass(frozen=True, slots=True)
class Draws:
    """What a stage samples."""

    problems: int
    samples: int
    """Tries of one problem, at most or exactly."""
    size: int | None
    """Problems in the training set; None: all that are solved."""
    sampler: Literal["until_full", "fixed"]
    slots: int
    per_problem: int
    """Keepable traces of a problem that until_full stops at; fixed takes all."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a stage's sampling comes to."""

    samples: int
    tokens: int
    """Sampled, those included that turn out not to be needed."""
    prompts: int
    """Problems that were asked at all: each prompt is read once."""
    solved: tuple[int, ...]
    """Keepable completions of each problem that has any, in the order of the problems."""
    busy: tuple[tuple[int, int], ...]
    """(rows, steps): how many steps of the engine had so many rows to decode."""


@cache
def simulate(draws: Draws, rates: Rates, lengths: Lengths, seed: int = 0) -> Spent:
    """Return what sampling comes to in one draw of problems and completions."""
    source = random.Random(seed)
    chances = [source.betavariate(rates.a, rates.b) for _ in range(draws.problems)]
    if draws.sampler == "fixed":
        return _simulate_fixed(draws, chances, lengths, source)
    keys = [str(number) for number in range(draws.problems)]
    sampler = UntilFull(keys, samples=draws.samples, size=draws.size, per_problem=draws.per_problem, expected=rates)
    return _simulate_until_full(draws, sampler, chances, lengths, source)


def _simulate_until_full(
    draws: Draws, sampler: UntilFull, chances: list[float], lengths: Lengths, source: random.Random
) -> Spent:
    running: list[tuple[int, int, tuple[str, int], bool]] = []
    busy: Counter[int] = Counter()
    asked: set[str] = set()
    now = samples = tokens = 0
    solved: Counter[int] = Counter()
    while not sampler.finished():
        for key in sampler.next_requests(draws.slots - len(running)):
            keepable = source.random() < chances[int(key[0])]
            length = source.choice(lengths.kept if keepable else lengths.others)
            heapq.heappush(running, (now + length, now, key, keepable))
            asked.add(key[0])
            samples += 1
        busy[len(running)] += running[0][0] - now
        now = running[0][0]
        while running and running[0][0] == now:
            _, begun, key, keepable = heapq.heappop(running)
            tokens += now - begun
            sampler.record(key, key[1] if keepable else None)
            solved[int(key[0])] += keepable
        if needless := sampler.needless():
            tokens += sum(now - begun for _, begun, key, _ in running if key in needless)
            running = [each for each in running if each[2] not in needless]
            heapq.heapify(running)
    tokens += sum(now - begun for _, begun, _, _ in running)
    kept = sorted(number for number, hits in solved.items() if hits)[: draws.size]
    return Spent(samples, tokens, len(asked), tuple(solved[number] for number in kept), tuple(sorted(busy.items())))


def _simulate_fixed(draws: Draws, chances: list[float], lengths: Lengths, source: random.Random) -> Spent:
    """Return what every sample of every problem costs; each slot takes the next sample when it is free."""
    total = draws.problems * draws.samples
    hits = [sum(source.random() < chance for _ in range(draws.samples)) for chance in chances]
    share = sum(hits) / max(1, total)
    simulated = min(total, _MOST_SIMULATED)
    taken = [source.choice(lengths.kept if source.random() < share else lengths.others) for _ in range(simulated)]
    ends = [0] * min(draws.slots, simulated)
    for length in taken:
        heapq.heapreplace(ends, ends[0] + length)
    busy: Counter[int] = Counter()
    begun = 0
    for ended, end in enumerate(sorted(ends)):
        busy[len(ends) - ended] += end - begun
        begun = end
    mean = sum(taken) / max(1, simulated)
    left = round((total - simulated) * mean)
    busy[len(ends)] += left // max(1, len(ends))
    solved = tuple(hit for hit in hits if hit)
    return Spent(total, sum(taken) + left, draws.problems, solved, tuple(sorted(busy.items())))
