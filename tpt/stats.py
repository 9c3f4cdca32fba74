"""What may be concluded from scores: estimates, paired comparisons, and how many distinct solutions there are.

Problems are the unit everywhere. The samples of one problem are not independent evidence about a model, so a standard
error is taken over problems, and rounds are compared problem by problem.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tpt.errors import EstimateError
from tpt.records import Estimate

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_CELLS = 4_000_000
"""Random numbers held at once by a resampling loop: 32 MB."""


class PairedDifference(NamedTuple):
    """How much better the second set of scores is, on the same problems."""

    mean: float
    stderr: float
    low: float
    high: float
    p_value: float


class FormatSkillSplit(NamedTuple):
    """The change of the strict score and its two parts, which add up to it."""

    delta_strict: float
    skill: float
    """From more right values."""
    format: float
    """From more right values being written in the asked format."""


def mean_and_stderr(scores: npt.ArrayLike) -> Estimate:
    """Return the mean of per-problem scores in [0, 1] and its standard error over problems.

    One problem shows no spread; its error is then 0.5, the largest that a score in [0, 1] can have.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise EstimateError("no problems to average over: the score of an empty set is not defined")
    stderr = float(values.std(ddof=1)) / math.sqrt(values.size) if values.size > 1 else 0.5
    return Estimate(float(values.mean()), stderr)


def pass_at_k(
    correct: npt.ArrayLike, samples: npt.ArrayLike, k: int, *, problem_ids: Sequence[str] | None = None
) -> Estimate:
    """Return the unbiased pass@k (Chen et al. 2021), averaged over problems.

    Args:
        correct: Correct samples of each problem.
        samples: Samples of each problem, or one number for all.
        k: How many samples may be drawn.
        problem_ids: Names for the error message.

    Raises:
        EstimateError: When some problem has fewer than k samples.
    """
    return mean_and_stderr(pass_at_k_values(correct, samples, k, problem_ids=problem_ids))


def pass_at_k_values(
    correct: npt.ArrayLike, samples: npt.ArrayLike, k: int, *, problem_ids: Sequence[str] | None = None
) -> FloatArray:
    """Return 1 - C(n-c, k) / C(n, k) of each problem: the chance that k of its samples hold a correct one."""
    right = np.atleast_1d(np.asarray(correct, dtype=np.int64))
    taken = np.broadcast_to(np.asarray(samples, dtype=np.int64), right.shape)
    _require_samples(taken, k, problem_ids)
    if bool(((right < 0) | (right > taken)).any()):
        raise EstimateError("a problem has fewer than 0 or more than all of its samples correct: recount the verdicts")
    return 1.0 - _miss(taken, right, k)


