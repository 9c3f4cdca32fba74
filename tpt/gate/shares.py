"""Shares of samples with intervals that know that the samples of one problem are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tpt.scoring import sign_flips, wilson

_FLIPS = 4000


@dataclass(frozen=True, slots=True)
class Share:
    """A share and its 95 % Wilson interval; without anything to count it may be anything."""

    value: float | None
    low: float
    high: float
    hits: int
    of: int

    def __str__(self) -> str:
        """Return the share with its interval, in percent."""
        if self.value is None:
            return "unknown"
        return f"{self.value:.1%} [{100 * self.low:.0f}, {100 * self.high:.0f}]"


def clustered_share(groups: Sequence[Sequence[bool]]) -> Share:
    """Return the share of true values, those of one problem in a group.

    The interval is Wilson's for an effective number of samples: as many independent ones as would vary like the
    problems do, but no fewer than there are problems. Where all values are equal nothing varies, and the problems count.
    """
    filled = [group for group in groups if group]
    of, hits = sum(map(len, filled)), sum(map(sum, filled))
    if not of:
        return Share(None, 0.0, 1.0, 0, 0)
    value, problems = hits / of, len(filled)
    effective = float(problems)
    if 0 < hits < of and problems > 1:
        residuals = sum((sum(group) - value * len(group)) ** 2 for group in filled)
        variance = problems / (problems - 1) * residuals / of**2
        effective = min(float(of), max(float(problems), value * (1 - value) / variance)) if variance else float(of)
    low, high = wilson(value * effective, effective)
    # At the ends the formula leaves a rounding error.
    return Share(value, low if hits else 0.0, high if hits < of else 1.0, hits, of)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of problems' values in [-1, 1]: the means that sign flips do not reject.

    Unlike a standard error it stays wide where few problems are all alike.
    """
    low, high = sign_flips(np.array(values)[:, None], draws=_FLIPS, seed=0).interval(0, 0.05)
    return max(-1.0, low), min(1.0, high)
