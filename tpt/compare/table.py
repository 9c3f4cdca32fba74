"""The comparison as a table: for a terminal and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tpt.compare.bootstrap import Gain
from tpt.compare.results import ArmResult, Scores, Study
from tpt.records import Estimate
from tpt.report.sentences import p_cell
from tpt.system.terminal import text_table, wrapped
from tpt.system.words import counted, points

COLUMNS = (
    "Scores in percent, differences in points. greedy: one greedy sample a problem, its value right. diversity: different "
    "chains of equations among 4 correct traces.",
    "sampled: tokens sampled to learn from, thrown away ones too; trained: tokens of completions trained on; min: "
    "minutes to think, prune and train. All over all rounds of a run, means over seeds.",
    "FLOP: 2 x weights for a token sampled or read in a prompt, 6 x weights for one of a training row (4 with an adapter); "
    "without attention, optimizer, verification and evaluations. points/: strict points above the base model's, for each.",
)
"""What the columns mean."""
_LEFT = 1
"""Columns that hold words."""
_DROP = (17, 15, 14, 16, 13, 12, 7, 6, 11, 10, 5, 9, 3, 4)
"""Columns that a narrow terminal goes without, the first to go first."""
_PREFIXES = "GTPEZ"
"""10^9 to 10^21."""


def study_text(found: Study, *, width: int | None = None) -> str:
    """Return the comparison for a terminal, ``width`` characters wide; None: as wide as it needs."""
    parts = [wrapped(_budget(found), width)]
    for title, rows in _tables(found):
        drop = _DROP if rows[0] == _headings(found) else range(len(rows[0]) - 1, len(rows[0]) - 4, -1)
        lines = text_table(rows, width=width, left=range(_LEFT), drop=drop)
        parts.append("\n".join([wrapped(title, width), *lines]))
    return "\n\n".join([*parts, wrapped("\n".join(explanations(found)), width)])


def study_markdown(found: Study) -> str:
    """Return the comparison as a Markdown page, with compare.svg beside it."""
    parts = ["# Arms compared", _budget(found)]
    for heading, table in comparison_tables(found):
        parts += [f"## {heading}", table]
    parts.append("![Strict pass@1 by round](compare.svg)")
    parts.append("\n".join(f"- {line}" for line in explanations(found)))
    return "\n\n".join(parts) + "\n"


def comparison_tables(found: Study) -> list[tuple[str, str]]:
    """Return the headings and the tables in Markdown."""
    tables = []
    for heading, rows in _tables(found):
        rule = ["---"] * _LEFT + ["---:"] * (len(rows[0]) - _LEFT)
        tables.append((heading, "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))))
    return tables


def explanations(found: Study) -> list[str]:
    """Return what the errors and the columns mean, and what was not as planned."""
    return [*reservations(found)[:1], *COLUMNS, *reservations(found)[1:]]


def reservations(found: Study) -> list[str]:
    """Return what the errors are over, and what was not as planned."""
    return [_errors(found), *_notes(found)]


def _tables(found: Study) -> list[tuple[str, list[list[str]]]]:
    searched = [(_search_title(found), _search_rows(found))] if found.search else []
    return [
        (
            "At the round that each arm's own choosing problems chose, on the other held-out problems",
            [_headings(found), *(_row(arm, arm.chosen, _unit(found)[1]) for arm in found.arms)],
        ),
        (
            "At the last round, on all held-out problems",
            [_headings(found), *(_row(arm, arm.last, _unit(found)[1]) for arm in found.arms)],
        ),
        *searched,
    ]


def _search_title(found: Study) -> str:
    first = found.search[0]
    return (
        f"Learning rates: strict pass@1 on {counted(first.held_back, 'training problem')} held back, after "
        f"{counted(first.rounds, 'round')} at each rate; the best is taken"
    )


def _search_rows(found: Study) -> list[list[str]]:
    name, unit = _unit(found)
    rates = list(found.search[0].strict)
    rows = [["arm", *(f"{rate:g}" for rate in rates), "taken", "sampled", name, "min"]]
    for each in found.search:
        flops = "" if each.flops is None else f"{each.flops / unit:.3g}"
        taken = f"{each.chosen:g}" + (" (edge)" if each.at_the_edge else "")
        scores = [f"{100 * each.strict[rate]:.1f}" for rate in rates]
        rows.append([each.arm, *scores, taken, f"{each.tokens_sampled / 1000:,.0f}k", flops, f"{each.minutes:.1f}"])
    return rows


def _headings(found: Study) -> list[str]:
    k = found.arms[0].k
    return [
        "arm",
        "round",
        "strict pass@1",
        "lenient",
        "greedy",
        f"pass@{k}",
        f"maj@{k}",
        "diversity",
        f"strict - {found.reference} [95 %]",
        "p, Holm",
        "lenient - [95 %]",
        "greedy - [95 %]",
        "sampled",
        "trained",
        "examples",
        "min",
        _unit(found)[0],
        f"points/{_unit(found)[0]}",
    ]


def _row(arm: ArmResult, scores: Scores, unit: float) -> list[str]:
    votes = scores.pass_at_k is None
    cost = arm.cost
    return [
        arm.name + (f" (maj@{arm.k})" if votes else ""),
        _rounds(scores.rounds),
        _percent(scores.strict),
        _percent(scores.lenient),
        _percent(scores.greedy),
        _percent(scores.pass_at_k),
        "" if votes else _percent(scores.maj_at_k),
        _number(scores.variety),
        _gain(scores.strict_gain),
        "" if scores.strict_gain is None else p_cell(scores.strict_gain.p_holm),
        _gain(scores.lenient_gain),
        _gain(scores.greedy_gain),
        _count(cost.tokens_sampled),
        _count(cost.tokens_trained),
        f"{cost.examples.mean:,.0f}",
        f"{cost.minutes.mean:.1f}",
        "" if cost.flops is None else f"{cost.flops.mean / unit:.3g}",
        "" if scores.per_flop is None else f"{100 * unit * scores.per_flop.mean:.3g}",
    ]


def _unit(found: Study) -> tuple[str, float]:
    """Return the name and the size of the unit that the reference arm's operations are told in."""
    cost = found.arms[0].cost.flops
    power = 4 if cost is None or not cost.mean else min(7, max(3, int(math.log10(cost.mean) // 3)))
    return f"{_PREFIXES[power - 3]}FLOP", 1000.0**power


def _budget(found: Study) -> str:
    budget = {
        "examples": "as many examples a round",
        "rounds": "as many rounds",
        "tokens": f"as many sampled tokens as {found.reference}",
        "flops": f"as much arithmetic as {found.reference} to sample and train",
    }
    said = budget.get(
        str(found.budget), f"about {found.budget:,} sampled tokens" if isinstance(found.budget, int) else ""
    )
    seeds = counted(len(found.seeds), "seed")
    base = found.base[0]
    return f"Budget of every arm: {said}; {seeds}. The base model: {_percent(base)} strict pass@1."


def _errors(found: Study) -> str:
    adjusted = (
        f"each interval holds by itself, p is adjusted for the {counted(len(found.arms) - 1, 'arm')} compared (Holm), strict, "
        "lenient and greedy apart"
    )
    if len(found.seeds) == 1:
        return (
            "One seed: no error over seeds. Intervals and p: a bootstrap over problems of the paired differences, which says "
            f"nothing of another seed; {adjusted}."
        )
    return (
        f"±: one standard error over the {len(found.seeds)} seeds. Intervals and p: a bootstrap over seeds and "
        f"problems of the paired differences; {adjusted}."
    )


def _notes(found: Study) -> list[str]:
    notes = []
    for arm in found.arms:
        notes += [f"{arm.name}: {note}" for note in arm.notes[:3]]
        if len(arm.notes) > 3:
            notes.append(f"{arm.name}: and {len(arm.notes) - 3} more such notes, see compare.json")
    return notes


def _rounds(rounds: Sequence[int]) -> str:
    return str(rounds[0]) if len(set(rounds)) == 1 else " ".join(map(str, rounds))


def _percent(found: Estimate | None) -> str:
    if found is None:
        return ""
    return f"{100 * found.mean:.1f}" + ("" if math.isnan(found.stderr) else f" ± {100 * found.stderr:.1f}")


def _number(found: Estimate | None) -> str:
    if found is None:
        return ""
    return f"{found.mean:.2f}" + ("" if math.isnan(found.stderr) else f" ± {found.stderr:.2f}")


def _count(found: Estimate) -> str:
    return f"{found.mean / 1000:,.0f}k" if found.mean >= 10_000 else f"{found.mean:,.0f}"


def _gain(gain: Gain | None) -> str:
    return "" if gain is None else f"{points(gain.mean)} [{points(gain.low)}, {points(gain.high)}]"
