"""The round table for a terminal and for Markdown, and model output made safe to print."""

from __future__ import annotations

import unicodedata

from rich.table import Table

from tpt.records import Estimate, RoundRecord
from tpt.report.rows import Row
from tpt.stats import PairedDifference

_HEADINGS = (
    "round",
    "pass@1 strict",
    "lenient",
    "pass@{k}",
    "gain strict [95 %]",
    "gain lenient [95 %]",
    "solved",
    "set",
    "tokens",
    "min",
)


def round_table(rows: list[Row]) -> Table:
    """Return the rounds as a rich table; the best one is marked with a star."""
    table = Table(box=None, pad_edge=False)
    for heading in _headings(rows):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row), style="bold" if row.best else "")
    return table


def markdown_table(rows: list[Row]) -> str:
    """Return the rounds as a Markdown table."""
    headings = _headings(rows)
    lines = ["| " + " | ".join(headings) + " |", "|" + "---:|" * len(headings)]
    return "\n".join(lines + ["| " + " | ".join(_cells(row)) + " |" for row in rows]) + "\n"


def markdown_report(rows: list[Row], records: list[RoundRecord], *, title: str, stopped: str) -> str:
    """Return a report of a run in Markdown."""
    if not rows:
        return f"# {title}\n\nNo round is finished yet.\n"
    base = records[0].evaluate
    best = next(row for row in rows if row.best)
    outcomes = ["| round | " + " | ".join(base.outcomes) + " | cut off |", "|" + "---:|" * (len(base.outcomes) + 2)]
    for record in records:
        counts = [f"{count:,}" for count in record.evaluate.outcomes.values()]
        outcomes.append(
            f"| {record.index} | " + " | ".join(counts) + f" | {record.evaluate.lengths['truncated']:.1%} |"
        )
    return "\n".join(
        [
            f"# {title}",
            "",
            headline(best, rows[0]),
            "",
            markdown_table(rows),
            f"Scored on {base.problems:,} held-out problems, {base.samples} samples each; ± is one standard error over "
            "problems. Gains are differences to round 0 paired by problem, with 95 % bootstrap intervals. Strict: the "
            "value is right and the asked answer format was kept; lenient: the value is right.",
            "",
            f"Stopped: {stopped}." if stopped else "Not finished yet.",
            "",
            "## Outcomes on the held-out problems",
            "",
            *outcomes,
            "",
        ]
    )


def headline(best: Row, base: Row) -> str:
    """Return what the run achieved, in one sentence."""
    if best.round == base.round:
        return f"No round beat the base model ({_percent(base.strict)} strict pass@1)."
    strict, lenient = (f" ({_points(gain)} points)" if gain else "" for gain in (best.gain, best.gain_lenient))
    return (
        f"Round {best.round} is the best: strict pass@1 went from {base.strict.mean:.1%} to {best.strict.mean:.1%}"
        f"{strict}, lenient from {base.lenient.mean:.1%} to {best.lenient.mean:.1%}{lenient}."
    )


def printable(text: str) -> str:
    """Return model output without anything a terminal would obey: control, bidi and invisible format characters."""
    return "".join(char if char in "\n\t" or not _is_control(char) else f"\\u{{{ord(char):x}}}" for char in text)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _headings(rows: list[Row]) -> list[str]:
    return [heading.format(k=max((row.k for row in rows), default="k")) for heading in _HEADINGS]


def _cells(row: Row) -> list[str]:
    return [
        f"{'*' if row.best else ''}{row.round}",
        _percent(row.strict),
        _percent(row.lenient),
        _percent(row.pass_at_k),
        _points(row.gain),
        _points(row.gain_lenient),
        "" if row.solved is None else f"{row.solved:,}",
        "" if row.examples is None else f"{row.examples:,}",
        f"{row.tokens:,}",
        f"{row.wall_s / 60:.1f}",
    ]


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.1f} ± {100 * estimate.stderr:.1f}"


def _points(gain: PairedDifference | None) -> str:
    if gain is None:
        return ""
    return f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
