"""The comparison as one figure: strict pass@1 by round, a curve an arm, in a file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.etree.ElementTree import tostring

from tpt.compare.results import Study
from tpt.records import Estimate
from tpt.report.html.axes import Frame, round_axis, share_axis
from tpt.report.html.charts import Line, line_chart
from tpt.report.html.markup import node

_TONES = ("#0072b2", "#c45400", "#00805e", "#a04f84", "#757b81", "#8f7400", "#b3202c", "#3b2a72", "#4a8522", "#277f8e")
_DASHES = ("", "6 3", "2 3")
"""One after another for each round through the colours."""
_WIDTH, _HEIGHT, _RIGHT = 760.0, 440.0, 170.0


def figure_svg(found: Study) -> str:
    """Return the figure as an SVG file."""
    return curves_svg("Strict pass@1 by round: mean over seeds, ± one standard error", curves_of(found))


def curves_of(found: Study) -> dict[str, dict[int, Estimate]]:
    """Return each arm's strict pass@1 by round; a vote has no rounds, so it is level."""
    ends = (0, max(index for arm in found.arms for index in arm.curve))
    return {
        arm.name: arm.curve if arm.last.pass_at_k is not None else dict.fromkeys(ends, arm.last.strict)
        for arm in found.arms
    }


def curves_svg(title: str, curves: Mapping[str, Mapping[int, Estimate]]) -> str:
    """Return curves over rounds, each a name and its estimates, as an SVG file."""
    rounds = sorted({index for curve in curves.values() for index in curve})
    bounds = [bound for curve in curves.values() for each in curve.values() for bound in _bounds(each)]
    frame = Frame(round_axis(rounds), share_axis(bounds), width=_WIDTH, height=_HEIGHT, right=_RIGHT)
    lines = [
        Line(
            label=name,
            look=f"arm-{arm}",
            points=[(float(index), each.mean) for index, each in sorted(curve.items())],
            band=[_bounds(each) for _, each in sorted(curve.items())] if len(curve) > 1 else [],
            notes=[f"{name}, round {index}: {each.mean:.1%}" for index, each in sorted(curve.items())],
        )
        for arm, (name, curve) in enumerate(curves.items())
    ]
    drawing = line_chart(title, frame, lines)
    drawing.set("xmlns", "http://www.w3.org/2000/svg")
    drawing.set("width", f"{_WIDTH:g}")
    drawing.set("height", f"{_HEIGHT:g}")
    drawing.insert(0, node("style", None, _style(len(lines))))
    drawing.insert(1, node("rect", {"width": _WIDTH, "height": _HEIGHT, "fill": "#ffffff"}))
    return tostring(drawing, "unicode") + "\n"


def _bounds(found: Estimate) -> tuple[float, float]:
    stderr = 0.0 if math.isnan(found.stderr) else found.stderr
    return found.mean - stderr, found.mean + stderr


def _style(count: int) -> str:
    rules = [
        "text{font:12px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:#5c6166}",
        ".grid{stroke:#dcdcd8;stroke-width:.7}.axis{stroke:#757b81}",
        ".line{fill:none;stroke-width:2;stroke-linejoin:round}.band{opacity:.13}.label{font-weight:600}",
    ]
    for index in range(count):
        tone, dash = _TONES[index % len(_TONES)], _DASHES[index // len(_TONES) % len(_DASHES)]
        rules.append(
            f".arm-{index}{{fill:{tone}}}.line.arm-{index}{{fill:none;stroke:{tone};stroke-dasharray:{dash or 'none'}}}"
        )
    return "".join(rules)
