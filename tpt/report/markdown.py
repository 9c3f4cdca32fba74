"""The report of a run in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tpt.evidence import Comparison, Evidence, RoundCard
from tpt.records import RoundRecord
from tpt.report.rows import RoundRow
from tpt.report.text import cells, gain_text, headings, headline, notes, printable

_IDS = 20
"""Ids of each list that are written; JSON has all."""


def markdown_report(
    rows: Sequence[RoundRow], records: Sequence[RoundRecord], evidence: Evidence, *, title: str, stopped: str
) -> str:
    """Return the whole report."""
    if not rows:
        return f"# {title}\n\nNo round is finished yet.\n"
    base = records[0].evaluate
    scored = (
        f"Scored on {base.problems:,} held-out problems, {base.samples} samples each; ± is one standard error over "
        "problems. Strict: the value is right and the asked answer format was kept; lenient: the value is right. Gain: "
        "strict pass@1 less round 0's, paired by problem, with its 95 % bootstrap interval; skill and format are its two "
        f"parts. {evidence.choosing:,} of the problems chose the best round; the claim above is about "
        + (f"the {evidence.claiming:,} others." if evidence.claiming < base.problems else "the same ones.")
    )
    parts = [
        f"# {title}\n\n{headline(evidence)}\n",
        markdown_table(rows),
        scored + "\n",
        f"Stopped: {stopped}.\n" if stopped else "Not finished yet.\n",
        "## What the differences are worth\n\n" + _differences(evidence),
        "## Problems gained and lost\n\n" + _coverage(evidence),
        "## Outcomes on the held-out problems\n\n" + _outcomes(records),
    ]
    return "\n".join(parts)


def markdown_table(rows: Sequence[RoundRow]) -> str:
    """Return the rounds as a Markdown table."""
    return aligned_table(headings(rows), [cells(row) for row in rows])


def aligned_table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of right-aligned columns."""
    rules = ["| " + " | ".join(header) + " |", "|" + "---:|" * len(header)]
    return "\n".join([*rules, *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


def _differences(evidence: Evidence) -> str:
    header = ("round", "less", "strict", "p", "p, Holm", "verdict", "detectable", "lenient", "p, Holm", "verdict")
    lines = [
        (
            f"{card.round}",
            name,
            gain_text(found.strict),
            _p(found.strict.p_value),
            _p(found.strict.p_holm),
            found.strict.finding,
            f"{100 * found.strict.detectable:.1f}",
            gain_text(found.lenient),
            _p(found.lenient.p_holm),
            found.lenient.finding,
        )
        for card in evidence.rounds
        for name, found in _compared(card)
    ]
    if not lines:
        return "Nothing to compare yet.\n"
    return (
        aligned_table(header, lines)
        + f"\nIn points; p of a two-sided sign-flip test by problem, level {evidence.level:g}. {evidence.family}. Detectable: "
        "the smallest true difference that is detected 80 % of the time. Differences to the best round are on the "
        f"{evidence.claiming:,} problems of the claim.\n"
    )


def _coverage(evidence: Evidence) -> str:
    header = (
        "round",
        "solved",
        "gained",
        "lost",
        "curves cross at k",
        "lenient",
        "gained",
        "lost",
        "cross at k",
        "maj@k",
    )
    lines = [
        (
            f"{card.round}",
            f"{card.solved:,}",
            *_sets(card.to_base, lenient=False),
            f"{card.solved_lenient:,}",
            *_sets(card.to_base, lenient=True),
            ", ".join(f"{100 * each.mean:.1f} (k = {k})" for k, each in card.maj_at_k.items()),
        )
        for card in evidence.rounds
    ]
    ids = ", ".join(f"`{_code(each)}`" for each in evidence.never_solved[:_IDS])
    more = " …" if len(evidence.never_solved) > _IDS else ""
    listed = f"\nNever solved strictly: {ids}{more}\n" if ids else ""
    return (
        aligned_table(header, lines)
        + "\nSolved: some sample is right. Gained, lost and crossing are against round 0.\n\n"
        + "\n".join(f"- {note}" for note in notes(evidence))
        + "\n"
        + listed
    )


def _outcomes(records: Sequence[RoundRecord]) -> str:
    return aligned_table(
        ("round", *records[0].evaluate.outcomes, "cut off"),
        [
            (
                f"{record.index}",
                *(f"{count:,}" for count in record.evaluate.outcomes.values()),
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


def _sets(comparison: Comparison | None, *, lenient: bool) -> tuple[str, str, str]:
    if comparison is None:
        return "", "", ""
    sets = comparison.coverage_lenient if lenient else comparison.coverage
    crossing = comparison.crossing_k_lenient if lenient else comparison.crossing_k
    return f"{len(sets.gained):,}", f"{len(sets.lost):,}", f"{crossing or 'none'}"


def _p(value: float) -> str:
    return f"{value:.4f}"


def _code(text: str) -> str:
    """Return an id that cannot end its own code span."""
    return " ".join(printable(text).split()).replace("`", "'")[:200]
