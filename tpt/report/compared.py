"""Two runs side by side, as text to read."""

from __future__ import annotations

from tpt.evidence import Pair, RunComparison
from tpt.evidence.alarms import in_words
from tpt.report.sentences import coverage_text, gain_text, p_cell, part_text, parts_text
from tpt.system.terminal import text_table, wrapped
from tpt.system.words import counted, score_text

_HEADINGS = (
    *("round", "first strict", "second strict", "second - first [95 %]", "p, Holm", ""),
    *("format", "sharpening", "skill"),
)


def comparison_text(found: RunComparison, *, width: int | None = None) -> str:
    """Return the rounds of two runs and what their best rounds differ by, ``width`` characters wide."""
    rows = [_HEADINGS, *(_line(pair) for pair in found.rounds)]
    table = text_table(rows, width=width, left=(), drop=(8, 7, 6, 4))
    left_out = [
        f"{count:,} only in the {name}"
        for count, name in ((found.only_first, "first"), (found.only_second, "second"))
        if count
    ]
    heads = [
        f"first: {found.first}",
        f"second: {found.second}",
        f"on {_problems(found.shared, 'shared held-out ')}" + (f" ({', '.join(left_out)})" if left_out else ""),
        "",
    ]
    said = [
        "",
        _best(found),
        *(in_words(alarm, subject=f"Second against first (rounds {_rounds(found)})") for alarm in found.alarms),
        "Scores in percent, differences in points, tested by problem, or by cluster where problems are in clusters, Holm over "
        f"the rounds, level {found.level:g}.",
    ]
    return "\n".join([*heads, *table, *(wrapped(each, width) for each in said)])


def _rounds(found: RunComparison) -> str:
    return f"{found.best.second.round} and {found.best.first.round}"


def _line(pair: Pair) -> tuple[str, ...]:
    scores = (f"{pair.first.round}", score_text(pair.first.strict), score_text(pair.second.strict))
    found = pair.comparison
    if found is None:
        return (*scores, *[""] * (len(_HEADINGS) - len(scores)))
    parts = map(part_text, (found.format, found.sharpening, found.skill))
    return (*scores, gain_text(found.strict), p_cell(found.strict.p_holm), found.strict.finding, *parts)


def _problems(count: int, adjective: str = "") -> str:
    return counted(count, f"{adjective}problem")


def _best(found: RunComparison) -> str:
    one, other, compared = found.best.first, found.best.second, found.best.comparison
    on = f"on {_problems(found.best_problems)}"
    if found.chosen:
        on += (
            " that chose neither of them"
            if found.independent
            else " that also chose them, so each is somewhat too good"
        )
    said = (
        f"Best rounds ({one.round} and {other.round}), {on}: strict {one.strict.mean:.1%} and {other.strict.mean:.1%}, "
        f"lenient {one.lenient.mean:.1%} and {other.lenient.mean:.1%}"
    )
    if compared is None:
        return f"{said}. One problem, or one cluster of them, leaves nothing to test."
    strict, lenient = (f"{gain_text(each)} points: {each.finding}" for each in (compared.strict, compared.lenient))
    neither = f"{compared.coverage.neither:,.0f} solved by neither"
    verdict = f"strict {strict}; lenient {lenient}; {coverage_text(compared)}; {neither}. {parts_text(compared)}"
    # Where neither side had rounds to choose from, the table says the rest.
    return f"{said}; {verdict}" if found.chosen else f"{verdict[0].upper()}{verdict[1:]}"