def maj_at_k(
    answers: Sequence[Sequence[str | None]],
    correct: Sequence[Sequence[bool]],
    k: int,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return the expected score of the most frequent answer among k samples of each problem.

    Tied answers share the credit. A sample without an answer (None) takes one of the k places but never wins. The mean
    over the subsets of k is exact where a problem has no more than ``draws`` of them (always for k = n), and otherwise
    taken over ``draws`` random subsets.

    Args:
        answers: Per problem, each sample's answer in a canonical spelling; equal strings are one vote.
        correct: Per problem, whether each sample counts as correct.
        k: How many samples vote.
        draws: Subsets per problem.
        seed: Problem i draws from the stream ``(seed, i)``.
    """
    _require_samples(np.array([len(row) for row in answers], dtype=np.int64), k, None, metric="maj")
    scores = []
    for index, (row, right) in enumerate(zip(answers, correct, strict=True)):
        codes = {answer: code for code, answer in enumerate(dict.fromkeys(a for a in row if a is not None))}
        votes = np.array([codes.get(answer, len(codes)) if answer is not None else len(codes) for answer in row])
        subsets = _subsets(len(row), k, draws, (seed, index))
        scores.append(_plurality(votes, np.asarray(right, dtype=np.float64), subsets, len(codes)))
    return mean_and_stderr(scores)


def crossing_k(before: Mapping[int, float], after: Mapping[int, float]) -> int | None:
    """Return the smallest k from which on the later model's pass@k stays below the earlier one's; None if none."""
    crossing = None
    for k in sorted(before.keys() & after.keys(), reverse=True):
        if after[k] >= before[k]:
            break
        crossing = k
    return crossing


def paired_difference(
    after: npt.ArrayLike, before: npt.ArrayLike, *, confidence: float = 0.95, draws: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Compare two models problem by problem: the mean of ``after - before``, its interval, and a p-value.

    The interval is the percentile interval of a bootstrap over problems. The two-sided p-value is that of a sign-flip
    permutation test, ``(1 + hits) / (draws + 1)``: its type I error is at most the level whenever a difference is as
    likely as its opposite, whatever the shape, and for 0/1 scores it is McNemar's exact test up to the draws.

    Raises:
        EstimateError: When the scores are not of the same problems, or of fewer than two.
    """
    late, early = np.asarray(after, dtype=np.float64), np.asarray(before, dtype=np.float64)
    if late.ndim != 1 or late.shape != early.shape or late.size < 2:
        raise EstimateError(
            f"a paired comparison needs the scores of the same two or more problems, got {late.size} and {early.size}"
        )
    differences = late - early
    rng = np.random.default_rng(seed)
    means = _bootstrap_means(differences, draws, rng)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return PairedDifference(
        float(differences.mean()),
        float(differences.std(ddof=1)) / math.sqrt(differences.size),
        float(low),
        float(high),
        _sign_flip_p(differences, draws, rng),
    )


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


def minimal_detectable_difference(
    sd_of_differences: float, n: int, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest true difference that a two-sided paired test on n problems finds with the given power."""
    if n < 1:
        raise EstimateError(f"a detectable difference needs at least one problem, got {n}")
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * sd_of_differences / math.sqrt(n)


def format_skill_split(
    strict_before: float, lenient_before: float, strict_after: float, lenient_after: float
) -> FormatSkillSplit:
    """Split the change of the strict score into skill and format.

    With ``f = strict / lenient`` the share of right values in the asked format, the change is exactly
    ``mean(f) * change of lenient`` (skill) plus ``mean(lenient) * change of f`` (format). Where a lenient score is 0,
    f is not defined and taken from the other side.
    """
    for strict, lenient in ((strict_before, lenient_before), (strict_after, lenient_after)):
        if not 0 <= strict <= lenient <= 1:
            raise EstimateError(f"scores must satisfy 0 <= strict <= lenient <= 1, got {strict} and {lenient}")
    ratio_after = strict_after / lenient_after if lenient_after else None
    ratio_before = strict_before / lenient_before if lenient_before else ratio_after
    if ratio_before is None:
        return FormatSkillSplit(0.0, 0.0, 0.0)
    ratio_after = ratio_before if ratio_after is None else ratio_after
    skill = (ratio_before + ratio_after) / 2 * (lenient_after - lenient_before)
    form = (lenient_before + lenient_after) / 2 * (ratio_after - ratio_before)
    return FormatSkillSplit(strict_after - strict_before, skill, form)


def rarefied(counts: Sequence[int], m: int) -> float:
    """Return how many kinds are expected among m of the things counted: sum of 1 - C(n - n_g, m) / C(n, m).

    Without it a count of distinct solutions grows with the number of correct ones, and measures accuracy.
    """
    n = sum(counts)
    if not 1 <= m <= n:
        raise EstimateError(f"rarefying to m things needs 1 <= m <= the {n} counted, got {m}")
    sizes = np.asarray(counts, dtype=np.int64)
    return float((1.0 - _miss(np.full_like(sizes, n), sizes, m)).sum())


def answer_entropy(answers: Sequence[str | None]) -> float:
    """Return the entropy of the answers in nats; samples without an answer (None) are left out."""
    counts = Counter(answer for answer in answers if answer is not None)
    total = counts.total()
    return sum(-count / total * math.log(count / total) for count in counts.values() if count < total)


def _require_samples(taken: IntArray, k: int, problem_ids: Sequence[str] | None, metric: str = "pass") -> None:
    """Raise unless every problem has at least k samples and k is at least 1."""
    if k < 1:
        raise EstimateError(f"{metric}@{k} is not defined: k is at least 1")
    short = np.flatnonzero(taken < k)
    if short.size:
        index = int(short[0])
        name = problem_ids[index] if problem_ids is not None else f"number {index}"
        raise EstimateError(
            f"{metric}@{k} needs at least {k} samples of every problem; problem {name} has {int(taken[index])}: "
            "raise evaluate.samples or lower k"
        )


def _miss(n: IntArray, hits: IntArray, k: int) -> FloatArray:
    """Return C(n - hits, k) / C(n, k): the chance that k of n drawn without replacement are all misses."""
    miss = np.ones(n.shape)
    for drawn in range(k):
        miss *= np.maximum(n - hits - drawn, 0) / (n - drawn)
    return miss


def _subsets(n: int, k: int, draws: int, seed: tuple[int, int]) -> IntArray:
    """Return all k-subsets of range(n), or ``draws`` random ones where there are more: [subsets, k]."""
    if math.comb(n, k) <= draws:
        return np.array(list(combinations(range(n), k)), dtype=np.int64)
    keys = np.random.default_rng(seed).random((draws, n))
    return np.argpartition(keys, k - 1, axis=1)[:, :k].astype(np.int64)


def _plurality(votes: IntArray, right: FloatArray, subsets: IntArray, answers: int) -> float:
    """Return the mean credit of the winning answers; votes equal to ``answers`` are cast for nothing."""
    if answers == 0:
        return 0.0
    rows, width = len(subsets), answers + 1
    cells = (np.arange(rows)[:, None] * width + votes[subsets]).ravel()
    counts = np.bincount(cells, minlength=rows * width).reshape(rows, width)[:, :answers]
    credit = np.bincount(cells, right[subsets].ravel(), minlength=rows * width).reshape(rows, width)[:, :answers]
    most = counts.max(axis=1, keepdims=True)
    winners = (counts == most) & (most > 0)
    # Strictness may differ between samples of one answer: the answer then earns the share of its samples.
    share = np.where(winners, credit / np.maximum(counts, 1), 0.0).sum(axis=1) / np.maximum(winners.sum(axis=1), 1)
    return float(share.mean())


def _bootstrap_means(values: FloatArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """Return the means of ``draws`` resamples with replacement, in bounded memory."""
    chunk = max(1, _CELLS // values.size)
    means = [
        values[rng.integers(0, values.size, size=(min(chunk, draws - done), values.size), dtype=np.uint32)].mean(axis=1)
        for done in range(0, draws, chunk)
    ]
    return np.concatenate(means)


def _sign_flip_p(differences: FloatArray, draws: int, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of the mean under random signs."""
    moved = differences[differences != 0.0]
    if moved.size == 0:
        return 1.0
    total, scale = moved.sum(), np.abs(moved).sum()
    chunk, width = max(1, _CELLS // moved.size), (moved.size + 7) // 8
    hits = 0
    for done in range(0, draws, chunk):
        bits = rng.integers(0, 256, size=(min(chunk, draws - done), width), dtype=np.uint8)
        signs = np.unpackbits(bits, axis=1, count=moved.size)
        flipped = 2.0 * (signs.astype(np.float64) @ moved) - total
        # Equal sums differ by rounding; a tie counts as a hit.
        hits += int((np.abs(flipped) >= abs(total) - 1e-12 * scale).sum())
    return (1 + hits) / (draws + 1)
