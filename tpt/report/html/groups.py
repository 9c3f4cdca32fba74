"""Further sets that were scored, and the held-out problems by level, as tables of the page."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from tpt.evidence import Evidence, Group
from tpt.report.groups import ALSO_NOTE, LEVEL_NOTE, group_cells, group_headings
from tpt.report.html.markup import node, table


def group_tables(evidence: Evidence) -> list[Element]:
    """Return a titled table of each sort of groups that there is."""
    also = _titled("Scored besides", "set", evidence.also, ALSO_NOTE)
    return also + _titled("By level", "level", evidence.levels, LEVEL_NOTE)


def _titled(title: str, name: str, groups: Sequence[Group], note: str) -> list[Element]:
    if not groups:
        return []
    return [node("h3", None, title), table(group_headings(name), group_cells(groups), caption=note)]
