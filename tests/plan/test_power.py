"""What a plan promises of the held-out problems: nothing that no number of their signs can show."""

from __future__ import annotations

import pytest

from tpt.config import RunConfig
from tpt.plan.power import power_of, power_sentence
from tpt.scoring.solve_rates import Rates


def sentence(problems: int, *, rule: str = "significance", share: float = 0.5, asked: float | None = None) -> str:
    stop, evaluate = {"rule": rule}, {"choose_share": share, "samples": 2}
    config = RunConfig.model_validate({"model": "embedded", "rounds": 1, "stop": stop, "evaluate": evaluate})
    return power_sentence(power_of(config, Rates.of_mean(0.3), problems=problems, asked=asked))


@pytest.mark.parametrize(
    ("problems", "share", "said", "not_said"),
    [
        (6, 0.5, "6 held-out problems with 2 samples: with fewer than 7 problems no gain can be detected", "true gain"),
        (8, 0.5, "4 of them choose the best round, and with fewer than 7 none can become it", "it takes"),
        (8, 1.0, "to make a round the best one it takes", "none can become"),
        (14, 0.5, "to make a round the best one it takes", "none can become"),
    ],
)
def test_too_few_problems_are_promised_nothing(problems: int, share: float, said: str, not_said: str) -> None:
    assert said in sentence(problems, share=share) and not_said not in sentence(problems, share=share)


def test_the_highest_score_takes_no_gain() -> None:
    assert "the highest score is the best one, noise or not" in sentence(100, rule="maximum")
    assert "it takes" not in sentence(100, rule="maximum")


def test_however_large_a_gain_it_takes_as_many_problems_as_signs_need() -> None:
    assert "A gain of 100 points takes 7 held-out problems, and 14 to make" in sentence(100, asked=1.0)
