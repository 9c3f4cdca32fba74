"""What gain the held-out set can show, and how many problems a smaller one takes: before anything is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tpt.config import RunConfig
from tpt.plan.sampling import Rates
from tpt.scoring import expected_detectable

GAIN_SPREAD = 0.1
"""Standard deviation over problems of their true gains: nothing is known of it before a run."""


@dataclass(frozen=True, slots=True)
class Power:
    """What an evaluation can tell from noise 8 times in 10; shares, so that 0.01 is one point."""

    problems: int
    samples: int
    word: float
    """The smallest true gain of a round that is called a gain, though no other round has any."""
    star: float
    """And that makes the round the best one, by the problems that choose it."""
    asked: float | None
    """A gain that somebody wants to see."""
    problems_for_word: int | None
    """Held-out problems that it takes, with as many samples of each."""
    problems_for_star: int | None


def power_of(config: RunConfig, rates: Rates, *, problems: int, asked: float | None = None) -> Power:
    """Return what so many held-out problems can show.

    A problem's difference of two rounds has twice the variance of its mean over the samples, and that of its true gain.

    Args:
        config: Its samples, level, rounds and share of choosing problems.
        rates: Solve rates over problems.
        problems: Held-out problems.
        asked: A true gain that is to be found.
    """
    samples, share = config.evaluate.samples, config.evaluate.choose_share
    total = rates.spread
    # E[p (1 - p)] of a Beta distribution.
    within = rates.a * rates.b / (total * (total + 1))
    spread = math.sqrt(2 * within / samples + GAIN_SPREAD**2)
    level = config.stop.alpha / max(1, config.rounds)
    alone = expected_detectable(spread, 1, alpha=level)
    needed = None if asked is None else math.ceil((alone / asked) ** 2)
    return Power(
        problems=problems,
        samples=samples,
        word=alone / math.sqrt(problems),
        star=alone / math.sqrt(max(1, round(share * problems))),
        asked=asked,
        problems_for_word=needed,
        problems_for_star=None if needed is None else math.ceil(needed / share),
    )


def power_sentence(power: Power) -> str:
    """Return it in a sentence or two."""
    said = (
        f"{power.problems:,} held-out problems with {power.samples} samples show a true gain of {100 * power.word:.1f} points 8 "
        f"times in 10; to make a round the best one it takes {100 * power.star:.1f}."
    )
    if power.asked is None:
        return f"{said} Another gain: --detect POINTS."
    return (
        f"{said} A gain of {100 * power.asked:g} points takes {power.problems_for_word:,} held-out problems, and "
        f"{power.problems_for_star:,} to make a round the best one."
    )
