"""What a verifier's false positives would cost, by what they cost on the demo's model: measured, not derived.

The numbers are those of ``verifier_cost.json``, which ``benchmarks/noise.py`` writes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tpt.audit.audit import Rate
from tpt.system.jsonl import read_json

FILE = Path(__file__).with_name("verifier_cost.json")


@cache
def measured() -> dict[str, Any]:
    """Return what was measured: points lost by share of wrong traces trained on, with what it holds for."""
    found: dict[str, Any] = read_json(FILE)
    return found


def cost_sentence(precision: Rate | None) -> str:
    """Say what a verifier of such a precision would cost a model like the demo's; empty: the precision is not known.

    Between the shares of wrong traces that were measured, and none, it is a straight line. The interval goes from the highest
    precision at the least cost to the lowest at the most. Beyond the lowest precision measured there is no number.
    """
    if precision is None:
        return ""
    known = measured()
    where = f"points of strict pass@1 by round {known['rounds']} on a model like the demo's"
    most = known["arms"][-1]["wrong share"]
    if 1 - precision.value > most:
        lost = f"{1 - most:.0%} would cost about {points_lost(most, 'mean'):.0f} {where}"
        return f"a precision of {precision.value:.1%} is below what was measured; {lost}"
    about = points_lost(1 - precision.value, "mean")
    low, high = points_lost(1 - precision.high, "low"), points_lost(1 - precision.low, "high")
    seeds = "1 seed" if known["seeds"] == 1 else f"{known['seeds']} seeds"
    return (
        f"a precision of {precision.value:.1%} would cost about {about:.1f} {where} ({low:.1f} to {high:.1f}; {seeds}, mistakes "
        "by chance; mistakes of one kind were not tried)"
    )


def points_lost(share: float, bound: str) -> float:
    """Return what a share of wrong traces costs, its ``mean``, or the ``low`` or ``high`` end of the interval.

    Beyond the largest share measured it is that one's.
    """
    before = (0.0, 0.0)
    for arm in measured()["arms"]:
        after = arm["wrong share"], arm["points lost"][bound]
        if share <= after[0]:
            return float(before[1] + (after[1] - before[1]) * (share - before[0]) / (after[0] - before[0]))
        before = after
    return float(before[1])
