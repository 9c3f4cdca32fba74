"""How many samples and tokens a sampler will spend, from what is believed of solve rates and lengths.

Solve rates differ from problem to problem: they are drawn from a Beta distribution. The real sampler then walks problems
drawn from it, with completions of drawn lengths in so many slots, so that retries, what is in flight when the training
set is full, and the slots that stand empty at the end are all counted.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, lgamma, log
from typing import Literal

from tpt.sampling.samplers import UntilFull

SPREAD = 0.9
"""a + b of the Beta distribution where nothing is known of it: most problems are nearly always or hardly ever solved.

Gemma-2-2b on GSM8K, with pass@1 of 0.446 and pass@10 of 0.76 (arXiv 2504.18116), has 0.88.
"""
_LENGTH_SIGMA = 0.4
"""Of the lognormal distribution that guessed lengths follow."""
_DRAWN_LENGTHS = 2000
_MOST_SIMULATED = 30_000
"""Samples of a fixed sampler that are simulated; the rest keeps every slot busy."""


@dataclass(frozen=True, slots=True)
class Rates:
    """A Beta distribution of solve rates over problems."""

    a: float
    b: float

    @classmethod
    def of_mean(cls, mean: float, spread: float = SPREAD) -> Rates:
        """Return the distribution with a mean and ``a + b``; a mean of 0 or 1 is moved inwards a little."""
        mean = min(0.999, max(0.001, mean))
        return cls(mean * spread, (1 - mean) * spread)

    @property
    def mean(self) -> float:
        """The expected solve rate."""
        return self.a / (self.a + self.b)

    @property
    def spread(self) -> float:
        """``a + b``: the smaller, the more problems are solved always or never."""
        return self.a + self.b


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


def fit_rates(counts: Sequence[tuple[int, int]]) -> Rates:
    """Return the likeliest Beta distribution for (solved, tried) of each problem.

    A problem that was left after its first success counts like any other: when to stop followed from what was seen, so
    the likelihood B(a + solved, b + failed) / B(a, b) is the same (the stopping rule principle).
    """
    table = Counter((solved, tried - solved) for solved, tried in counts)
    mean = (sum(solved for solved, _ in counts) + 0.5) / (sum(tried for _, tried in counts) + 1)
    best = Rates.of_mean(mean)
    for width in (0.5, 0.1, 0.02):
        centre = best
        near = [
            Rates.of_mean(_shifted(centre.mean, 4 * i * width), centre.spread * exp(4 * j * width))
            for i in range(-3, 4)
            for j in range(-3, 4)
        ]
        best = max(near, key=lambda rates: _likelihood(rates, table))
    return best


def _likelihood(rates: Rates, table: Counter[tuple[int, int]]) -> float:
    a, b = rates.a, rates.b
    whole = lgamma(a) + lgamma(b) - lgamma(a + b)
    # A weak prior keeps the spread finite where every problem behaves the same.
    prior = -0.05 * log(rates.spread / SPREAD) ** 2
    return prior + sum(
        times * (lgamma(a + solved) + lgamma(b + failed) - lgamma(a + b + solved + failed) - whole)
        for (solved, failed), times in table.items()
    )


def _shifted(mean: float, by: float) -> float:
    """Move a share on the logit scale."""
    return 1 / (1 + exp(-(log(mean / (1 - mean)) + by)))


def shifted(rates: Rates, *, seen: float, now: float) -> Rates:
    """Return the rates with their mean moved as far, in log-odds, as another mean went from ``seen`` to ``now``."""
    low, high = (min(0.999, max(0.001, value)) for value in (seen, now))
    return Rates.of_mean(_shifted(rates.mean, log(high / (1 - high)) - log(low / (1 - low))), rates.spread)


@cache
def simulate(draws: Draws, rates: Rates, lengths: Lengths, seed: int = 0) -> Spent:
    """Return what sampling comes to in one draw of problems and completions."""
    source = random.Random(seed)
    chances = [source.betavariate(rates.a, rates.b) for _ in range(draws.problems)]
    if draws.sampler == "fixed":
        return _simulate_fixed(draws, chances, lengths, source)
    return _simulate_until_full(draws, chances, lengths, source)


def _simulate_until_full(draws: Draws, chances: list[float], lengths: Lengths, source: random.Random) -> Spent:
    keys = [str(number) for number in range(draws.problems)]
    sampler = UntilFull(keys, samples=draws.samples, size=draws.size, per_problem=draws.per_problem)
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
