"""Whether one model is better than another: paired comparisons by problem, and what they can and cannot see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from tpt.errors import EstimateError
from tpt.scoring.estimates import FloatArray

_CELLS = 4_000_000
"""Random numbers held at once by a resampling loop: 32 MB."""


def bootstrap_means(columns: FloatArray, *, draws: int, seed: int) -> FloatArray:
    """Return the mean of every column in ``draws`` resamples of the rows with replacement.

    All columns share each resample, so what is computed from several of them (a difference, a share) has its own
    distribution.

    Args:
        columns: Scores, [problems, columns].
        draws: Resamples.
        seed: Of the resamples.

    Returns:
        Means, [draws, columns].
    """
    rows, rng = len(columns), np.random.default_rng((seed, 0))
    chunk, means = max(1, _CELLS // rows), []
    for done in range(0, draws, chunk):
        height = min(chunk, draws - done)
        cells = rng.integers(0, rows, size=(height, rows), dtype=np.uint32).astype(np.int64)
        cells += np.arange(height)[:, None] * rows
        # How often each row is drawn, so that one matrix product serves all columns.
        times = np.bincount(cells.ravel(), minlength=height * rows).reshape(height, rows)
        means.append(times.astype(np.float64) @ columns / rows)
    return np.concatenate(means)


def sign_flip_p(differences: FloatArray, *, draws: int, seed: int) -> FloatArray:
    """Return the two-sided p-value of every column's mean under random signs of the rows.

    Args:
        differences: One paired comparison a column, [problems, columns].
        draws: Random sign patterns, the same for all columns.
        seed: Of the patterns.
    """
    moved = differences[(differences != 0.0).any(axis=1)]
    rows, rng = len(moved), np.random.default_rng((seed, 1))
    hits = np.zeros(differences.shape[1], dtype=np.int64)
    total, scale = moved.sum(axis=0), np.abs(moved).sum(axis=0)
    chunk, width = max(1, _CELLS // max(rows, 1)), (rows + 7) // 8
    for done in range(0, draws, chunk):
        bits = rng.integers(0, 256, size=(min(chunk, draws - done), width), dtype=np.uint8)
        signs = np.unpackbits(bits, axis=1, count=rows)
        flipped = 2.0 * (signs.astype(np.float64) @ moved) - total
        # Equal sums differ by rounding; a tie counts as a hit.
        hits += (np.abs(flipped) >= np.abs(total) - 1e-12 * scale).sum(axis=0)
    return np.asarray((1 + hits) / (draws + 1), dtype=np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the given order; they hold for any dependence between the tests."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, floor = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


def wilson(successes: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval for a single rate; the counts may be effective ones, which need not be whole."""
    if not 0 <= successes <= n or n == 0:
        raise EstimateError(f"a rate needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, shrink = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def minimal_detectable_difference(sd_of_differences: float, n: int, *, alpha: float, power: float = 0.8) -> float:
    """Return the smallest true difference that a two-sided paired test on n problems finds with the given power."""
    if n < 1:
        raise EstimateError(f"a detectable difference needs at least one problem, got {n}")
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * sd_of_differences / math.sqrt(n)


def split_gains(
    strict_before: FloatArray, lenient_before: FloatArray, strict_after: FloatArray, lenient_after: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Split the changes of many strict scores into skill and format.

    With ``f = strict / lenient`` the share of right values in the asked format, a change is exactly
    ``mean(f) * change of lenient`` (skill) plus ``mean(lenient) * change of f`` (format). Where a lenient score is 0,
    f is not defined and taken from the other side.
    """
    before = np.divide(
        strict_before, lenient_before, out=np.full(strict_before.shape, np.nan), where=lenient_before > 0
    )
    after = np.divide(strict_after, lenient_after, out=np.full(strict_after.shape, np.nan), where=lenient_after > 0)
    ratio_before = np.nan_to_num(np.where(np.isnan(before), after, before))
    ratio_after = np.nan_to_num(np.where(np.isnan(after), before, after))
    skill = (ratio_before + ratio_after) / 2 * (lenient_after - lenient_before)
    form = (lenient_before + lenient_after) / 2 * (ratio_after - ratio_before)
    return skill, form
