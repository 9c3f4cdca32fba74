"""Support: whether there is something to keep and something to learn, and what the training set will come to."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tpt.config import PruneConfig
from tpt.gate.early_samples import UNKNOWN, EarlySamples, Finding, is_cut_off
from tpt.gate.shares import Share, mean_interval
from tpt.mix import wanted_size
from tpt.records import Outcome, Trace, Verdict, judged_text
from tpt.scoring.score import is_correct
from tpt.scoring.solve_rates import Rates, fit_rates
from tpt.system.terminal import printable
from tpt.verifiers.completion import final_part

OUT_OF_REACH = 0.1
"""Where none was seen, and fewer problems than this share have something to keep by the interval, a run keeps nothing."""
EASY = 0.9
"""Where more samples than this share are right, by the interval, there is nothing to learn."""
SATURATED = 0.05
"""Where sampling solves fewer problems more than one sample does, by the interval, there is nothing to select."""
_DRAWS = 100
_SHOWN = 60
"""Characters of a completion that are quoted."""


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
    if seen.temperature == 0 < seen.config.think.temperature:
        return False  # the likeliest completion says little of those that thinking draws
    longer = seen.config.think.max_tokens > seen.max_tokens
    # What was cut off here may end in time where there is more room.
    kept = seen.solved(lambda trace, verdict: seen.keepable(trace, verdict) or (longer and is_cut_off(trace, verdict)))
    return kept.of > 0 and kept.hits == 0 and kept.high < OUT_OF_REACH


def support_finding(seen: EarlySamples) -> Finding:
    """Return how much is solved, what the training set will hold, and whether that is too little or too much."""
    samples = seen.tries
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
    if solved.hits and not keepable.hits and seen.config.data.source == "self" and seen.config.prune.correct_only:
        mended = expected_set(seen, solved, lambda _, verdict: is_correct(verdict))
        said += f" If every right answer could be kept: {_held(mended)}."
        figures["training set of all right answers"] = mended
    if verdict == "no answer":
        said += f" {_without_answer(seen)}"
    keys = _barring(seen.config.prune) if verdict == "nothing to keep" else _KEYS.get(verdict, [])
    return Finding("support", verdict, said, keys, figures)


_KEYS = {
    "no answer": [
        "prompt.template, prompt.few_shot: ask for an answer, and show how it is written",
        "model: one that does as it is asked",
    ],
    "too hard": [
        "problems.train, problems.heldout: easier problems",
        "model: a stronger one",
        "think.samples: more tries of each problem",
    ],
    "few": ["think.samples: more tries of each problem", "problems.train: more, or easier, problems"],
    "too easy": ["problems.train, problems.heldout: harder problems"],
    "saturated": [
        "think.temperature: higher, for more different solutions",
        "problems.train, problems.heldout: harder problems",
    ],
}


def _barring(policy: PruneConfig) -> list[str]:
    """Return the keys, besides the format's, that keep right answers from being trained on."""
    if policy.keep:
        return ["prune.keep: your own function keeps none of these"]
    if policy.wrong_only:
        return ["prune.wrong_only = false: no answer here is wrong though written as asked"]
    return ["prune.require_true_steps = false"] if policy.require_true_steps else []


def _without_answer(seen: EarlySamples) -> str:
    """Return what completions without an answer are like: their commonest beginning."""
    traces = [trace for trace, verdict in seen.pairs if verdict.outcome is Outcome.NO_ANSWER]
    begun = Counter(" ".join(final_part(judged_text(trace)).split())[:_SHOWN] for trace in traces)
    text, count = begun.most_common(1)[0]
    if text:
        return f'{count} of the {len(traces)} without an answer begin with "{printable(text)}".'
    thought = any(trace.completion.strip() for trace in traces)
    return f"{count} of the {len(traces)} without an answer are empty{' behind their reasoning' if thought else ''}."


