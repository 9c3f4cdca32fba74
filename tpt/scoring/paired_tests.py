"""Whether one model is better than another: paired comparisons by problem, and what they can and cannot see."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from statistics import NormalDist

import numpy as np

from tpt.scoring.estimates import FloatArray, IntArray, cluster_sums

_CELLS = 4_000_000
"""Random numbers held at once by a resampling loop: 32 MB."""
_COUNTED = 12
"""Units whose sign patterns are all tried: of as few, an approximation may find what no pattern can."""
_TIE = 1e-12
"""Sums that are equal may differ by so much of their size."""


@dataclass(frozen=True, slots=True)
class SignFlips:
    """What random signs of the rows say of the mean of each column: p-values, and the intervals that agree with them.

    A shift d is rejected where few sign patterns bring the mean of (differences - d) as far from 0 as it is. A pattern
    that flips the rows A does so exactly where d lies between the mean of A and that of the other rows, so the
    patterns' pairs of means answer for every d at once.
    """

    lows: FloatArray
    """The smaller of each pattern's two means, sorted: [patterns, columns]."""
    highs: FloatArray
    """The larger ones, sorted."""
    always: int
    """Patterns that flip all rows or none: they are as extreme as what was seen, whatever the shift."""
    tie: float
    """Means that are equal may differ by so much."""

    def p_values(self) -> FloatArray:
        """Return the two-sided p-value of every column's mean."""
        hits = (self.lows <= self.tie).sum(axis=0) - (self.highs < -self.tie).sum(axis=0)
        return np.asarray((self.always + hits) / self._patterns, dtype=np.float64)

    def interval(self, column: int, level: float) -> tuple[float, float]:
        """Return the shifts that the test at this level does not reject; it holds 0 exactly where p is above the level.

        The ends are -inf and inf where so few rows can reject nothing.
        """
        # So many patterns must be as extreme before a shift is kept.
        needed = math.floor(level * self._patterns * (1 + _TIE)) + 1 - self.always
        if needed <= 0 or not len(self.lows):
            return -math.inf, math.inf
        ends = self.lows[needed - 1, column], self.highs[-needed, column]
        low, high = (0.0 if abs(end) <= self.tie else float(end) for end in ends)
        return low, high

    @property
    def _patterns(self) -> int:
        return len(self.lows) + self.always


def sign_flips(differences: FloatArray, *, draws: int, seed: int, clusters: IntArray | None = None) -> SignFlips:
    """Flip the signs of the rows: every pattern where there are no more than ``draws``, else so many at random.

    Few rows show too little spread: ten problems all won leave no doubt, and ten unchanged none either. So a gain and a
    loss of the usual size, or of ``sqrt(6 / rows)`` where that is more, are flipped too; they leave the mean as it is,
    and make the test conservative where there are few rows.

    Args:
        differences: One paired comparison a column, [problems, columns].
        draws: Sign patterns, the same for all columns.
        seed: Of the patterns.
        clusters: The cluster of each problem, [problems]; the problems of one flip together. None: each on its own.
    """
    sums, sizes = cluster_sums(differences, clusters)
    total, rows, units = sums.sum(axis=0), len(differences), len(sums)
    usual = _usual(sums, rows)
    lows, highs, always = [], [], 0
    for signs in _sign_patterns(units + 2, draws, seed):
        flips, added = signs[:, :units], (signs[:, units] - signs[:, units + 1])[:, None] * usual
        flipped = flips @ sizes
        inner = (flipped > 0) & (flipped < rows)
        always += int((~inner).sum())
        part, count = flips[inner] @ sums + added[inner], flipped[inner][:, None]
        pair = part / count, (total - part) / (rows - count)
        lows.append(np.minimum(*pair))
        highs.append(np.maximum(*pair))
    # What was seen is one of the patterns, so p is never 0.
    always += 2 ** min(units + 2, 63) > draws
    below, above = np.sort(np.concatenate(lows), axis=0), np.sort(np.concatenate(highs), axis=0)
    return SignFlips(below, above, always, float(_TIE * np.abs(differences).max(initial=0.0)))


def _usual(sums: FloatArray, rows: int) -> FloatArray:
    """Return the usual size of a change, of each column of the clusters' sums."""
    units = len(sums)
    least = min(1, 6 / units) * (rows / units) ** 2
    return np.asarray(np.sqrt(np.maximum((sums**2).mean(axis=0), least)), dtype=np.float64)


