"""The report of a run in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tpt.evidence import Comparison, Coverage, Difference, Evidence, RoundCard
from tpt.records import RoundRecord
from tpt.report.rows import RoundRow
from tpt.report.sentences import count, gain_text, is_unmoved, p_cell, unit_text, unit_word
from tpt.report.text import cells, headings, notes
from tpt.system.terminal import printable
from tpt.system.words import counted, score_text

_IDS = 20
"""Ids of each list that are written; JSON has all."""


def markdown_report(
    rows: Sequence[RoundRow], records: Sequence[RoundRecord], evidence: Evidence, *, title: str, said: str, stopped: str
) -> str:
    """Return the whole report; ``said``: what the run achieved."""
    if not rows:
        return f"# {title}\n\nNo round is finished yet.\n"
    base = records[0].evaluate
    scored = (
        f"Scored on {counted(base.problems, 'held-out problem')}, {counted(base.samples, 'sample')} each; ± and "
        f"brackets: 95 % intervals over {unit_text(evidence)}. Strict: the value is right and the asked answer format was "
        "kept; lenient: the value is right; greedy: the value of one greedy sample is right. Gain: strict pass@1 "
        "less round 0's, paired by problem. Its three parts add up: format (right values written as asked), sharpening "
        f"(samples nearer to the greedy answer) and skill (the greedy answer right).{_chosen_by(evidence)}"
    )
    parts = [
        f"# {title}\n\n{said}\n",
        markdown_table(rows),
        scored + "\n",
        f"Stopped: {stopped}.\n" if stopped else "Not finished yet.\n",
        "## What the differences are worth\n\n" + _differences(evidence),
        "## Problems gained and lost\n\n" + _coverage(evidence),
        "## Outcomes on the held-out problems\n\n" + _outcomes(records),
    ]
    return "\n".join(parts)


def _chosen_by(evidence: Evidence) -> str:
    """Return which problems chose the best round, where there are rounds to choose from, and which the claim is about."""
    if len(evidence.rounds) < 2:
        return ""
    said = f" {evidence.choosing:,} of the problems chose the best round"
    if evidence.claim is None:
        return f"{said}."
    others = f"the {evidence.claiming:,} others" if evidence.claim.independent else "the same ones"
    return f"{said}; the claim above is about {others}."


def markdown_table(rows: Sequence[RoundRow]) -> str:
    """Return the rounds as a Markdown table."""
    return aligned_table(headings(rows), [cells(row) for row in rows])


def aligned_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of right-aligned columns."""
    rules = ["| " + " | ".join(header) + " |", "|" + "---:|" * len(header)]
    return "\n".join([*rules, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


def _differences(evidence: Evidence) -> str:
    header = ("round", "less", "score", "difference", "p", "p, Holm", "verdict", "detectable")
    lines = [
        (
            f"{card.round}",
            name,
            score,
            gain_text(found),
            p_cell(found.p_value),
            p_cell(found.p_holm),
            found.finding,
            _detectable(found),
        )
        for card in evidence.rounds
        for name, compared in _compared(card)
        for score, found in _scores(compared)
        if found
    ]
    if not lines:
        return "Nothing to compare yet.\n"
    return (
        aligned_table(header, lines)
        + f"\nIn points; p of a two-sided sign-flip test by {unit_word(evidence)}, level {evidence.level:g}. "
        f"{evidence.family}. Each interval holds what that test does not reject at the level its adjustment leaves it. "
        "Detectable: the smallest true difference that is detected 80 % of the time (?: no problem's score changed). "
        f"Differences to the best round are on the {evidence.claiming:,} problems of the claim.\n"
    )


def _detectable(found: Difference) -> str:
    if is_unmoved(found):
        return "?"
    return "none" if found.detectable is None else f"{100 * found.detectable:.1f}"


def _scores(found: Comparison) -> list[tuple[str, Difference | None]]:
    parts = [("format", found.format), ("sharpening", found.sharpening), ("skill (greedy)", found.skill)]
    curve = [(f"pass@{found.k}", found.pass_at_k)] if found.k > 1 else []
    return [("strict", found.strict), ("lenient", found.lenient), *parts, *curve]


def _coverage(evidence: Evidence) -> str:
    header = ("round", "solved", "gained", "lost", "p", "lenient", "gained", "lost", "p", "maj@k, lenient")
    lines = [
        (
            f"{card.round}",
            f"{card.solved:,}",
            *_sets(card.to_base.coverage if card.to_base else None),
            f"{card.solved_lenient:,}",
            *_sets(card.to_base.coverage_lenient if card.to_base else None),
            ", ".join(f"{score_text(each)} (k = {k})" for k, each in card.maj_at_k.items()),
        )
        for card in evidence.rounds
    ]
    ids = ", ".join(f"`{_code(each)}`" for each in evidence.never_solved[:_IDS])
    more = " …" if len(evidence.never_solved) > _IDS else ""
    listed = f"\nNever solved strictly: {ids}{more}\n" if ids else ""
    return (
        aligned_table(header, lines)
        + "\nSolved: some sample is right. Gained and lost are against round 0, by as many samples of each; p of McNemar's "
        "exact test, or of sign flips where problems are clustered or counts not whole.\n\n"
        + "\n".join(f"- {note}" for note in notes(evidence))
        + "\n"
        + listed
    )


def _outcomes(records: Sequence[RoundRecord]) -> str:
    return aligned_table(
        ("round", *records[0].evaluate.outcomes, "failed requests", "cut off"),
        [
            (
                f"{record.index}",
                *(f"{count:,}" for count in record.evaluate.outcomes.values()),
                f"{record.evaluate.failed_requests:,}",
                f"{record.evaluate.lengths['truncated']:.1%}",
            )
            for record in records
        ],
    )


def _compared(card: RoundCard) -> list[tuple[str, Comparison]]:
    found = [("base", card.to_base), ("last", card.to_previous), ("best", card.to_best)]
    return [
        (f"{each.other} ({name})", each) for name, each in found if each and not (name == "last" and each.other == 0)
    ]


def _sets(sets: Coverage | None) -> tuple[str, str, str]:
    return ("", "", "") if sets is None else (count(sets.gained), count(sets.lost), p_cell(sets.p_value))


def _code(text: str) -> str:
    """Return an id that cannot end its own code span."""
    return " ".join(printable(text).split()).replace("`", "'")[:200]
