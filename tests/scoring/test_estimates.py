"""Every estimator against enumeration, every test against simulation."""

from __future__ import annotations

import time
from itertools import combinations
from math import comb, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpt.errors import EstimateError
from tpt.scoring import (
    FloatArray,
    answer_entropy,
    bootstrap_means,
    crossing_k,
    holm,
    maj_at_k,
    mean_and_stderr,
    minimal_detectable_difference,
    pass_at_k,
    pass_at_k_values,
    rarefied,
    sign_flip_p,
    split_gains,
    wilson,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(right: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(right)))
    subsets = list(combinations(right, k))
    expected = sum(any(subset) for subset in subsets) / len(subsets)
    assert pass_at_k_values([sum(right)], len(right), k)[0] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_over_problems_of_different_size() -> None:
    estimate = pass_at_k([0, 2, 5], [4, 4, 5], 2)
    scores = [0.0, 1 - comb(2, 2) / comb(4, 2), 1.0]
    assert estimate.mean == pytest.approx(np.mean(scores))
    assert estimate.stderr == pytest.approx(np.std(scores, ddof=1) / np.sqrt(3))


def test_pass_at_k_stays_exact_at_large_n() -> None:
    assert pass_at_k_values([1], 10_000, 1000)[0] == pytest.approx(0.1, abs=1e-12)
    assert pass_at_k_values([0], 10_000, 1000)[0] == 0.0
    assert pass_at_k_values([9_001], 10_000, 1000)[0] == 1.0


def test_k_above_the_samples_is_not_estimable() -> None:
    with pytest.raises(EstimateError) as raised:
        pass_at_k([1, 1], [8, 4], 8, problem_ids=["a", "gsm8k/test/7"])
    assert str(raised.value) == (
        "pass@8 needs at least 8 samples of every problem; problem gsm8k/test/7 has 4: "
        "raise evaluate.samples or lower k"
    )
    with pytest.raises(EstimateError, match="maj@3 needs at least 3 samples of every problem; problem number 0 has 1"):
        maj_at_k([["1"]], [[True]], 3)
    with pytest.raises(EstimateError, match="k is at least 1"):
        pass_at_k([1], 4, 0)
    with pytest.raises(EstimateError, match="recount the verdicts"):
        pass_at_k([5], 4, 1)


def test_the_mean_of_few_problems() -> None:
    assert mean_and_stderr([1.0]).stderr == 0.5
    with pytest.raises(EstimateError, match="no problems"):
        mean_and_stderr([])


def brute_force_majority(answers: list[str | None], right: list[bool], k: int) -> float:
    """Return maj@k by looking at every subset of k samples."""
    scores = []
    for subset in combinations(range(len(answers)), k):
        votes = [answers[sample] for sample in subset if answers[sample] is not None]
        most = max((votes.count(vote) for vote in votes), default=0)
        winners = {vote for vote in votes if votes.count(vote) == most}
        scores.append(sum(right[answers.index(winner)] for winner in winners) / len(winners) if winners else 0.0)
    return sum(scores) / len(scores)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["18", "17", "3", None]), min_size=1, max_size=8), st.data())
def test_maj_at_k_is_the_mean_over_all_subsets(answers: list[str | None], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(answers)))
    right = [answer == "18" for answer in answers]
    assert maj_at_k([answers], [right], k).mean == pytest.approx(brute_force_majority(answers, right, k))


