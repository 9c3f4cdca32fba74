"""Groups of problems as tables: further sets that were scored, and the held-out problems by their level."""

from __future__ import annotations

from collections.abc import Sequence

from tpt.evidence import Evidence, Group, GroupRound
from tpt.report.markdown import aligned_table
from tpt.report.sentences import finding_word, gain_text
from tpt.system.terminal import printable, text_table
from tpt.system.words import score_text

_SCORES = ("round", "strict", "lenient", "greedy", "lenient, less base [95 %]", "", "greedy, less base [95 %]", "")
_DROP = (1, 9, 8, 5, 3, 7)
"""Columns of the whole table that a narrow terminal goes without, the first to go first."""
ALSO_NOTE = (
    "Further sets (evaluate.also): never trained on, scored to see what else a round changes. Differences in points, paired by "
    "problem against the base model; the word is of their own tests, Holm over the rounds of a set."
)
LEVEL_NOTE = (
    "Held-out problems by the level that their source gives them. Differences in points, paired by problem against the base "
    "model, each level by itself: of many such intervals one may miss."
)


def group_headings(name: str) -> tuple[str, ...]:
    """Return the headings of a table of groups; ``name`` is what a group is called."""
    return (name, "problems", *_SCORES)


def group_cells(groups: Sequence[Group]) -> list[tuple[str, ...]]:
    """Return a line for every group and round."""
    return [
        (group.name, f"{group.problems:,} x {group.samples}", *_cells(each))
        for group in groups
        for each in group.rounds
    ]


def also_text(evidence: Evidence, *, width: int | None = None) -> list[str]:
    """Return the further sets as lines for a terminal; none where there are none."""
    if not evidence.also:
        return []
    rows = [group_headings("also scored"), *group_cells(evidence.also)]
    return text_table(rows, width=width, drop=_DROP)


def groups_markdown(evidence: Evidence) -> str:
    """Return both tables in Markdown, each where there is something to show."""
    parts = [
        ("## Scored besides", "set", evidence.also, ALSO_NOTE),
        ("## By level", "level", evidence.levels, LEVEL_NOTE),
    ]
    return "".join(
        f"\n{title}\n\n{groups_table(name, groups)}\n{note}\n" for title, name, groups, note in parts if groups
    )


def groups_table(name: str, groups: Sequence[Group]) -> str:
    """Return groups as a Markdown table that no group's name can break."""
    lines = [(" ".join(printable(name).split()).replace("|", "/"), *cells) for name, *cells in group_cells(groups)]
    return aligned_table(group_headings(name), lines)


def _cells(each: GroupRound) -> tuple[str, ...]:
    found = each.to_base
    changes = (found.lenient, found.skill) if found else (None, None)
    scores = [score_text(score) if score else "" for score in (each.strict, each.lenient, each.greedy)]
    return (
        f"{each.round}",
        *scores,
        *(cell for change in changes for cell in (gain_text(change), finding_word(change))),
    )
