"""Models compared problem by problem: every number of a comparison from one resampling of the problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tpt.evidence.best_round import DRAWS
from tpt.evidence.cards import Comparison, Coverage, Difference, Finding, Interval
from tpt.records import Estimate
from tpt.scoring import (
    FloatArray,
    bootstrap_means,
    crossing_k,
    holm,
    mean_and_stderr,
    minimal_detectable_difference,
    pass_at_k_curve,
    sign_flip_p,
    split_gains,
)
from tpt.scoring.score import Counts

STRICT, LENIENT = 0, 1
"""The two scores, in the order of ``Counts.shares``."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Several models' scores on the same problems, and what resampling those problems makes of their means."""

    rounds: Sequence[int]
    """The round of each model."""
    counts: list[Counts]
    shares: FloatArray
    """[problems, models, strict and lenient]."""
    means: FloatArray
    """[draws, models, strict and lenient]."""
    seed: int

    def estimate(self, model: int, score: int) -> Estimate:
        """Return a model's pass@1."""
        return mean_and_stderr(self.shares[:, model, score])


def sample_of(rounds: Sequence[int], counts: Sequence[Counts], problem_ids: Sequence[str], *, seed: int) -> Sample:
    """Return the scores of some rounds' models on problems that all of them were scored on."""
    chosen = [each.of(problem_ids) for each in counts]
    columns = np.concatenate([each.shares for each in chosen], axis=1)
    means = bootstrap_means(columns, draws=DRAWS, seed=seed).reshape(DRAWS, len(chosen), 2)
    return Sample(rounds, chosen, columns.reshape(len(problem_ids), len(chosen), 2), means, seed)


def compare_pairs(sample: Sample, pairs: Sequence[tuple[int, int]], *, level: float) -> list[Comparison]:
    """Compare models, (after, before) by their columns in the sample; for each score the pairs are one family of tests."""
    if len(sample.shares) < 2 or not pairs:
        return []
    strict, lenient = (_differences(sample, pairs, score, level) for score in (STRICT, LENIENT))
    curves = {model: _curves(sample.counts[model]) for model in {model for pair in pairs for model in pair}}
    return [
        Comparison(
            other=sample.rounds[before],
            problems=len(sample.shares),
            strict=strict[index],
            lenient=lenient[index],
            skill=skill,
            format=form,
            crossing_k=_crossing(curves[before][STRICT], curves[after][STRICT]),
            crossing_k_lenient=_crossing(curves[before][LENIENT], curves[after][LENIENT]),
            coverage=_coverage(sample, after, before, STRICT),
            coverage_lenient=_coverage(sample, after, before, LENIENT),
        )
        for index, (after, before) in enumerate(pairs)
        for skill, form in [_split(sample, after, before)]
    ]


def _differences(sample: Sample, pairs: Sequence[tuple[int, int]], score: int, level: float) -> list[Difference]:
    after, before = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    gains = sample.shares[:, after, score] - sample.shares[:, before, score]
    lows, highs = np.quantile(sample.means[:, after, score] - sample.means[:, before, score], [0.025, 0.975], axis=0)
    p_values = sign_flip_p(gains, draws=DRAWS, seed=sample.seed).tolist()
    spreads, problems = gains.std(axis=0, ddof=1), len(gains)
    return [
        Difference(
            mean=float(mean),
            stderr=float(spread) / math.sqrt(problems),
            low=float(low),
            high=float(high),
            p_value=p_value,
            p_holm=p_holm,
            detectable=minimal_detectable_difference(float(spread), problems, alpha=level),
            finding=_finding(float(mean), p_holm, level),
        )
        for mean, spread, low, high, p_value, p_holm in zip(
            gains.mean(axis=0), spreads, lows, highs, p_values, holm(p_values), strict=True
        )
    ]


def _finding(mean: float, p_holm: float, level: float) -> Finding:
    if p_holm > level:
        return "within noise"
    return "gain" if mean > 0 else "loss"


def _split(sample: Sample, after: int, before: int) -> tuple[Interval, Interval]:
    """Return the skill and the format part of the strict gain, with their intervals."""
    drawn = [sample.means[:, model, score] for model in (before, after) for score in (STRICT, LENIENT)]
    seen = [
        sample.shares[:, model, score].mean(keepdims=True) for model in (before, after) for score in (STRICT, LENIENT)
    ]
    parts = zip(split_gains(*seen), split_gains(*drawn), strict=True)
    skill, form = (
        Interval(float(value[0]), *(float(bound) for bound in np.quantile(draws, [0.025, 0.975])))
        for value, draws in parts
    )
    return skill, form


def _curves(counts: Counts) -> tuple[dict[int, Estimate], dict[int, Estimate]]:
    return pass_at_k_curve(counts.strict, counts.samples), pass_at_k_curve(counts.lenient, counts.samples)


def _crossing(before: dict[int, Estimate], after: dict[int, Estimate]) -> int | None:
    return crossing_k({k: each.mean for k, each in before.items()}, {k: each.mean for k, each in after.items()})


def _coverage(sample: Sample, after: int, before: int, score: int) -> Coverage:
    here, there = sample.shares[:, after, score] > 0, sample.shares[:, before, score] > 0
    names = np.array(sample.counts[after].problem_ids, dtype=object)
    return Coverage(
        gained=names[here & ~there].tolist(),
        lost=names[there & ~here].tolist(),
        neither=names[~here & ~there].tolist(),
        both=int((here & there).sum()),
    )
