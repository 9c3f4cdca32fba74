"""Two runs side by side, as text to read."""

from __future__ import annotations

from tpt.evidence import Pair, RunComparison
from tpt.report.text import gain_text, score_text, won_and_lost

_HEADINGS = ("round", "first strict", "second strict", "second - first [95 %]", "p, Holm", "", "skill", "format")


def comparison_text(found: RunComparison) -> str:
    """Return the rounds of two runs and what their best rounds differ by."""
    lines = [_HEADINGS, *(_line(pair) for pair in found.rounds)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    left_out = [
        f"{count:,} only in the {name}"
        for count, name in ((found.only_first, "first"), (found.only_second, "second"))
        if count
    ]
    return "\n".join(
        [
            f"first: {found.first}",
            f"second: {found.second}",
            f"on {found.shared:,} shared held-out problems" + (f" ({', '.join(left_out)})" if left_out else ""),
            "",
            *table,
            "",
            _best(found),
            f"Scores in percent, differences in points, tested by problem, Holm over the rounds, level {found.level:g}.",
        ]
    )


def _line(pair: Pair) -> tuple[str, ...]:
    scores = (f"{pair.first.round}", score_text(pair.first.strict), score_text(pair.second.strict))
    found = pair.comparison
    if found is None:
        return (*scores, "", "", "", "", "")
    parts = (f"{100 * part.value:+.1f}" for part in (found.skill, found.format))
    return (*scores, gain_text(found.strict), f"{found.strict.p_holm:.4f}", found.strict.finding, *parts)


def _best(found: RunComparison) -> str:
    one, other, compared = found.best.first, found.best.second, found.best.comparison
    chose = "that chose neither of them" if found.independent else "that also chose them, so each is somewhat too good"
    said = (
        f"Best rounds ({one.round} and {other.round}), on {found.best_problems:,} problems {chose}: strict "
        f"{one.strict.mean:.1%} and {other.strict.mean:.1%}, lenient {one.lenient.mean:.1%} and {other.lenient.mean:.1%}"
    )
    if compared is None:
        return f"{said}."
    strict, lenient = (f"{gain_text(each)} points: {each.finding}" for each in (compared.strict, compared.lenient))
    verdict = f"strict {strict}; lenient {lenient}; {won_and_lost(compared)}."
    # Where neither side had rounds to choose from, the table says the rest.
    return (
        f"{verdict[0].upper()}{verdict[1:]}"
        if one.round == other.round == 0 and found.independent
        else f"{said}; {verdict}"
    )
