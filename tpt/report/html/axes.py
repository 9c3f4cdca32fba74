"""The frame of a chart: scales, ticks, grid lines, and labels that don't overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tpt.report.html.markup import Attributes, node

WIDTH = 440.0
HEIGHT = 270.0
"""Of a chart in its own units: about the width of a phone, so that text stays readable there."""
LEFT, RIGHT, TOP, BOTTOM = 44.0, 62.0, 14.0, 44.0
_LABEL_GAP = 15.0


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a chart."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """Return how far along the axis a value lies, from 0 to 1."""
        low, high, at = (
            (math.log2(each) for each in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return (at - low) / (high - low) if high > low else 0.5


@dataclass(frozen=True, slots=True)
class Frame:
    """Where an axis pair lies on the page."""

    x: Axis
    y: Axis
    width: float = WIDTH
    height: float = HEIGHT
    right: float = RIGHT

    def across(self, value: float) -> float:
        """Return the horizontal position of a value."""
        return LEFT + self.x.share(value) * (self.width - LEFT - self.right)

    def down(self, value: float) -> float:
        """Return the vertical position of a value."""
        return self.height - BOTTOM - self.y.share(value) * (self.height - TOP - BOTTOM)

    def drawn(self) -> list[Element]:
        """Return grid lines, tick labels and axis names."""
        left, right = LEFT, self.width - self.right
        bottom = self.height - BOTTOM
        parts = []
        for value, text in self.y.ticks:
            y = self.down(value)
            parts.append(node("line", {"class": "grid", "x1": left, "x2": right, "y1": y, "y2": y}))
            parts.append(node("text", {"class": "tick", "x": left - 7, "y": y + 4, "text-anchor": "end"}, text))
        for value, text in self.x.ticks:
            parts.append(
                node(
                    "text", {"class": "tick", "x": self.across(value), "y": bottom + 17, "text-anchor": "middle"}, text
                )
            )
        parts.append(node("line", {"class": "axis", "x1": left, "x2": right, "y1": bottom, "y2": bottom}))
        name: Attributes = {
            "class": "name",
            "x": (left + right) / 2,
            "y": self.height - 7,
            "text-anchor": "middle",
        }
        return [*parts, node("text", name, self.x.label)]


def round_axis(rounds: Sequence[int], *, label: str = "round", margin: float = 0.0) -> Axis:
    """Return the axis of rounds: not more ticks than can be read."""
    step = max(1, math.ceil(len(rounds) / 9))
    shown = [index for position, index in enumerate(rounds) if position % step == 0]
    ticks = tuple((float(index), "base" if index == 0 else str(index)) for index in shown)
    return Axis(label, rounds[0] - margin, rounds[-1] + margin, ticks)


def share_axis(values: Sequence[float]) -> Axis:
    """Return an axis of percentages, as wide as the values need."""
    low, high = max(0.0, min(values)), min(1.0, max(values))
    ticks = _steps(low, high)
    return Axis("", ticks[0], ticks[-1], tuple((tick, f"{100 * tick:.3g}%") for tick in ticks))


def number_axis(values: Sequence[float], label: str = "", *, steps: int = 5) -> Axis:
    """Return an axis of plain numbers, as wide as the values need."""
    ticks = _steps(min(values), max(values), steps)
    step = ticks[1] - ticks[0]
    decimals = next(count for count in range(16) if abs(round(step, count) - step) < step / 1000)
    return Axis(label, ticks[0], ticks[-1], tuple((tick, f"{tick:,.{decimals}f}") for tick in ticks))


def doubling_axis(most: int, label: str) -> Axis:
    """Return an axis on which every doubling is as long as the next."""
    ticks = tuple((float(2**power), str(2**power)) for power in range(most.bit_length()) if 2**power <= most)
    return Axis(label, 1.0, float(max(most, 2)), ticks, log=True)


def spread(positions: Sequence[float], *, low: float, high: float) -> list[float]:
    """Move labels apart, as little as it takes, so that each can be read; the order stays."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    moved = [positions[index] for index in order]
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + _LABEL_GAP)
    if moved and moved[-1] > high:
        moved[-1] = high
        for index in range(len(moved) - 2, -1, -1):
            moved[index] = min(moved[index], moved[index + 1] - _LABEL_GAP)
    shift = max(0.0, low - moved[0]) if moved else 0.0
    found = [0.0] * len(positions)
    for position, index in enumerate(order):
        found[index] = moved[position] + shift
    return found


def _steps(low: float, high: float, steps: int = 5) -> list[float]:
    """Return about so many round numbers, and one or two more, around a range."""
    if high - low < 1e-9:
        low, high = low - max(abs(low), 0.1) / 10, high + max(abs(high), 0.1) / 10
    rough = (high - low) / steps
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]
