"""Support: whether there is something to keep and something to learn, and what the training set will come to."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tpt.gate.early_samples import UNKNOWN, EarlySamples, Finding, is_cut_off
from tpt.gate.shares import Share
from tpt.mix import wanted_size
from tpt.records import Trace, Verdict
from tpt.scoring import stderr_over
from tpt.scoring.score import is_correct
from tpt.scoring.solve_rates import Rates, fit_rates

OUT_OF_REACH = 0.1
"""Where none was seen, and fewer problems than this share have something to keep by the interval, a run keeps nothing."""
EASY = 0.9
"""Where more samples than this share are right, by the interval, there is nothing to learn."""
SATURATED = 0.05
"""Where sampling solves fewer problems more than one sample does, by the interval, there is nothing to select."""
_DRAWS = 100
_Z = 1.96


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What thinking is expected to come to, if the training problems are as hard as those seen."""

    problems: float
    """With something to keep, those beyond ``prune.size`` left out."""
    low: float
    high: float
    wanted: int
    samples: float
    minutes: float | None
    """None: the pace was not measured."""


def nothing_to_keep(seen: EarlySamples) -> bool:
    """Return whether the samples say that (almost) nothing can be kept: none was, of enough problems."""
    longer = seen.config.think.max_tokens > seen.max_tokens
    # What was cut off here may end in time where there is more room.
    kept = seen.solved(lambda trace, verdict: seen.keepable(trace, verdict) or (longer and is_cut_off(trace, verdict)))
    return kept.of > 0 and kept.hits == 0 and kept.high < OUT_OF_REACH


def support_finding(seen: EarlySamples) -> Finding:
    """Return how much is solved, what the training set will hold, and whether that is too little or too much."""
    samples = max(len(group) for group in seen.groups())
    right = seen.share(lambda _, verdict: is_correct(verdict))
    solved = seen.solved(lambda _, verdict: is_correct(verdict))
    keepable = seen.solved(seen.keepable)
    never = Share(1 - (solved.value or 0.0), 1 - solved.high, 1 - solved.low, solved.of - solved.hits, solved.of)
    expected = expected_set(seen, keepable, seen.keepable)
    verdict = _verdict(seen, right, solved, keepable)
    figures: dict[str, Any] = {
        "solve rate": right,
        f"pass@{samples}": solved,
        "never solved": never,
        "keepable problems": keepable,
    }
    figures |= {"training set": expected}
    said = (
        f"One sample is right in {right}, one of {samples} in {solved} (pass@{samples}); {never} of problems were never "
        f"solved. {_of_set(seen, expected, keepable)}"
    )
    if solved.hits and not keepable.hits and seen.config.data.source == "self":
        mended = expected_set(seen, solved, lambda _, verdict: is_correct(verdict))
        said += f" If every right answer could be kept: {_held(mended)}."
        figures["training set of all right answers"] = mended
    return Finding("support", verdict, said, _KEYS.get(verdict, []), figures)


_KEYS = {
    "too hard": [
        "problems.train: easier problems",
        "model: a stronger one",
        "think.samples: more tries of each problem",
    ],
    "few": ["think.samples: more tries of each problem", "problems.train: more, or easier, problems"],
    "too easy": ["problems.train: harder problems"],
    "saturated": ["think.temperature: higher, for more different solutions", "problems.train: harder problems"],
}


def expected_set(seen: EarlySamples, problems: Share, keeps: Callable[[Trace, Verdict], bool]) -> TrainingSet:
    """Return what thinking is expected to come to, with an interval from resampling the problems.

    ``problems`` is the share with something to keep; ``keeps`` says whether a sample is kept.
    """
    think, wanted = seen.config.think, wanted_size(seen.config.prune, 1)
    size = min(seen.train_problems, wanted or seen.train_problems)
    counts = [(sum(keeps(*pair) for pair in group), len(group)) for group in seen.groups()]
    rates = fit_rates(counts)
    share = _solved_share(rates, think.samples)
    if problems.hits:
        draws, source = [], random.Random(0)
        for _ in range(_DRAWS):
            draws.append(_solved_share(fit_rates(source.choices(counts, k=len(counts))), think.samples))
        low, high = sorted(draws)[2], sorted(draws)[-3]
    else:
        share, low, high = 0.0, 0.0, problems.high
    asked = float(seen.train_problems)
    if think.sampler == "until_full":
        asked = min(asked, size / share) if share else asked
        per_problem = seen.config.prune.per_problem
        enough = think.samples if per_problem == "all" else per_problem
        taken = (rates.share_below(tried, enough) for tried in range(think.samples))
        tries = math.fsum(taken) if share else float(think.samples)
    else:
        tries = float(think.samples)
    minutes = None if seen.seconds_per_sample is None else asked * tries * seen.seconds_per_sample / 60
    held, least, most = (min(float(size), seen.train_problems * each) for each in (share, low, high))
    return TrainingSet(held, least, most, size, asked * tries, minutes)


def _solved_share(rates: Rates, tries: int) -> float:
    return 1 - rates.share_below(tries, 1)


def _verdict(seen: EarlySamples, right: Share, solved: Share, keepable: Share) -> str:
    cut = seen.share(is_cut_off)
    if nothing_to_keep(seen):
        if cut.low > 0.5:
            return UNKNOWN
        return "too hard" if solved.hits == 0 else "nothing to keep"
    if not keepable.hits:
        return UNKNOWN
    if right.low > EASY:
        return "too easy"
    if keepable.high < OUT_OF_REACH:
        return "few"
    if right.high < EASY and right.low > OUT_OF_REACH and _is_saturated(seen):
        return "saturated"
    return "enough" if keepable.low > OUT_OF_REACH else UNKNOWN


def _is_saturated(seen: EarlySamples) -> bool:
    """Return whether a problem's samples are so alike that choosing among them can teach little."""
    rows: Sequence[list[bool]] = [[is_correct(verdict) for _, verdict in group] for group in seen.groups()]
    if min(map(len, rows)) < 4:
        return False
    gaps = np.array([any(row) - sum(row) / len(row) for row in rows])
    return len(gaps) > 1 and gaps.mean() + _Z * stderr_over(gaps) < SATURATED


def _of_set(seen: EarlySamples, expected: TrainingSet, keepable: Share) -> str:
    think = seen.config.think
    if seen.config.data.source != "self":
        return f'Training takes other traces (data.source = "{seen.config.data.source}").'
    said = f"The training set would hold {_held(expected)} of the {expected.wanted} problems wanted"
    said += f" with think.samples = {think.samples}"
    if not keepable.hits:
        said += ", as none of these problems has a sample to keep"
    said += f", from about {expected.samples:,.0f} samples"
    return said + ("." if expected.minutes is None else f" in {_duration(expected.minutes)} at this pace.")


def _held(expected: TrainingSet) -> str:
    return f"about {expected.problems:.0f} [{expected.low:.0f}, {expected.high:.0f}]"


def _duration(minutes: float) -> str:
    return f"{minutes:.1f} minutes" if minutes < 10 else f"{minutes:,.0f} minutes"
