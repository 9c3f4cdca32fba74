"""Power and greedy gap: what gain the held-out set can show, and how much of a gain would be mere sharpening."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np

from tpt.gate.early_samples import UNKNOWN, EarlySamples, Finding
from tpt.scoring import expected_detectable, maj_at_k, stderr_over
from tpt.scoring.score import is_correct, voted_answer

WEAK = 0.1
"""A held-out set that cannot even show a gain of so much is small."""
_Z = 1.96
_LEAST_VOTES = 3


def power_finding(seen: EarlySamples) -> Finding:
    """Return about the smallest gain that the held-out problems can show.

    The scores' own noise is counted, not that a round gains on some problems and loses on others, which wants more.
    """
    config = seen.config
    claimed = seen.heldout_problems
    if config.evaluate.choose_share < 1:
        claimed -= round(config.evaluate.choose_share * claimed)
    right = [[is_correct(verdict) for _, verdict in group] for group in seen.groups()]
    strict = [[is_correct(verdict) and verdict.strict for _, verdict in group] for group in seen.groups()]
    # Where no format is kept, the score will vary like the lenient one once it is.
    noise = 2 * (_sample_variance(strict) or _sample_variance(right)) / config.evaluate.samples
    if not claimed or not noise:
        said = "The scores of these samples do not vary, so nothing is known of what a gain must exceed."
        return Finding("power", UNKNOWN, said, [], {"problems": claimed, "detectable gain": None})
    gain = expected_detectable(math.sqrt(noise), claimed, alpha=config.stop.alpha)
    small = gain > WEAK
    said = (
        f"The claim rests on {claimed} held-out problems, evaluate.samples = {config.evaluate.samples}: a true gain of "
        f"about {100 * gain:.1f} points, alike on all problems, would be detected 80 % of the time; a smaller one would "
        "mostly pass for noise."
    )
    keys = ["problems.max_heldout, problems.heldout: more problems", "evaluate.samples: more"] if small else []
    figures = {"problems": claimed, "detectable gain": gain}
    return Finding("power", "small held-out set" if small else "fine", said, keys, figures)


def greedy_finding(seen: EarlySamples) -> Finding:
    """Return how much better a vote of a problem's samples is than one of them: what sharpening alone would gain."""
    groups = [[verdict for _, verdict in group] for group in seen.groups()]
    votes = min(map(len, groups))
    if votes < _LEAST_VOTES:
        said = f"A vote needs {_LEAST_VOTES} samples of a problem or more; evaluate.samples = {votes}."
        return Finding("greedy", UNKNOWN, said, [], {"votes": votes, "gap": None})
    gaps = []
    for group in groups:
        right = [is_correct(verdict) for verdict in group]
        vote = maj_at_k([[voted_answer(verdict) for verdict in group]], [right], len(group))
        gaps.append(vote.mean - fmean(right))
    gap = fmean(gaps)
    error = _Z * stderr_over(np.array(gaps)) if len(gaps) > 1 else 1.0
    low, high = gap - error, gap + error
    said = (
        f"The majority of a problem's {votes} samples is right {100 * gap:+.1f} points more often than one of them "
        f"[{100 * low:+.1f}, {100 * high:+.1f}], in any format: so much of a gain would be sharpening, which greedy "
        "decoding or a vote gives without training."
    )
    verdict = "some" if low > 0 else UNKNOWN if high > 0 else "none"
    return Finding("greedy", verdict, said, [], {"votes": votes, "gap": gap, "low": low, "high": high})


def _sample_variance(rows: list[list[bool]]) -> float:
    """Return the mean variance of one sample's score within its problem; from single samples, its upper bound."""
    if min(map(len, rows)) < 2:
        mean = fmean(fmean(row) for row in rows)
        return mean * (1 - mean)
    return fmean(fmean(row) * (1 - fmean(row)) * len(row) / (len(row) - 1) for row in rows)
