"""The round table for a terminal, the run in a sentence, and model output made safe to print."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tpt.evidence import Difference, Evidence
from tpt.records import Estimate
from tpt.report.rows import RoundRow
from tpt.report.sentences import (
    claim_text,
    coverage_text,
    finding_word,
    gain_text,
    heldout_unit,
    part_text,
    power_text,
)
from tpt.system.terminal import text_table
from tpt.system.words import counted, score_text


class _Column(NamedTuple):
    """A column of the round table."""

    heading: str
    """``{k}`` stands for the largest k."""
    place: int
    """The lower, the longer it stays where the table is too wide."""
    cell: Callable[[RoundRow], str]


def _score(estimate: Estimate | None) -> str:
    return "" if estimate is None else score_text(estimate)


_COLUMNS = (
    _Column("round", 0, lambda row: f"{'*' if row.best else ''}{row.round}"),
    _Column("strict", 0, lambda row: score_text(row.strict)),
    _Column("lenient", 7, lambda row: score_text(row.lenient)),
    _Column("greedy", 1, lambda row: _score(row.greedy)),
    _Column("maj@{k}", 9, lambda row: _score(row.majority)),
    _Column("pass@{k}", 8, lambda row: score_text(row.pass_at_k)),
    _Column("gain [95 %]", 2, lambda row: gain_text(row.gain)),
    _Column("vs base", 6, lambda row: finding_word(row.gain)),
    _Column("format", 4, lambda row: part_text(row.format)),
    _Column("sharpening", 5, lambda row: part_text(row.sharpening)),
    _Column("skill [95 %]", 3, lambda row: gain_text(row.skill)),
    _Column("vs last", 12, lambda row: finding_word(row.step)),
    _Column("set", 10, lambda row: "" if row.examples is None else f"{row.examples:,}"),
    _Column("tokens", 13, lambda row: _short(row.tokens)),
    _Column("min", 11, lambda row: f"{row.wall_s / 60:.1f}"),
)


def round_table(rows: Sequence[RoundRow], *, width: int | None = None) -> list[str]:
    """Return the rounds as lines of a table; the best one is marked with a star.

    Where ``width`` characters are too few, the least important columns are left out; None: all of them stay.
    """
    order = sorted(range(len(_COLUMNS)), key=lambda index: -_COLUMNS[index].place)
    return text_table([headings(rows), *map(cells, rows)], width=width, left=(), drop=order[:-2])


def headings(rows: Sequence[RoundRow]) -> list[str]:
    """Return the headings of the round table."""
    return [column.heading.format(k=max((row.k for row in rows), default="k")) for column in _COLUMNS]


def cells(row: RoundRow) -> list[str]:
    """Return a line of the round table."""
    return [column.cell(row) for column in _COLUMNS]


def headline(evidence: Evidence) -> str:
    """Return what the run achieved, in a sentence or three; the claim is about problems that did not choose the round."""
    if not evidence.rounds:
        return "No round is finished yet."
    base = evidence.rounds[0]
    if evidence.best == base.round:
        return f"{unclaimed(evidence)} {unclaimed_gain(evidence)}".strip()
    claim = evidence.claim
    if claim is None:
        return untested(evidence)
    borne = "that had no part in picking it" if claim.independent else "that also picked it, so biased upwards"
    return f"Round {claim.round} is the best. On the {claim.problems:,} held-out problems {borne}, {claim_text(claim)}"


def untested(evidence: Evidence) -> str:
    """Return what to say of a best round whose gain nothing is left to test."""
    base, best = evidence.rounds[0], next(card for card in evidence.rounds if card.best)
    return (
        f"Round {best.round} is the best: strict pass@1 went from {base.strict.mean:.1%} to {best.strict.mean:.1%}, lenient "
        f"from {base.lenient.mean:.1%} to {best.lenient.mean:.1%}. Whether that is chance cannot be told: "
        f"a single {heldout_unit(evidence)} is there to claim it on."
    )


def unclaimed(evidence: Evidence) -> str:
    """Return what to say while the base model is the best, which is for the choosing problems to decide."""
    base = evidence.rounds[0]
    if len(evidence.rounds) == 1:
        return f"Only the model that the run starts from is scored: its strict pass@1 is {score_text(base.strict)}."
    if not is_compared(evidence):
        return (
            f"No round can be compared with the base model: a single {heldout_unit(evidence)} leaves nothing to pair."
        )
    if evidence.choosing == base.problems:
        said = f"No round beat the base model ({score_text(base.strict)} strict pass@1) by more than noise."
    else:
        said = (
            f"No round beat the base model by more than noise on the {evidence.choosing:,} held-out problems that pick the "
            "best round, so the base model stays the best."
        )
    told = [f"round {index} ({gain_text(found)} points)" for index, found in losses(evidence)]
    if not told:
        return said
    which = f"{told[0]} is a loss" if len(told) == 1 else f"{', '.join(told)} are losses"
    return f"{said} {which[0].upper()}{which[1:]}, on all {base.problems:,}."


def is_compared(evidence: Evidence) -> bool:
    """Tell whether any round is compared with the base model."""
    return any(card.to_base for card in evidence.rounds)


def losses(evidence: Evidence) -> list[tuple[int, Difference]]:
    """Return the rounds that are worse than the base model, with their strict change on all problems."""
    changes = [(card.round, card.to_base.strict) for card in evidence.rounds if card.to_base]
    return [(index, found) for index, found in changes if found.finding == "loss"]


def unclaimed_gain(evidence: Evidence) -> str:
    """Return what the choosing problems alone do not see, when all problems together show a gain; else nothing."""
    if (found := unstarred_gain(evidence)) is None:
        return ""
    index, most = found
    too_few = evidence.choosing_units < evidence.needed_for_star
    more = f"{'' if evidence.clusters is None else 'clusters of '}held-out problems"
    return (
        f"On all {evidence.rounds[0].problems:,}, round {index} is a gain ({gain_text(most)} points): more {more}"
        f"{'' if too_few else ' or samples (evaluate.samples)'} would settle it."
    )


def unstarred_gain(evidence: Evidence) -> tuple[int, Difference] | None:
    """Return the round that gains most on all held-out problems, where that is a gain, while none is the best one."""
    gains = [(card.round, card.to_base.strict) for card in evidence.rounds if card.to_base]
    most = max(gains, key=lambda gain: gain[1].mean, default=None)
    return most if most and most[1].finding == "gain" else None


def notes(evidence: Evidence) -> list[str]:
    """Return what the table does not show: what the evaluation could see, and what was won and lost."""
    best = next((card for card in evidence.rounds if card.best), None)
    if best is None:
        return []
    if (models := len(evidence.rounds)) > 1:
        tries = f"any of {models} x {best.samples} samples"
    else:
        tries = "any of " * (best.samples > 1) + counted(best.samples, "sample")
    found = [
        f"Never solved by {tries}: {len(evidence.never_solved):,} of {counted(best.problems, 'problem')} strictly, "
        f"{len(evidence.never_solved_lenient):,} leniently."
    ]
    last = evidence.rounds[-1]
    for card in [best] if best is last else [best, last]:
        if card.to_base:
            found.append(f"Round {card.round} against the base model: {coverage_text(card.to_base)}.")
    return found + power_text(evidence)


def _short(count: int) -> str:
    """Return a count in at most five characters or so: 950, 12.3k, 4.6M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 100 * size else f"{count / size:.0f}{unit}"
    return str(count)
