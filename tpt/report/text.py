"""The round table for a terminal, the run in a sentence, and model output made safe to print."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from rich.table import Table

from tpt.evidence import Comparison, Difference, Evidence, Interval
from tpt.records import Estimate
from tpt.report.rows import RoundRow

_HEADINGS = (
    "round",
    "pass@1 strict",
    "lenient",
    "pass@{k}",
    "gain [95 %]",
    "vs base",
    "skill",
    "format",
    "vs last",
    "set",
    "tokens",
    "min",
)


def round_table(rows: Sequence[RoundRow]) -> Table:
    """Return the rounds as a rich table; the best one is marked with a star."""
    table = Table(box=None, pad_edge=False)
    for heading in headings(rows):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*cells(row), style="bold" if row.best else "")
    return table


def headings(rows: Sequence[RoundRow]) -> list[str]:
    """Return the headings of the round table."""
    return [heading.format(k=max((row.k for row in rows), default="k")) for heading in _HEADINGS]


def cells(row: RoundRow) -> list[str]:
    """Return a line of the round table."""
    return [
        f"{'*' if row.best else ''}{row.round}",
        score_text(row.strict),
        score_text(row.lenient),
        score_text(row.pass_at_k),
        gain_text(row.gain),
        _word(row.gain),
        _part(row.skill),
        _part(row.format),
        _word(row.step),
        "" if row.examples is None else f"{row.examples:,}",
        _short(row.tokens),
        f"{row.wall_s / 60:.1f}",
    ]


def headline(evidence: Evidence) -> str:
    """Return what the run achieved, in a sentence or three; the claim is about problems that did not choose the round."""
    if not evidence.rounds:
        return "No round is finished yet."
    base = evidence.rounds[0]
    if evidence.best == base.round:
        return f"{unclaimed(evidence)} {unclaimed_gain(evidence)}".strip()
    claim = evidence.claim
    if claim is None:
        best = next(card for card in evidence.rounds if card.best)
        return (
            f"Round {evidence.best} is the best: strict pass@1 went from {base.strict.mean:.1%} to {best.strict.mean:.1%}, "
            f"lenient from {base.lenient.mean:.1%} to {best.lenient.mean:.1%}."
        )
    borne = (
        f"on the {claim.problems:,} held-out problems that had no part in picking it"
        if claim.independent
        else f"on the {claim.problems:,} held-out problems that also picked it, so biased upwards"
    )
    return (
        f"Round {claim.round} is the best. {borne[0].upper()}{borne[1:]}, strict pass@1 went from "
        f"{claim.strict_before.mean:.1%} to {claim.strict_after.mean:.1%} ({gain_text(claim.strict)} points: "
        f"{claim.strict.finding}), lenient from {claim.lenient_before.mean:.1%} to {claim.lenient_after.mean:.1%} "
        f"({gain_text(claim.lenient)} points: {claim.lenient.finding}). Of the strict gain {_part(claim.skill)} points are "
        f"skill and {_part(claim.format)} format."
    )


def unclaimed(evidence: Evidence) -> str:
    """Return what to say while the base model is the best, which is for the choosing problems to decide."""
    base = evidence.rounds[0]
    if len(evidence.rounds) == 1:
        return f"Only the base model is scored so far. Its strict pass@1 is {score_text(base.strict)}."
    if evidence.choosing == base.problems:
        return f"No round beat the base model ({score_text(base.strict)} strict pass@1) by more than noise."
    return (
        f"No round beat the base model by more than noise on the {evidence.choosing:,} held-out problems that pick the best "
        "round, so the base model stays the best."
    )


def unclaimed_gain(evidence: Evidence) -> str:
    """Return what the choosing problems alone do not see, when all problems together show a gain; else nothing."""
    gains = [(card.to_base.strict, card.round) for card in evidence.rounds if card.to_base]
    most, index = max(gains, key=lambda gain: gain[0].mean, default=(None, 0))
    if most is None or most.finding != "gain":
        return ""
    return (
        f"On all {evidence.rounds[0].problems:,}, round {index} is a gain ({gain_text(most)} points): more held-out problems or "
        "samples (evaluate.samples) would settle it."
    )


def notes(evidence: Evidence) -> list[str]:
    """Return what the table does not show: what the evaluation could see, and what was won and lost."""
    best = next((card for card in evidence.rounds if card.best), None)
    if best is None:
        return []
    found = [
        f"Never solved in any round: {len(evidence.never_solved):,} of {best.problems:,} problems strictly, "
        f"{len(evidence.never_solved_lenient):,} leniently."
    ]
    last = evidence.rounds[-1]
    for card in [best] if best is last else [best, last]:
        if card.to_base:
            found.append(f"Round {card.round} against the base model: {won_and_lost(card.to_base)}.")
    seen = last.to_base or best.to_base
    if seen:
        found.append(
            f"Tested by problem, Holm over the rounds, level {evidence.level:g}; noise: a difference that is not "
            f"significant. A true difference of {100 * seen.strict.detectable:.1f} points would be detected 80 % of the time."
        )
    return found


def won_and_lost(comparison: Comparison) -> str:
    """Return how the solved problems and the pass@k curve differ from the other model's."""
    sets, crossing = comparison.coverage, comparison.crossing_k
    curve = f"pass@k is lower from k = {crossing} on" if crossing else "pass@k is not lower at the largest k"
    return f"{len(sets.gained):,} problems gained, {len(sets.lost):,} lost, {curve}"


def printable(text: str) -> str:
    """Return model output without anything a terminal would obey: control, bidi and invisible format characters."""
    return "".join(char if char in "\n\t" or not _is_control(char) else f"\\u{{{ord(char):x}}}" for char in text)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def score_text(estimate: Estimate) -> str:
    """Return a score and its standard error in percent."""
    return f"{100 * estimate.mean:.1f} ± {100 * estimate.stderr:.1f}"


def gain_text(gain: Difference | None) -> str:
    """Return a difference and its interval in points."""
    return "" if gain is None else f"{100 * gain.mean:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def _word(gain: Difference | None) -> str:
    return "" if gain is None else gain.finding.removeprefix("within ")


def _part(part: Interval | None) -> str:
    return "" if part is None else f"{100 * part.value:+.1f}"


def _short(count: int) -> str:
    """Return a count in at most five characters or so: 950, 12.3k, 4.6M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 100 * size else f"{count / size:.0f}{unit}"
    return str(count)
