"""Solve rates over problems: found from tries of any stopping rule, moved by log-odds, and what they say of further tries."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tpt.scoring.solve_rates import Rates, fit_rates, shifted


def _all_samples(chance: float, source: random.Random) -> tuple[int, int]:
    return sum(source.random() < chance for _ in range(8)), 8


def _until_solved(chance: float, source: random.Random) -> tuple[int, int]:
    tried = next((number for number in range(1, 11) if source.random() < chance), None)
    return (0, 10) if tried is None else (1, tried)


@pytest.mark.parametrize("observe", [_all_samples, _until_solved])
@pytest.mark.parametrize("rates", [Rates(0.3, 0.7), Rates(2.0, 2.0), Rates(0.1, 1.2)])
def test_rates_are_found_whatever_stopped_the_sampling(
    observe: Callable[[float, random.Random], tuple[int, int]], rates: Rates
) -> None:
    source = random.Random(1)
    found = fit_rates([observe(source.betavariate(rates.a, rates.b), source) for _ in range(1500)])
    assert found.mean == pytest.approx(rates.mean, abs=0.03)
    assert found.spread == pytest.approx(rates.spread, rel=0.45)


def test_rates_of_problems_that_are_never_or_always_solved_stay_finite() -> None:
    assert 0 < fit_rates([(0, 4)] * 20).mean < 0.05
    assert 0.95 < fit_rates([(4, 4)] * 20).mean < 1


def test_rates_move_by_log_odds() -> None:
    assert shifted(Rates.of_mean(0.5), seen=0.2, now=0.2).mean == pytest.approx(0.5)
    assert shifted(Rates.of_mean(0.5), seen=0.2, now=0.5).mean == pytest.approx(0.8)


@pytest.mark.parametrize(("tries", "hits"), [(0, 1), (1, 1), (5, 1), (5, 3), (3, 5), (4, 0)])
def test_the_share_of_problems_solved_too_rarely_is_that_of_drawn_ones(tries: int, hits: int) -> None:
    rates, source = Rates(0.4, 0.8), random.Random(2)
    chances = [source.betavariate(rates.a, rates.b) for _ in range(20_000)]
    below = [sum(source.random() < chance for _ in range(tries)) < hits for chance in chances]
    assert rates.share_below(tries, hits) == pytest.approx(sum(below) / len(below), abs=0.01)


def test_a_problem_that_failed_is_believed_to_fail_again() -> None:
    rates = Rates.of_mean(0.3)
    assert rates.after(0, 4).mean < rates.mean < rates.after(1, 0).mean
    # Of those that fail four times, what fails the fifth: the shares of one and the same draw.
    assert rates.share_below(4, 1) * rates.after(0, 4).share_below(1, 1) == pytest.approx(rates.share_below(5, 1))
