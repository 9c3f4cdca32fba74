"""How sure a difference between two arms is, with both sources of chance: which problems, and which seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tpt.evidence.best_round import DRAWS
from tpt.records import Estimate
from tpt.scoring import FloatArray, holm

_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True)
class Gain:
    """An arm less the reference arm, paired by seed and problem."""

    mean: float
    low: float
    """95 % interval of a bootstrap over seeds and problems."""
    high: float
    p_value: float
    """Two-sided, from the same bootstrap."""
    p_holm: float
    """Adjusted for the other arms compared."""


def over_seeds(values: Sequence[float | None]) -> Estimate | None:
    """Return the mean over seeds and its standard error, NaN for a single seed; None where a seed has no value."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    mean = sum(known) / len(known)
    if len(known) == 1:
        return Estimate(mean, math.nan)
    spread = math.sqrt(sum((value - mean) ** 2 for value in known) / (len(known) - 1))
    return Estimate(mean, spread / math.sqrt(len(known)))


def gains(columns: Sequence[Sequence[dict[str, float]]], *, seed: int) -> list[Gain]:
    """Return each arm's gain; the p-values are adjusted for one another (Holm).

    Every draw takes seeds, one fewer than there are and with replacement, so that the variance over seeds comes out
    unbiased (as many as there are would make it too small by a factor of (S - 1) / S); and problems, as many as there
    are. Seeds that share problems share the problems drawn, for what is hard about a problem is hard with every seed;
    where every seed has its own, they are drawn apart. A single seed leaves the problems alone as a source of chance.

    ``columns``: per arm and seed, problem key to difference of the score.
    """
    found = []
    for index, arm in enumerate(columns):
        means = bootstrap_gain(arm, draws=DRAWS, seed=seed + index)
        observed = float(np.mean([np.mean(list(each.values())) for each in arm]))
        low, high = np.quantile(means, [0.025, 0.975])
        tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
        found.append((observed, float(low), float(high), min(1.0, 2 * (1 + tail) / (DRAWS + 1))))
    adjusted = holm([each[3] for each in found])
    return [Gain(*each, p_holm) for each, p_holm in zip(found, adjusted, strict=True)]


def bootstrap_gain(differences: Sequence[dict[str, float]], *, draws: int, seed: int) -> FloatArray:
    """Return the mean difference in so many draws; see ``gains``."""
    keys = sorted({key for each in differences for key in each})
    row_of = {key: index for index, key in enumerate(keys)}
    table = np.zeros((len(keys), len(differences)))
    there = np.zeros_like(table)
    for column, each in enumerate(differences):
        rows = [row_of[key] for key in each]
        table[rows, column] = list(each.values())
        there[rows, column] = 1.0
    rng, seeds = np.random.default_rng(seed), len(differences)
    drawn = rng.multinomial(max(1, seeds - 1), np.full(seeds, 1 / seeds), size=draws)
    means = []
    chunk = max(1, _CHUNK // len(keys))
    for done in range(0, draws, chunk):
        times = _drawn_rows(rng, there, min(chunk, draws - done))
        sums, counts = times @ table, times @ there
        weights = drawn[done : done + len(times)]
        # A seed none of whose problems was drawn has no mean in this draw; with more than a few problems there is none.
        each_seed = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        means.append((weights * each_seed).sum(axis=1) / weights.sum(axis=1))
    return np.concatenate(means)


def _drawn_rows(rng: np.random.Generator, there: FloatArray, draws: int) -> FloatArray:
    """Return how often each problem is drawn; problems of the same seeds are drawn from among themselves."""
    times = np.zeros((draws, len(there)))
    patterns, group = np.unique(there, axis=0, return_inverse=True)
    for pattern in range(len(patterns)):
        rows = np.flatnonzero(group.ravel() == pattern)
        cells = rng.integers(0, len(rows), size=(draws, len(rows))) + np.arange(draws)[:, None] * len(rows)
        counts = np.bincount(cells.ravel(), minlength=draws * len(rows)).reshape(draws, len(rows))
        times[:, rows] = counts
    return times
