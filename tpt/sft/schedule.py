"""The learning rate over the steps."""

from __future__ import annotations

import math


def rate_at(step: int, *, steps: int, warmup: int, schedule: str) -> float:
    """Return the share of the peak learning rate at a step, counted from 0.

    No step has rate 0. The usual schedule begins at 0, which wastes the first step, and all of a run of one step.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / (steps - warmup)
    return {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[schedule]


def warmup_steps(steps: int, ratio: float) -> int:
    """Return how many steps warm up; the last step never does."""
    return min(math.ceil(ratio * steps), steps - 1)