def expected_set(seen: EarlySamples, problems: Share, keeps: Callable[[Trace, Verdict], bool]) -> TrainingSet:
    """Return what thinking is expected to come to, with an interval from resampling the problems.

    ``problems`` is the share with something to keep; ``keeps`` says whether a sample is kept.
    """
    think, wanted = seen.config.think, wanted_size(seen.config.prune, 1)
    size = min(seen.train_problems, wanted or seen.train_problems)
    counts = [(sum(keeps(*pair) for pair in group), len(group)) for group in seen.groups()]
    rates = fit_rates(counts)
    share, policy = _kept_share(rates, think.samples, seen.config.prune), seen.config.prune
    if problems.hits:
        # Two more problems, one never and one always solved: few that are all alike do not say that all others are.
        pool, source = [*counts, (0, seen.tries), (seen.tries, seen.tries)], random.Random(0)
        drawn = (fit_rates(source.choices(pool, k=len(counts))) for _ in range(_DRAWS))
        draws = sorted(_kept_share(each, think.samples, policy) for each in drawn)
        low, high = min(share, draws[2]), max(share, draws[-3])
    else:
        # More tries than were seen find no more than as many times more problems.
        share, low, high = 0.0, 0.0, min(1.0, problems.high * max(1.0, think.samples / seen.tries))
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


def _kept_share(rates: Rates, tries: int, policy: PruneConfig) -> float:
    """Return the share of problems with something to keep, those outside the policy's band of solve rates left out."""
    most, least = math.floor(policy.max_solve_rate * tries), max(1, math.ceil(policy.min_solve_rate * tries))
    return max(0.0, rates.share_below(tries, most + 1) - rates.share_below(tries, least))


def _verdict(seen: EarlySamples, right: Share, solved: Share, keepable: Share) -> str:
    if seen.config.data.source != "self":
        return "too easy" if right.low > EASY else "not needed"
    cut = seen.share(is_cut_off)
    if cut.low > 0.5 and not keepable.hits:
        return UNKNOWN
    unanswered = seen.share(
        lambda trace, verdict: trace.finish_reason == "stop" and verdict.outcome is Outcome.NO_ANSWER
    )
    if not solved.hits and unanswered.low > 0.5:
        return "no answer"
    if nothing_to_keep(seen):
        return "nothing to keep" if solved.hits else "too hard"
    if not keepable.hits:
        return UNKNOWN
    if right.low > EASY:
        return "too easy"
    if keepable.high < OUT_OF_REACH:
        return "few"
    if right.high < EASY and right.low > OUT_OF_REACH and (alike := _saturation(seen)):
        return alike
    return "enough" if keepable.low > OUT_OF_REACH and (right.value or 0.0) <= EASY else UNKNOWN


def _saturation(seen: EarlySamples) -> str:
    """Return "saturated" where a problem's samples are too alike for choosing among them to teach much; "": they are not."""
    rows: Sequence[list[bool]] = [[is_correct(verdict) for _, verdict in group] for group in seen.groups()]
    if min(map(len, rows)) < 4 or seen.temperature == 0:
        return ""
    gaps = [any(row) - sum(row) / len(row) for row in rows]
    if fmean(gaps) >= SATURATED:
        return ""
    return "saturated" if mean_interval(gaps)[1] < SATURATED else UNKNOWN


def _of_set(seen: EarlySamples, expected: TrainingSet, keepable: Share) -> str:
    think = seen.config.think
    if seen.config.data.source != "self":
        return f'Training takes other traces (data.source = "{seen.config.data.source}").'
    if seen.temperature == 0 < think.temperature:
        return f"These samples are greedy: what thinking finds at temperature {think.temperature:g} they do not say."
    whole = expected.wanted == seen.train_problems
    of = f"{expected.wanted:,} training problems" if whole else f"{expected.wanted:,} problems wanted (prune.size)"
    said = f"The training set would hold {_held(expected)} of the {of} with think.samples = {think.samples}"
    if not keepable.hits:
        said += ", as none of these problems has a sample to keep"
    said += f", from about {expected.samples:,.0f} samples"
    return said + ("." if expected.minutes is None else f" in {_duration(expected.minutes)} at this pace.")


def _held(expected: TrainingSet) -> str:
    return f"about {expected.problems:.0f} [{expected.low:.0f}, {expected.high:.0f}]"


def _duration(minutes: float) -> str:
    return f"{minutes:.1f} minutes" if minutes < 10 else f"{minutes:,.0f} minutes"
