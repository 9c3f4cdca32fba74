"""Power and greedy gap: what gain the held-out set can show, and how much of a gain would be mere sharpening."""

from __future__ import annotations

import math
from statistics import fmean

from tpt.gate.early_samples import UNKNOWN, EarlySamples, Finding
from tpt.gate.shares import mean_interval
from tpt.scoring import expected_detectable, fewest_units, maj_at_k
from tpt.scoring.score import is_correct, voted_answer
from tpt.system.words import counted, points

WEAK = 0.1
"""A held-out set that cannot even show a gain of so much is small."""
_LEAST_VOTES = 3


def power_finding(seen: EarlySamples) -> Finding:
    """Return about the smallest gain that the held-out problems can show.

    The scores' own noise is counted, not that a round gains on some problems and loses on others, which wants more.
    """
    config, claimed = seen.config, seen.claiming
    rests = f"The claim rests on {counted(claimed, 'held-out problem')}, evaluate.samples = {config.evaluate.samples}"
    figures = {"problems": claimed, "detectable gain": None}
    more = "problems.max_heldout, problems.heldout: more problems"
    fewest = fewest_units(config.stop.alpha, clustered=seen.clustered)
    if seen.claiming_units < fewest:
        unit = "clusters of problems" if seen.clustered else "problems"
        said = f"{rests}: with fewer than {fewest} {unit} no gain can be told from noise, whatever its size."
        return Finding("power", "small held-out set", said, [more], figures)
    right = [[is_correct(verdict) for _, verdict in group] for group in seen.groups()]
    strict = [[is_correct(verdict) and verdict.strict for _, verdict in group] for group in seen.groups()]
    # Where the format is not kept yet, the score will vary like the lenient one once it is.
    noise = 2 * max(_sample_variance(strict), _sample_variance(right)) / config.evaluate.samples
    if not noise:
        said = "The scores of these samples do not vary, so nothing is known of what a gain must exceed."
        return Finding("power", UNKNOWN, said, [], figures)
    gain = expected_detectable(math.sqrt(noise), claimed, alpha=config.stop.alpha)
    small = gain > WEAK
    said = (
        f"{rests}: a true gain of about {100 * gain:.1f} points, alike on all problems, would be detected 80 % of the "
        "time; half of it would mostly pass for noise."
    )
    keys = [more, "evaluate.samples: more"] if small else []
    return Finding("power", "small held-out set" if small else "fine", said, keys, figures | {"detectable gain": gain})


def greedy_finding(seen: EarlySamples) -> Finding:
    """Return how much better a vote of a problem's samples is than one of them: what sharpening alone would gain."""
    groups = [[verdict for _, verdict in group] for group in seen.groups()]
    votes = min(map(len, groups))
    nothing = {"votes": votes, "gap": None}
    if seen.temperature == 0:
        return Finding("greedy", UNKNOWN, "These samples are greedy, so there is nothing to sharpen.", [], nothing)
    if votes < _LEAST_VOTES:
        said = f"A vote needs {_LEAST_VOTES} samples of a problem or more; evaluate.samples = {votes}."
        return Finding("greedy", UNKNOWN, said, [], nothing)
    gaps = []
    for group in groups:
        right = [is_correct(verdict) for verdict in group]
        vote = maj_at_k([[voted_answer(verdict) for verdict in group]], [right], len(group))
        gaps.append(vote.mean - fmean(right))
    gap, (low, high) = fmean(gaps), mean_interval(gaps)
    verdict = "some" if low > 0 else UNKNOWN if high > 0 else "none"
    said = (
        f"The majority of a problem's {votes} samples is right {points(gap)} points more often than one of them "
        f"[{points(low)}, {points(high)}], in any format: "
    )
    said += _SHARPENING.get(verdict, f"up to {100 * high:.1f} points of a gain may be mere sharpening.")
    return Finding("greedy", verdict, said, [], {"votes": votes, "gap": gap, "low": low, "high": high})


_SHARPENING = {
    "some": "so much of a gain would be sharpening, which greedy decoding or a vote gives without training.",
    "none": "sharpening alone would gain nothing.",
}


def _sample_variance(rows: list[list[bool]]) -> float:
    """Return the mean variance of one sample's score within its problem; from single samples, its upper bound."""
    if min(map(len, rows)) < 2:
        mean = fmean(fmean(row) for row in rows)
        return mean * (1 - mean)
    return fmean(fmean(row) * (1 - fmean(row)) * len(row) / (len(row) - 1) for row in rows)
