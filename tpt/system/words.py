"""Numbers in sentences, said one way everywhere: how many of something, differences in points, scores with intervals."""

from __future__ import annotations

from tpt.records import Estimate


def counted(count: int, noun: str) -> str:
    """Return how many there are of something whose plural ends in s."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def points(difference: float) -> str:
    """Return a difference of shares in points, with its sign; what is rounded to nothing is no loss: +0.0, never -0.0."""
    return f"{100 * difference:+z.1f}"


def score_text(estimate: Estimate) -> str:
    """Return a score in percent with its 95 % interval: as ± where it is about even, as bounds at the edges."""
    low, high = bounds(estimate)
    below, above = estimate.mean - low, high - estimate.mean
    if max(below, above) <= 1.25 * min(below, above):
        return f"{100 * estimate.mean:.1f} ± {50 * (high - low):.1f}"
    return f"{100 * estimate.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def bounds(estimate: Estimate) -> tuple[float, float]:
    """Return a score's 95 % interval; what earlier versions stored has a standard error alone."""
    if estimate.low is None or estimate.high is None:
        return max(0.0, estimate.mean - 1.96 * estimate.stderr), min(1.0, estimate.mean + 1.96 * estimate.stderr)
    return estimate.low, estimate.high
