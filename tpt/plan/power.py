"""What gain the held-out set can show, and how many problems a smaller one takes: before anything is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from tpt.config import RunConfig
from tpt.plan.history import read_history
from tpt.run.directory import RunDir
from tpt.scoring import expected_detectable, fewest_units
from tpt.scoring.solve_rates import SOLVE_RATE, Rates
from tpt.system.words import counted

GAIN_SPREAD = 0.1
"""Standard deviation over problems of their true gains: nothing is known of it before a run."""
WORTH_SEEING = 5.0
"""A gain in points that a held-out set should be able to show, where nobody says which."""


@dataclass(frozen=True, slots=True)
class Power:
    """What an evaluation can tell from noise 80 % of the time; shares, so that 0.01 is one point."""

    problems: int
    samples: int
    word: float
    """The smallest true gain of a round that is called a gain, though no other round has any."""
    star: float
    """And that makes the round the best one, by the problems that choose it."""
    fewest: int
    """Problems below which no gain can be told from noise, whatever its size."""
    choosing: int
    """Problems that choose the best round."""
    tested: bool
    """Whether the best round takes a test (``stop.rule``)."""
    asked: float | None
    """A gain that somebody wants to see."""
    problems_for_word: int | None
    """Held-out problems that it takes, with as many samples of each."""
    problems_for_star: int | None


def power_of(config: RunConfig, rates: Rates, *, problems: int, asked: float | None = None) -> Power:
    """Return what so many held-out problems can show.

    A problem's difference of two rounds has twice the variance of its mean over the samples, and that of its true gain.

    ``asked``: a true gain that is to be found.
    """
    samples, share = config.evaluate.samples, config.evaluate.choose_share
    total = rates.spread
    # E[p (1 - p)] of a Beta distribution.
    within = rates.a * rates.b / (total * (total + 1))
    spread = math.sqrt(2 * within / samples + GAIN_SPREAD**2)
    level = config.stop.alpha / max(1, config.rounds)
    alone = expected_detectable(spread, 1, alpha=level)
    # Clusters, if there are any, are not known here: they are fewer than the problems, so that this is the least.
    fewest = fewest_units(level, clustered=False)
    needed = None if asked is None else max(fewest, math.ceil((alone / asked) ** 2))
    choosing = round(share * problems)
    if min(choosing, problems - choosing) < 2:
        choosing = problems
    return Power(
        problems=problems,
        samples=samples,
        word=alone / math.sqrt(problems),
        star=alone / math.sqrt(choosing),
        fewest=fewest,
        choosing=choosing,
        tested=config.stop.rule == "significance",
        asked=asked,
        problems_for_word=needed,
        problems_for_star=None if needed is None else math.ceil(needed / share),
    )


def expected_power(config: RunConfig, out: Path, *, problems: int, asked: float | None) -> Power:
    """Return what so many held-out problems can show, by the solve rates that a run's evaluations have shown so far.

    Where nothing is scored yet in ``out``, the rates are a guess. ``asked``: a true gain in points that is to be found.

    Raises:
        RunError: a manifest or a file of traces is damaged.
    """
    seen = read_history(RunDir(out), config).evaluated
    rates = seen[max(seen)].rates if seen else Rates.of_mean(SOLVE_RATE)
    return power_of(config, rates, problems=problems, asked=None if asked is None else asked / 100)


def power_warnings(power: Power, *, choosing_units: int, needed_for_star: int) -> list[str]:
    """Return what the held-out problems are too few for; nothing where they show the gain that was asked for.

    ``choosing_units``: how many problems, or clusters of them, choose the best round; with fewer than
    ``needed_for_star`` no round can become it.
    """
    said = []
    if choosing_units < needed_for_star:
        said.append(
            f"{choosing_units} held-out problems (or clusters) choose the best round; with fewer than {needed_for_star} none can "
            "become it, whatever its gain. Set problems.heldout or problems.max_heldout: more problems"
        )
    # As printed: a tenth of a point.
    word, star = (round(100 * each, 1) for each in (power.word, power.star))
    if power.asked is not None and 100 * power.asked < star:
        points, asked = f"{100 * power.asked:g} points", 100 * power.asked
        called = f"be detected less than 80 % of the time (that takes {word} points)"
        unstarred = f"make a round the best one less than 80 % of the time (that takes {star} points)"
        missed = f"{called}, and {unstarred}" if asked < word else unstarred
        said.append(
            f"{power.problems:,} held-out problems with {power.samples} samples are few: a true gain of {points} would {missed}. "
            f"Detecting {points} takes {power.problems_for_word:,} held-out problems (problems.heldout, problems.max_heldout), "
            f"and {power.problems_for_star:,} to make a round the best one; or more samples of each (evaluate.samples). Other "
            "gains: tpt plan CONFIG --detect POINTS"
        )
    return said


def power_sentence(power: Power) -> str:
    """Return it in a sentence or two."""
    scored = f"{counted(power.problems, 'held-out problem')} with {counted(power.samples, 'sample')}"
    if power.problems < power.fewest:
        return f"{scored}: with fewer than {power.fewest} problems no gain can be detected, whatever its size."
    said = f"{scored} detect a true gain of {100 * power.word:.1f} points 80 % of the time"
    if not power.tested:
        said += "; the round with the highest score is the best one, noise or not (stop.rule)."
    elif power.choosing < power.fewest:
        said += (
            f"; {power.choosing} of them choose the best round, and with fewer than {power.fewest} none can become it."
        )
    else:
        said += f"; to make a round the best one it takes {100 * power.star:.1f}."
    if power.asked is None:
        return f"{said} Another gain: --detect POINTS."
    return (
        f"{said} A gain of {100 * power.asked:g} points takes {power.problems_for_word:,} held-out problems, and "
        f"{power.problems_for_star:,} to make a round the best one."
    )
