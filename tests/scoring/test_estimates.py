"""Every estimator against enumeration, every test against simulation."""

from __future__ import annotations

import time
from itertools import combinations, pairwise, product
from math import comb, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpt.errors import EstimateError
from tpt.scoring import (
    FloatArray,
    IntArray,
    answer_entropy,
    crossing_k,
    fewest_units,
    holm,
    maj_at_k,
    mcnemar_p,
    mean_and_stderr,
    minimal_detectable_difference,
    pass_at_k,
    pass_at_k_values,
    rarefied,
    sign_flip_p,
    sign_flips,
    stderr_over,
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
    alone = mean_and_stderr([1.0])
    assert (alone.stderr, alone.low, alone.high) == (0.5, 0.0, 1.0)
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


def test_problems_of_a_cluster_vote_as_one() -> None:
    answers, right = [["1"]] * 4 + [["2"]] * 4, [[True]] * 4 + [[False]] * 4
    alone = maj_at_k(answers, right, 1)
    together = maj_at_k(answers, right, 1, clusters=np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    assert together.mean == alone.mean == 0.5
    assert together.stderr > 2 * alone.stderr


def test_crossing_k() -> None:
    before = {1: 0.5, 2: 0.6, 4: 0.7, 8: 0.8}
    assert crossing_k(before, {1: 0.6, 2: 0.65, 4: 0.69, 8: 0.75}) == 4
    assert crossing_k(before, {1: 0.6, 2: 0.59, 4: 0.71, 8: 0.80}) is None
    assert crossing_k(before, {1: 0.4, 8: 0.7}) == 1


def interval(gains: FloatArray, *, draws: int, seed: int = 0, level: float = 0.05) -> tuple[float, float]:
    return sign_flips(gains[:, None], draws=draws, seed=seed).interval(0, level)


def p_value(gains: FloatArray, *, draws: int, seed: int = 0, clusters: IntArray | None = None) -> float:
    return float(sign_flip_p(gains[:, None], draws=draws, seed=seed, clusters=clusters)[0])


def brute_force_p(gains: list[float], shift: float, clusters: list[int]) -> float:
    """Flip the signs of the clusters, and of a gain and a loss of the usual size, in every way there is."""
    groups = [
        [gain for gain, cluster in zip(gains, clusters, strict=True) if cluster == each]
        for each in sorted(set(clusters))
    ]
    sums = [sum(group) for group in groups]
    least = min(1, 6 / len(groups)) * (len(gains) / len(groups)) ** 2
    usual = sqrt(max(sum(each**2 for each in sums) / len(sums), least))
    shifted, seen = [sum(group) - shift * len(group) for group in groups], sum(gains) - shift * len(gains)
    extreme = patterns = 0
    for signs in product((1, -1), repeat=len(groups) + 2):
        *own, gained, lost = signs
        flipped = sum(sign * each for sign, each in zip(own, shifted, strict=True)) + (gained - lost) * usual
        # What leaves every problem as it is, or turns all of them, is as extreme as what was seen.
        extreme += len(set(own)) == 1 or abs(flipped) >= abs(seen) - 1e-9
        patterns += 1
    return extreme / patterns


gains_and_clusters = st.integers(2, 6).flatmap(
    lambda rows: st.tuples(
        st.lists(st.integers(-4, 4), min_size=rows, max_size=rows),
        st.one_of(st.just(list(range(rows))), st.lists(st.integers(0, 3), min_size=rows, max_size=rows)),
    )
)


@settings(max_examples=60, deadline=None)
@given(gains_and_clusters, st.sampled_from([0.0, 0.25, -0.4]))
def test_the_p_value_and_the_interval_are_those_of_every_sign_pattern(
    drawn: tuple[list[int], list[int]], shift: float
) -> None:
    gains, clusters = [each / 4 for each in drawn[0]], drawn[1]
    found = sign_flips(np.array(gains)[:, None], draws=10_000, seed=0, clusters=np.array(clusters))
    assert found.p_values()[0] == pytest.approx(brute_force_p(gains, 0.0, clusters))
    low, high = found.interval(0, 0.2)
    kept = brute_force_p(gains, shift, clusters) > 0.2
    assert kept == (low - 1e-9 <= shift <= high + 1e-9) or min(abs(shift - low), abs(shift - high)) < 1e-9


def test_few_problems_can_reject_nothing() -> None:
    assert interval(np.ones(5), draws=10_000) == (-inf, inf)
    assert p_value(np.ones(5), draws=10_000) == pytest.approx(9 / 64)
    # (n + 4) / 2^(n + 1): all flipped or none, and a problem against the added loss.
    assert [p_value(np.ones(n), draws=10_000) <= 0.05 for n in (6, 7)] == [False, True]
    low, high = interval(np.ones(7), draws=10_000)
    assert 0 < low <= 1 <= high


def test_nothing_that_changed_is_no_proof_of_no_change() -> None:
    low, high = interval(np.zeros(20), draws=2000)
    assert p_value(np.zeros(20), draws=2000) == 1.0 and low == -high and 0.07 < high < 0.2


def test_an_interval_of_a_stricter_test_is_wider() -> None:
    gains = np.random.default_rng(3).normal(0.1, 0.3, 60)
    found = sign_flips(gains[:, None], draws=5000, seed=0)
    bounds = [found.interval(0, level) for level in (0.2, 0.05, 0.0125)]
    assert bounds == sorted(bounds, key=lambda each: each[1] - each[0])
    assert all(wide[0] < narrow[0] and narrow[1] < wide[1] for narrow, wide in pairwise(bounds))


def test_many_problems_give_students_interval() -> None:
    gains = np.random.default_rng(4).normal(0.1, 0.3, 400)
    low, high = interval(gains, draws=10_000)
    half = 1.966 * stderr_over(gains)
    assert (low, high) == pytest.approx((gains.mean() - half, gains.mean() + half), abs=0.06 * half)


def test_the_p_value_of_greedy_scores_is_about_mcnemars() -> None:
    after, before = np.zeros(400), np.zeros(400)
    after[:66], before[66:110] = 1.0, 1.0
    exact = 2 * sum(comb(110, wins) for wins in range(45)) / 2**110
    assert mcnemar_p(66, 44) == mcnemar_p(44, 66) == pytest.approx(exact)
    # The added gain and loss fill the gaps between whole counts, as a mid-p-value does.
    half_of_what_was_seen = comb(110, 44) / 2**110
    assert exact - half_of_what_was_seen < p_value(after - before, draws=50_000) < 1.1 * exact
    assert mcnemar_p(0, 0) == mcnemar_p(5, 5) == 1.0 and mcnemar_p(0, 3000) == 0.0


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
        low, high = interval(better - before, draws=799, seed=seed)
        covered += low <= gain <= high
        rejected += p_value(same - before, draws=799, seed=seed) <= 0.05
    return covered / experiments, rejected / experiments


def test_95_percent_intervals_cover_the_truth_at_least_95_percent_of_the_time(simulated: tuple[float, float]) -> None:
    assert 0.94 <= simulated[0] <= 0.99


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


@pytest.mark.parametrize(("problems", "spread", "alpha"), [(200, 0.2, 0.05), (50, 0.1, 0.0125), (30, 0.25, 0.05)])
def test_the_minimal_detectable_difference_is_found_8_times_in_10(problems: int, spread: float, alpha: float) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, spread, (problems, 1500))
    smallest = np.median([minimal_detectable_difference(column, alpha=alpha) or 1.0 for column in noise.T[:200]])
    assert smallest > (1.96 + 0.84) * spread / sqrt(problems)
    found = sign_flip_p(noise + smallest, draws=4000, seed=0) <= alpha
    assert found.mean() == pytest.approx(0.8, abs=0.05)


def test_of_too_few_problems_or_clusters_no_difference_is_detectable() -> None:
    gains = np.repeat([0.5, 0.6, 0.7, 0.4, 0.5], 20)
    assert minimal_detectable_difference(gains, alpha=0.05) is not None
    assert minimal_detectable_difference(gains[::20], alpha=0.05) is None
    assert minimal_detectable_difference(gains, alpha=0.05, clusters=np.arange(100) // 20) is None


@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.025, 0.01, 0.002])
@pytest.mark.parametrize("sizes", [[1] * 6, [1] * 7, [1] * 9, [1] * 11, [10] * 6, [10] * 7, [20, 5, 5, 5, 5, 5, 5]])
def test_a_difference_is_detectable_only_where_gaining_everything_is_significant(
    sizes: list[int], alpha: float
) -> None:
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    everything = np.ones((len(clusters), 1))
    significant = sign_flip_p(everything, draws=2**14, seed=0, clusters=clusters)[0] <= alpha
    for gains in (0 * everything[:, 0], everything[:, 0]):
        found = minimal_detectable_difference(gains, alpha=alpha, clusters=clusters)
        assert significant or found is None


@pytest.mark.parametrize("level", [0.2, 0.05, 0.05 / 3, 0.01])
def test_fewest_units(level: float) -> None:
    """Below it no signs reject anything; with two more, a gain on every problem is significant."""
    fewest = fewest_units(level, clustered=False)
    p_values = {n: p_value(np.ones(n), draws=2**14) for n in range(2, 12)}
    assert min(p_values[n] for n in range(2, fewest)) > level and p_values[fewest + 2] <= level
    assert fewest - 1 <= fewest_units(level, clustered=True) <= fewest
    rng = np.random.default_rng(0)
    for _ in range(50):
        gains = rng.random(fewest - 1)
        assert fewest < 3 or p_value(gains, draws=2**14) > level


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
