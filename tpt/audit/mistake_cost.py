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

    The interval goes from the highest precision at the least cost to the lowest at the most. Beyond the lowest precision
    measured there is no number.
    """
    if precision is None:
        return ""
    known = measured()
    per_point, least = known["points per share of wrong traces"], known["lowest precision"]
    where = f"by round {known['rounds']} on a model like the demo's"
    if precision.value < least:
        most = per_point["mean"] * (1 - least)
        return (
            f"a precision of {precision.value:.1%} is below what was measured; {least:.0%} would cost about {most:.0f} points "
            f"of strict pass@1 {where}"
        )
    about = per_point["mean"] * (1 - precision.value)
    low, high = per_point["low"] * (1 - precision.high), per_point["high"] * (1 - precision.low)
    seeds = "1 seed" if known["seeds"] == 1 else f"{known['seeds']} seeds"
    return (
        f"a precision of {precision.value:.1%} would cost about {about:.1f} points of strict pass@1 {where} ({low:.1f} to "
        f"{high:.1f}; {seeds}, mistakes by chance; mistakes of one kind were not tried)"
    )
