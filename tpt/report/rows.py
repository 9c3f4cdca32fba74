"""What a report says of each round, computed once for every form of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tpt.evidence import Difference, Evidence, RoundCard
from tpt.records import Estimate, RoundRecord, evaluate_tokens, think_tokens


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round, as the reports show it."""

    round: int
    best: bool
    strict: Estimate
    lenient: Estimate
    greedy: Estimate | None
    """Lenient score of one greedy sample a problem; None: not taken."""
    majority: Estimate | None
    """Lenient score of the most frequent answer among all samples."""
    k: int
    pass_at_k: Estimate
    """Strict pass@k for the largest k."""
    gain: Difference | None
    """Strict pass@1 less the base model's, paired by problem; None for the base model itself, and where a single
    problem leaves nothing to pair."""
    gain_lenient: Difference | None
    format: Difference | None
    """The parts of the strict gain, see docs/evidence.md."""
    sharpening: Difference | None
    skill: Difference | None
    step: Difference | None
    """Strict pass@1 less that of the round before."""
    solved: int | None
    """Training problems with a keepable trace."""
    examples: int | None
    tokens: int
    """Completion tokens sampled, for training (the unneeded ones too) and for evaluation."""
    wall_s: float


def report_rows(records: Sequence[RoundRecord], evidence: Evidence) -> list[RoundRow]:
    """Return one row per finished round."""
    return [_row(record, card) for record, card in zip(records, evidence.rounds, strict=True)]


def _row(record: RoundRecord, card: RoundCard) -> RoundRow:
    report = record.evaluate
    k = max(report.pass_at_k)
    base = card.to_base
    return RoundRow(
        round=record.index,
        best=card.best,
        strict=card.strict,
        lenient=card.lenient,
        greedy=card.greedy_lenient,
        majority=card.maj_at_k.get(k),
        k=k,
        pass_at_k=card.pass_at_k[k],
        gain=base.strict if base else None,
        gain_lenient=base.lenient if base else None,
        format=base.format if base else None,
        sharpening=base.sharpening if base else None,
        skill=base.skill if base else None,
        step=card.to_previous.strict if card.to_previous else None,
        solved=record.prune["solved_problems"] if record.prune else None,
        examples=record.prune["examples"] if record.prune else None,
        tokens=evaluate_tokens(record) + think_tokens(record),
        wall_s=record.wall_s,
    )
