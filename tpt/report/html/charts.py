"""Charts as SVG that needs no script, so that they print; hand-made, as they are few and a library would outweigh the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from tpt.report.html.axes import BOTTOM, HEIGHT, TOP, WIDTH, Frame, spread
from tpt.report.html.markup import Attributes, Content, node

_FLOW_TOP, _FLOW_GAP, _FLOW_WIDTH = 26.0, 10.0, 8.0
_LABEL_MOVED = 3.0
_FLOW_NAMED = 6
"""Columns, at most, between which there is room for numbers."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; ``look`` is a class of the style sheet."""

    label: str
    look: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = field(default_factory=list)
    """Lower and upper bound at each point."""
    notes: Sequence[str] = field(default_factory=list)
    """What a pointer resting on each point is told."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its interval; ``look`` is a class of the style sheet."""

    label: str
    look: str
    value: float
    low: float
    high: float
    note: str


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a whole; ``look`` is a class of the style sheet."""

    label: str
    look: str
    value: float
    note: str


def svg(title: str, parts: Sequence[Content], *, width: float = WIDTH, height: float = HEIGHT) -> Element:
    """Return a drawing with a title for those who cannot see it; the table under it has the numbers."""
    attributes = {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": title}
    return node("svg", attributes, *parts)


def line_chart(title: str, frame: Frame, lines: Sequence[Line]) -> Element:
    """Draw curves with their error bands, each named at its end."""
    parts: list[Content] = list(frame.drawn())
    parts += [node("path", {"class": f"band {line.look}", "d": _band(frame, line)}) for line in lines if line.band]
    for line in lines:
        positions = [(frame.across(x), frame.down(y)) for x, y in line.points]
        if len(positions) > 1:
            parts.append(node("path", {"class": f"line {line.look}", "d": _path(positions)}))
        for (x, y), note in zip(positions, line.notes, strict=False):
            parts.append(
                node("circle", {"class": f"dot {line.look}", "cx": x, "cy": y, "r": 3.2}, node("title", None, note))
            )
    return svg(title, [*parts, *_end_labels(frame, lines)], width=frame.width, height=frame.height)


def interval_bars(title: str, frame: Frame, groups: Sequence[tuple[float, Sequence[Bar]]]) -> Element:
    """Draw bars from zero with their intervals, side by side at each mark of the horizontal axis."""
    parts: list[Content] = list(frame.drawn())
    zero = frame.down(0.0)
    most = max(len(bars) for _, bars in groups)
    room = (frame.across(1.0) - frame.across(0.0)) * 0.72
    width = min(26.0, room / most)
    for at, bars in groups:
        left = frame.across(at) - width * len(bars) / 2
        for column, bar in enumerate(bars):
            parts += _interval_bar(frame, bar, left + column * width, width - 2)
    parts.append(
        node(
            "line",
            {"class": "axis", "x1": frame.across(frame.x.low), "x2": frame.width - frame.right, "y1": zero, "y2": zero},
        )
    )
    return svg(title, parts, width=frame.width, height=frame.height)


def stacked_rows(title: str, rows: Sequence[tuple[str, Sequence[Part]]], *, total: float | None = None) -> Element:
    """Draw one horizontal bar a row, made of its parts; with ``total`` all rows share that scale, else each fills its own."""
    step, height, left = 27.0, 17.0, 48.0
    parts: list[Content] = []
    for row, (label, pieces) in enumerate(rows):
        whole = total or sum(piece.value for piece in pieces) or 1.0
        x, y = left, row * step + 4
        parts.append(node("text", {"class": "tick", "x": left - 8, "y": y + 13, "text-anchor": "end"}, label))
        for piece in pieces:
            width = (WIDTH - left - 2) * piece.value / whole
            if piece.value:
                box: Attributes = {
                    "class": f"fill {piece.look}",
                    "x": x,
                    "y": y,
                    "width": max(width - 1, 0.4),
                    "height": height,
                }
                parts.append(node("rect", box, node("title", None, piece.note)))
            if width > 7 * len(piece.label) + 2:
                middle: Attributes = {
                    "class": f"inside {piece.look}",
                    "x": x + width / 2,
                    "y": y + 12.5,
                    "text-anchor": "middle",
                }
                parts.append(node("text", middle, piece.label))
            x += width
    return svg(title, parts, height=len(rows) * step + 4)


def flow_chart(
    title: str, columns: Sequence[tuple[str, int]], flows: Sequence[Sequence[Part]], *, whole: int
) -> Element:
    """Draw how problems move between solved (above) and unsolved (below) from one column to the next.

    ``columns``: name and number of solved problems. ``flows``: between each column and the next: kept, lost, gained,
    never, in this order. ``whole``: all problems.
    """
    first, last = 26.0, WIDTH - 26.0
    across = [
        first + (last - first - _FLOW_WIDTH) * column / max(1, len(columns) - 1) for column in range(len(columns))
    ]
    tall = (HEIGHT - _FLOW_TOP - BOTTOM - _FLOW_GAP) / max(1, whole)
    parts: list[Content] = []
    for column, pieces in enumerate(flows):
        kept, lost, gained, never = (piece.value * tall for piece in pieces)
        below, below_next = (_FLOW_TOP + columns[each][1] * tall + _FLOW_GAP for each in (column, column + 1))
        spans = [
            (_FLOW_TOP, _FLOW_TOP, kept),
            (_FLOW_TOP + kept, below_next, lost),
            (below, _FLOW_TOP + kept, gained),
            (below + gained, below_next + lost, never),
        ]
        left, right = across[column] + _FLOW_WIDTH, across[column + 1]
        for piece, (start, end, height) in zip(pieces, spans, strict=True):
            if piece.value:
                shape: Attributes = {"class": f"flow {piece.look}", "d": _ribbon(left, right, start, end, height)}
                parts.append(node("path", shape, node("title", None, piece.note)))
        if len(columns) > _FLOW_NAMED:
            continue
        change = f"+{pieces[2].value:g} −{pieces[1].value:g}"
        name: Attributes = {
            "class": "tick",
            "x": (left + right) / 2,
            "y": _FLOW_TOP - 6,
            "text-anchor": "middle",
        }
        parts.append(node("text", name, change))
    for column, (title_below, solved) in enumerate(columns):
        parts += _flow_column(across[column], title_below, solved=solved, whole=whole, tall=tall)
    return svg(title, parts)


def legend(entries: Sequence[tuple[str, str]]) -> Element:
    """Return what the colours mean: label and look of each."""
    items = [
        node(
            "li",
            None,
            node(
                "svg",
                {"viewBox": "0 0 12 12", "aria-hidden": "true"},
                node("rect", {"class": f"fill {look}", "width": 12, "height": 12, "rx": 2}),
            ),
            label,
        )
        for label, look in entries
    ]
    return node("ul", {"class": "legend"}, *items)


def _end_labels(frame: Frame, lines: Sequence[Line]) -> list[Content]:
    ends = [line for line in lines if line.points and line.label]
    positions = [frame.down(line.points[-1][1]) for line in ends]
    moved = spread(positions, low=TOP + 4, high=frame.height - BOTTOM)
    x = frame.width - frame.right + 8
    found: list[Content] = []
    for line, end, y in zip(ends, positions, moved, strict=True):
        if abs(y - end) > _LABEL_MOVED:
            # Moved away from its curve, a label says by a line which one it is of.
            found.append(node("line", {"class": f"leader {line.look}", "x1": x - 7, "x2": x - 1, "y1": end, "y2": y}))
        found.append(node("text", {"class": f"label {line.look}", "x": x, "y": y + 4}, line.label))
    return found


def _interval_bar(frame: Frame, bar: Bar, left: float, width: float) -> list[Content]:
    zero, end = frame.down(0.0), frame.down(bar.value)
    middle = left + width / 2
    box: Attributes = {
        "class": f"fill {bar.look}",
        "x": left,
        "y": min(zero, end),
        "width": width,
        "height": abs(end - zero),
    }
    whisker = f"M{middle:.2f} {frame.down(bar.low):.2f}V{frame.down(bar.high):.2f}"
    return [node("rect", box, node("title", None, bar.note)), node("path", {"class": "whisker", "d": whisker})]


def _flow_column(x: float, name: str, *, solved: int, whole: int, tall: float) -> list[Content]:
    below = _FLOW_TOP + solved * tall + _FLOW_GAP
    middle = x + _FLOW_WIDTH / 2
    texts = [(_FLOW_TOP - 6, "count", f"{solved:,}"), (HEIGHT - BOTTOM + 17, "tick", name)]
    sizes = [("solved", _FLOW_TOP, solved), ("unsolved", below, whole - solved)]
    bars: list[Attributes] = [
        {"class": f"fill {look}", "x": x, "y": y, "width": _FLOW_WIDTH, "height": size * tall}
        for look, y, size in sizes
    ]
    return [
        *(node("rect", bar) for bar in bars),
        *(node("text", {"class": look, "x": middle, "y": y, "text-anchor": "middle"}, text) for y, look, text in texts),
    ]


def _ribbon(x1: float, x2: float, y1: float, y2: float, height: float) -> str:
    middle = (x1 + x2) / 2
    return (
        f"M{x1:.2f} {y1:.2f}C{middle:.2f} {y1:.2f} {middle:.2f} {y2:.2f} {x2:.2f} {y2:.2f}V{y2 + height:.2f}"
        f"C{middle:.2f} {y2 + height:.2f} {middle:.2f} {y1 + height:.2f} {x1:.2f} {y1 + height:.2f}Z"
    )


def _band(frame: Frame, line: Line) -> str:
    upper = [(frame.across(x), frame.down(high)) for (x, _), (_, high) in zip(line.points, line.band, strict=True)]
    lower = [(frame.across(x), frame.down(low)) for (x, _), (low, _) in zip(line.points, line.band, strict=True)]
    return _path([*upper, *reversed(lower)]) + "Z"


def _path(positions: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in positions)
