"""Intervals of scores: Wilson's, for as many answers as the spread over problems says there are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpt.errors import EstimateError
from tpt.records import Estimate
from tpt.scoring import mean_and_stderr, pass_at_k, pass_at_k_curve, wilson
from tpt.system.words import score_text


def bounds(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low, estimate.high


def test_five_of_five_right_is_not_certain() -> None:
    low, high = bounds(mean_and_stderr([1.0] * 5))
    assert high == 1.0 and low < 0.565, "Wilson's 5 of 5, or less"
    assert "± 0.0" not in score_text(mean_and_stderr([1.0] * 5)) and "[" in score_text(mean_and_stderr([1.0] * 5))
    assert bounds(mean_and_stderr([0.0] * 5)) == pytest.approx((1 - high, 1 - low))


def test_right_and_wrong_answers_have_wilsons_interval() -> None:
    scores = np.repeat([1.0, 0.0], [280, 120])
    assert bounds(mean_and_stderr(scores)) == pytest.approx(wilson(280, 400), abs=0.003)


def test_many_samples_of_a_problem_are_worth_what_its_spread_says() -> None:
    even = np.random.default_rng(0).binomial(16, 0.5, 200) / 16
    low, high = bounds(mean_and_stderr(even))
    assert high - low == pytest.approx(2 * 1.972 * even.std(ddof=1) / 200**0.5, rel=0.15)


def test_more_problems_narrow_it() -> None:
    widths = [high - low for low, high in (bounds(mean_and_stderr([0.0, 1.0] * n)) for n in (1, 2, 5, 20, 100, 1000))]
    assert all(wide > narrow for wide, narrow in pairwise(widths)) and widths[0] > 0.9


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=12), st.data())
def test_an_interval_holds_its_score_and_stays_a_share(right: list[int], data: st.DataObject) -> None:
    clusters = data.draw(st.none() | st.lists(st.integers(0, 4), min_size=len(right), max_size=len(right)))
    found = mean_and_stderr(np.array(right) / 8, None if clusters is None else np.array(clusters))
    low, high = bounds(found)
    assert 0 <= low <= found.mean + 1e-12 and found.mean - 1e-12 <= high <= 1 and low < high
    mirrored = mean_and_stderr(1 - np.array(right) / 8, None if clusters is None else np.array(clusters))
    assert bounds(mirrored) == pytest.approx((1 - high, 1 - low))


def test_pass_at_k_has_its_own_interval_for_every_k() -> None:
    right = np.random.default_rng(1).binomial(8, 0.3, 40)
    curve = pass_at_k_curve(right, 8)
    assert [each.mean for each in curve.values()] == pytest.approx([pass_at_k(right, 8, k).mean for k in range(1, 9)])
    assert all(bounds(each) == pytest.approx(bounds(pass_at_k(right, 8, k))) for k, each in curve.items())
    clusters = np.arange(40) // 4
    clustered = pass_at_k_curve(right, 8, clusters)
    assert clustered[8] == pass_at_k(right, 8, 8, clusters=clusters) != curve[8]
    assert [each.mean for each in pass_at_k_curve([1], 2).values()] == [0.5, 1.0]
    with pytest.raises(EstimateError, match="no problems"):
        pass_at_k_curve([], 2)


@pytest.mark.parametrize(
    ("problems", "samples", "ease", "least"),
    [(5, 4, (0.3, 0.3), 0.9), (10, 1, (0.1, 0.9), 0.9), (10, 16, (0.9, 0.1), 0.9), (50, 4, (0.1, 0.9), 0.92)],
)
def test_intervals_hold_the_truth(problems: int, samples: int, ease: tuple[float, float], least: float) -> None:
    rng, truth, experiments = np.random.default_rng(3), ease[0] / sum(ease), 600
    held = 0
    for _ in range(experiments):
        low, high = bounds(mean_and_stderr(rng.binomial(samples, rng.beta(*ease, problems)) / samples))
        held += low <= truth <= high
    assert held / experiments >= least
