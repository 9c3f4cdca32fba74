"""The best round: found by significance, from the choosing problems alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scored_run import run_of

from tpt.config import load_config
from tpt.config.stage_sections import StopConfig
from tpt.evidence.best_round import BestRound, best_round_of, choose, split_heldout
from tpt.scoring import FloatArray

IDS = [f"p{index:03d}" for index in range(101)]


def columns(*right: str) -> FloatArray:
    """One string a round, a digit a problem: how many of its 4 samples are right."""
    return np.array([[int(digit) / 4 for digit in row] for row in right]).T


def test_the_held_out_problems_are_split_by_seed_whatever_their_order() -> None:
    parts = split_heldout(IDS, share=0.5, seed=0)
    assert parts == split_heldout(IDS[::-1], share=0.5, seed=0)
    assert parts.independent and len(parts.choosing) == 50
    assert sorted(parts.choosing + parts.claiming) == IDS
    assert parts.choosing != split_heldout(IDS, share=0.5, seed=1).choosing
    assert len(split_heldout(IDS, share=0.2, seed=0).choosing) == 20


@pytest.mark.parametrize(("problems", "share"), [(101, 1.0), (1, 0.5), (3, 0.5), (100, 0.01)])
def test_without_two_problems_on_each_side_there_is_no_split(problems: int, share: float) -> None:
    parts = split_heldout(IDS[:problems], share=share, seed=0)
    assert not parts.independent and parts.choosing == parts.claiming == IDS[:problems]


GOOD, BETTER, LUCKY, POOR = "21" * 20, "43" * 20, "31" + "21" * 19, "00" * 20


@pytest.mark.parametrize(
    ("rounds", "best", "highest", "is_loss"),
    [
        ([GOOD], 0, 0, False),
        ([GOOD, GOOD], 0, 0, False),
        ([GOOD, LUCKY], 0, 1, False),
        ([GOOD, BETTER], 1, 1, False),
        ([GOOD, BETTER, BETTER], 1, 1, False),
        ([GOOD, LUCKY, BETTER], 2, 2, False),
        ([GOOD, BETTER, LUCKY], 1, 1, True),
        ([GOOD, BETTER, "42" + "43" * 19], 1, 1, False),  # lower, within noise
        ([GOOD, POOR], 0, 0, True),
        ([GOOD, POOR, GOOD], 0, 0, False),
    ],
)
def test_a_round_is_better_when_its_gain_is_significant(
    rounds: list[str], best: int, highest: int, is_loss: bool
) -> None:
    assert choose(columns(*rounds), StopConfig(), seed=0) == BestRound(best, highest, is_loss)


def test_the_maximum_rule_takes_luck_for_a_gain() -> None:
    assert choose(columns(GOOD, LUCKY), StopConfig(rule="maximum"), seed=0).best == 1


def test_small_steps_add_up() -> None:
    steps = ["2" * (40 - 3 * index) + "3" * (3 * index) for index in range(4)]
    found = [choose(columns(*steps[: index + 1]), StopConfig(), seed=0) for index in range(4)]
    assert [each.best for each in found] == [0, 0, 0, 3]
    # Patience counts from the highest score, so the climb is not stopped before it is significant.
    assert [each.highest for each in found] == [0, 1, 2, 3]


def test_a_single_problem_is_no_evidence() -> None:
    assert choose(columns("0", "4"), StopConfig(), seed=0) == BestRound(0, 1, False)


def test_rounds_of_one_model_rarely_get_past_round_0() -> None:
    rng, experiments = np.random.default_rng(5), 300
    moved = losses = 0
    for seed in range(experiments):
        rate = rng.beta(0.8, 0.8, 60)
        found = choose(rng.binomial(4, np.tile(rate[:, None], 4)) / 4, StopConfig(), seed=seed)
        moved += found.best > 0
        losses += found.last_is_loss
    limit = 0.05 + 3 * (0.05 * 0.95 / experiments) ** 0.5
    assert moved / experiments <= limit and losses / experiments <= limit


def test_a_clear_gain_is_found() -> None:
    rng = np.random.default_rng(6)
    found = []
    for seed in range(40):
        rate = rng.beta(0.8, 0.8, 100) * 0.85
        found.append(choose(rng.binomial(16, np.stack([rate, rate + 0.15], axis=1)) / 16, StopConfig(), seed=seed).best)
    assert found == [1] * 40


def test_of_a_run_the_strict_score_decides(tmp_path: Path) -> None:
    wrong, strict, lenient = (dict.fromkeys(IDS[:40], row) for row in ("WWWW", "SSWW", "CCCC"))
    run = run_of(tmp_path, wrong, strict, lenient)
    assert best_round_of(run, load_config(run.config), [0, 1, 2]) == BestRound(1, 1, True)