def sign_flip_p(differences: FloatArray, *, draws: int, seed: int, clusters: IntArray | None = None) -> FloatArray:
    """Return the two-sided p-value of every column's mean under random signs of the rows; see ``sign_flips``."""
    return sign_flips(differences, draws=draws, seed=seed, clusters=clusters).p_values()


def _sign_patterns(rows: int, draws: int, seed: int) -> Iterator[FloatArray]:
    """Yield blocks of which rows are flipped, [patterns, rows] of 0 and 1."""
    if 2 ** min(rows, 63) <= draws:
        yield (np.arange(2**rows)[:, None] >> np.arange(rows) & 1).astype(np.float64)
        return
    rng, width = np.random.default_rng((seed, 1)), (rows + 7) // 8
    chunk = max(1, _CELLS // rows)
    for done in range(0, draws, chunk):
        bits = rng.integers(0, 256, size=(min(chunk, draws - done), width), dtype=np.uint8)
        yield np.unpackbits(bits, axis=1, count=rows).astype(np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the given order; they hold for any dependence between the tests."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


def minimal_detectable_difference(
    differences: FloatArray, *, alpha: float, power: float = 0.8, clusters: IntArray | None = None
) -> float | None:
    """Return the smallest true mean that sign flips find with the power, in differences that vary as these do.

    The flips' own spread grows with the gain. None: not even a gain of 1, the largest of a score, would be found so
    often.
    """
    sums, sizes = cluster_sums(differences[:, None], clusters)
    own, rows = (sums - sizes[:, None] * differences.mean())[:, 0], len(differences)
    luck = NormalDist().inv_cdf(power) * math.sqrt(float((own**2).sum()) * len(own) / (len(own) - 1))

    def found(gain: float) -> bool:
        """Return whether the sum that is exceeded with the power is significant."""
        moved = own + gain * sizes
        return _flipped_beyond(gain * rows - luck, moved, float(_usual(moved[:, None], rows)[0])) <= alpha

    if not found(1.0) or not _finds_all_gained(rows, alpha, clusters):
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


@cache
def _least_p(sizes: tuple[int, ...]) -> float:
    """Return the p-value of every problem of some clusters gained in full."""
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    gained = np.ones((len(clusters), 1))
    return float(sign_flip_p(gained, draws=2 ** (len(sizes) + 2), seed=0, clusters=clusters)[0])


def _finds_all_gained(rows: int, alpha: float, clusters: IntArray | None) -> bool:
    """Return whether a gain of 1, which is one of 1 on every problem, is significant: with few signs, by counting them all."""
    sizes = [1] * rows if clusters is None else np.unique(clusters, return_counts=True)[1].tolist()
    return len(sizes) > _COUNTED or _least_p(tuple(sorted(sizes))) <= alpha


def expected_detectable(spread: float, problems: int, *, alpha: float, power: float = 0.8) -> float:
    """Return the smallest true mean found with the power, before there are differences, whose spread is only expected."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * spread / math.sqrt(problems)


def _flipped_beyond(seen: float, sums: FloatArray, usual: float) -> float:
    """Return about how often flipped sums, and the added gain and loss with them, are as far from 0 as what was seen."""
    spread, normal = math.sqrt(float((sums**2).sum())), NormalDist()
    if seen <= 0:
        return 1.0
    if spread == 0:
        return 0.5 if seen <= 2 * usual else 0.0
    # Sums of signs have lighter tails than a normal distribution: Edgeworth's first term says by how much.
    tails = -2 * float((sums**4).sum()) / spread**4 / 24

    def beyond(sum_: float) -> float:
        at = sum_ / spread
        return max(0.0, normal.cdf(-at) + tails * (at**3 - 3 * at) * normal.pdf(at))

    # The added two cancel half of the time, and are a double gain or loss else.
    return beyond(seen) + (beyond(seen - 2 * usual) + beyond(seen + 2 * usual)) / 2


def fewest_units(level: float, *, clustered: bool) -> int:
    """Return the fewest problems, or clusters of them, whose signs can reject anything at the level, see ``sign_flips``."""
    units = 2
    # Up to six, a problem cannot outweigh the added loss, though a cluster can.
    while (units + 4 if units <= 6 and not clustered else 4) / 2 ** (units + 1) > level:
        units += 1
    return units


def mcnemar_p(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: as many problems won as lost, by a fair coin."""
    tossed = gained + lost
    tail = sum(math.comb(tossed, each) for each in range(min(gained, lost) + 1))
    # Divided as whole numbers: 2 ** tossed may be larger than any float.
    return min(1.0, float(Fraction(2 * tail, 2**tossed)))