def test_maj_at_k_draws_subsets_where_there_are_too_many() -> None:
    answers: list[str | None] = ["18"] * 6 + ["17"] * 5 + [None] * 4
    right = [answer == "18" for answer in answers]
    exact = brute_force_majority(answers, right, 5)
    drawn = [maj_at_k([answers], [right], 5, draws=2000, seed=seed).mean for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn == pytest.approx([exact] * 3, abs=4 * 0.5 / 2000**0.5)


def test_strictness_may_differ_within_one_answer() -> None:
    assert maj_at_k([["18", "18", "17"]], [[True, False, False]], 3).mean == 0.5


def test_crossing_k() -> None:
    before = {1: 0.5, 2: 0.6, 4: 0.7, 8: 0.8}
    assert crossing_k(before, {1: 0.6, 2: 0.65, 4: 0.69, 8: 0.75}) == 4
    assert crossing_k(before, {1: 0.6, 2: 0.59, 4: 0.71, 8: 0.80}) is None
    assert crossing_k(before, {1: 0.4, 8: 0.7}) == 1


def interval(gains: FloatArray, *, draws: int, seed: int = 0) -> tuple[float, float]:
    low, high = np.quantile(bootstrap_means(gains[:, None], draws=draws, seed=seed), [0.025, 0.975])
    return low, high


def p_value(gains: FloatArray, *, draws: int, seed: int = 0) -> float:
    return float(sign_flip_p(gains[:, None], draws=draws, seed=seed)[0])


def test_resampled_problems_give_an_interval_and_a_p_value() -> None:
    gains = np.array([0.25, 0.25, 0.0, 0.25])
    low, high = interval(gains, draws=2000)
    assert 0.0 <= low <= 0.1875 <= high <= 0.25
    # Three moved problems: 2 of the 8 sign patterns are as far out as the observed one.
    assert p_value(gains, draws=2000) == pytest.approx(0.25, abs=0.04)
    assert (interval(np.zeros(2), draws=100), p_value(np.zeros(2), draws=100)) == ((0.0, 0.0), 1.0)


def test_the_p_value_of_greedy_scores_is_mcnemars() -> None:
    after, before = np.zeros(100), np.zeros(100)
    after[:12], before[12:16] = 1.0, 1.0
    exact = 2 * sum(comb(16, wins) for wins in range(5)) / 2**16
    assert p_value(after - before, draws=20_000) == pytest.approx(exact, abs=0.006)


@pytest.fixture(scope="module")
def simulated() -> tuple[float, float]:
    """Return the share of intervals that hold the true gain, and the share of p <= 0.05 where there is no gain.

    Each of 1500 experiments has 80 problems of different difficulty with 4 samples each, before and after.
    """
    rng, gain, experiments = np.random.default_rng(7), 0.1, 1500
    covered = rejected = 0
    for seed in range(experiments):
        rate = rng.beta(1.0, 1.0, 80) * (1 - gain)
        before, same, better = (rng.binomial(4, chance) / 4 for chance in (rate, rate, rate + gain))
        low, high = interval(better - before, draws=800, seed=seed)
        covered += low <= gain <= high
        rejected += p_value(same - before, draws=799, seed=seed) <= 0.05
    return covered / experiments, rejected / experiments


def test_95_percent_intervals_cover_the_truth_95_percent_of_the_time(simulated: tuple[float, float]) -> None:
    assert 0.93 <= simulated[0] <= 0.97


def test_no_gain_is_called_a_gain_no_more_than_5_percent_of_the_time(simulated: tuple[float, float]) -> None:
    assert simulated[1] <= 0.05 + 3 * (0.05 * 0.95 / 1500) ** 0.5


def test_holm() -> None:
    # Holm (1979) by hand: 4 * 0.005, 3 * 0.01, 2 * 0.03, and the last held up by the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_wilson() -> None:
    assert wilson(8, 10) == pytest.approx((0.49016, 0.94331), abs=1e-5)
    assert wilson(0, 10)[0] == pytest.approx(0.0, abs=1e-12)
    assert wilson(10, 10)[1] == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(EstimateError, match="got 3 of 2"):
        wilson(3, 2)


def test_minimal_detectable_difference() -> None:
    assert minimal_detectable_difference(0.2, 500, alpha=0.05) == pytest.approx(0.02506, abs=1e-5)
    rng, shift = np.random.default_rng(0), minimal_detectable_difference(0.2, 200, alpha=0.05)
    draws = rng.normal(shift, 0.2, size=(4000, 200))
    found = np.abs(draws.mean(1)) > 1.96 * draws.std(1, ddof=1) / np.sqrt(200)
    assert found.mean() == pytest.approx(0.8, abs=0.025)


def test_gains_are_split_into_skill_and_format() -> None:
    # The published run re-scored: strict 42.4 to 50.2, lenient 63.4 to 64.3; then lenient scores of 0.
    before, after = np.array([[0.424, 0.634], [0, 0], [0, 0]]), np.array([[0.502, 0.643], [0.2, 0.4], [0, 0]])
    skill, form = split_gains(*before.T, *after.T)
    assert skill[0] + form[0] == pytest.approx(0.078)
    assert form[0] / 0.078 == pytest.approx(0.916, abs=0.001)
    assert (skill[1:].tolist(), form[1:].tolist()) == (pytest.approx([0.2, 0.0]), [0.0, 0.0])


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_skill_and_format_add_up(scores: tuple[float, float, float, float]) -> None:
    before, after = sorted(scores[:2]), sorted(scores[2:])
    skill, form = split_gains(*(np.array([each]) for each in (*before, *after)))
    assert skill[0] + form[0] == pytest.approx(after[0] - before[0], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_rarefied_is_the_mean_over_all_subsets(counts: list[int], data: st.DataObject) -> None:
    things = [kind for kind, count in enumerate(counts) for _ in range(count)]
    m = data.draw(st.integers(1, min(5, len(things))))
    expected = np.mean([len(set(subset)) for subset in combinations(things, m)])
    assert rarefied(counts, m) == pytest.approx(expected)


def test_rarefied_to_more_than_there_are() -> None:
    with pytest.raises(EstimateError, match="1 <= m <= the 3 counted, got 4"):
        rarefied([1, 2], 4)


def test_answer_entropy() -> None:
    assert answer_entropy(["18", "18", None]) == 0.0
    assert answer_entropy(["18", "17", None]) == pytest.approx(log(2))
    assert answer_entropy([None]) == 0.0


def test_a_large_comparison_takes_seconds() -> None:
    rng = np.random.default_rng(0)
    rate = rng.random(10_000)
    after, before = rng.binomial(100, rate) / 100, rng.binomial(100, rate) / 100
    began = time.perf_counter()
    interval(after - before, draws=10_000)
    p_value(after - before, draws=10_000)
    pass_at_k(np.rint(after * 100).astype(np.int64), 100, 64)
    assert time.perf_counter() - began < 10
