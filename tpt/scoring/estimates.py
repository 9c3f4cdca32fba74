"""What a sample of completions says of one model: pass@k, maj@k, diversity, each with its noise over problems."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from tpt.errors import EstimateError
from tpt.records import Estimate

_PRIOR_UNITS = 2
"""Simulated in benchmarks/significance_words.py: with fewer, ten easy problems with many samples cover 87 %."""
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def mean_and_stderr(scores: npt.ArrayLike, clusters: IntArray | None = None) -> Estimate:
    """Return the mean of per-problem scores in [0, 1], its standard error and its 95 % interval over problems.

    The interval is Wilson's for as many independent answers as the spread over problems says there are (Korn and
    Graubard 1998, with Student's t). Few problems show too little spread: two more are taken to be as uneven as a right
    and a wrong answer are. One problem shows none; its error is then 0.5, the largest that a score in [0, 1] can have.

    ``clusters``: of each problem, where some have more in common than chance; they are then the unit.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise EstimateError("no problems to average over: the score of an empty set is not defined")
    mean, units = float(values.mean()), values.size if clusters is None else len(np.unique(clusters))
    if units == 1:
        return Estimate(mean, 0.5, 0.0, 1.0)
    stderr = stderr_over(values, clusters)
    return Estimate(mean, stderr, *_score_interval(mean, stderr, units))


def stderr_over(values: FloatArray, clusters: IntArray | None = None) -> float:
    """Return the standard error of a mean over problems, or over clusters of them; there are two or more."""
    sums, _ = cluster_sums((values - values.mean())[:, None], clusters)
    return math.sqrt(float((sums**2).sum()) * len(sums) / (len(sums) - 1)) / values.size


def cluster_sums(values: FloatArray, clusters: IntArray | None) -> tuple[FloatArray, FloatArray]:
    """Return the sum of the values in each cluster, [clusters, columns], and how many problems it has."""
    if clusters is None:
        return values, np.ones(len(values))
    _, place = np.unique(clusters, return_inverse=True)
    sums = np.zeros((int(place.max()) + 1, values.shape[1]))
    np.add.at(sums, place, values)
    return sums, np.bincount(place).astype(np.float64)


def _score_interval(mean: float, stderr: float, units: int) -> tuple[float, float]:
    most, variance = mean * (1 - mean), stderr**2 * units
    shrunk = (variance * (units - 1) + _PRIOR_UNITS * most) / (units - 1 + _PRIOR_UNITS)
    answers = units * most / shrunk if shrunk > 0 else float(units)
    z = NormalDist().inv_cdf(0.975)
    answers *= (z / _student_t(z, units - 1)) ** 2
    return wilson(mean * answers, answers)


def _student_t(z: float, freedom: int) -> float:
    """Return Student's t of the same probability as a normal z: Cornish and Fisher's expansion, 0.3 % off from 4 on."""
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def wilson(successes: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval for a single rate; the counts may be effective ones, which need not be whole."""
    if not 0 <= successes <= n or n == 0:
        raise EstimateError(f"a rate needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, shrink = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def pass_at_k(
    correct: npt.ArrayLike,
    samples: npt.ArrayLike,
    k: int,
    *,
    problem_ids: Sequence[str] | None = None,
    clusters: IntArray | None = None,
) -> Estimate:
    """Return the unbiased pass@k (Chen et al. 2021), averaged over problems.

    Args:
        correct: Correct samples of each problem.
        samples: Samples of each problem, or one number for all.
        k: How many samples may be drawn.
        problem_ids: Names for the error message.
        clusters: See ``mean_and_stderr``.

    Raises:
        EstimateError: When some problem has fewer than k samples.
    """
    return mean_and_stderr(pass_at_k_values(correct, samples, k, problem_ids=problem_ids), clusters)


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


def pass_at_k_curve(
    correct: npt.ArrayLike, samples: npt.ArrayLike, clusters: IntArray | None = None
) -> dict[int, Estimate]:
    """Return pass@k, averaged over problems, for every k from 1 to the samples that each problem has."""
    right = np.asarray(correct, dtype=np.int64)
    taken = np.broadcast_to(np.asarray(samples, dtype=np.int64), right.shape)
    if right.size == 0:
        raise EstimateError("no problems to average over: the score of an empty set is not defined")
    misses, curve = np.ones(right.size), {}
    for k in range(1, int(taken.min()) + 1):
        misses *= np.maximum(taken - right - (k - 1), 0) / (taken - (k - 1))
        curve[k] = mean_and_stderr(1.0 - misses, clusters)
    return curve


def maj_at_k(
    answers: Sequence[Sequence[str | None]],
    correct: Sequence[Sequence[bool]],
    k: int,
    *,
    draws: int = 1000,
    seed: int = 0,
    clusters: IntArray | None = None,
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
        clusters: See ``mean_and_stderr``.
    """
    _require_samples(np.array([len(row) for row in answers], dtype=np.int64), k, None, metric="maj")
    scores = []
    for index, (row, right) in enumerate(zip(answers, correct, strict=True)):
        codes = {answer: code for code, answer in enumerate(dict.fromkeys(a for a in row if a is not None))}
        votes = np.array([codes.get(answer, len(codes)) if answer is not None else len(codes) for answer in row])
        subsets = _subsets(len(row), k, draws, (seed, index))
        scores.append(_plurality(votes, np.asarray(right, dtype=np.float64), subsets, len(codes)))
    return mean_and_stderr(scores, clusters)


def crossing_k(before: Mapping[int, float], after: Mapping[int, float]) -> int | None:
    """Return the smallest k from which on the later model's pass@k stays below the earlier one's; None if none."""
    crossing = None
    for k in sorted(before.keys() & after.keys(), reverse=True):
        if after[k] >= before[k]:
            break
        crossing = k
    return crossing


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
