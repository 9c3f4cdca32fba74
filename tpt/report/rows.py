"""What a report says of each round, computed once for every form of it."""

from __future__ import annotations

from dataclasses import dataclass

from tpt.evaluate import problem_scores
from tpt.jsonl import read_records
from tpt.records import Estimate, RoundRecord, Verdict
from tpt.run_dir import RunDir
from tpt.stats import PairedDifference, paired_difference


@dataclass(frozen=True, slots=True)
class Row:
    """One round, as the reports show it."""

    round: int
    best: bool
    strict: Estimate
    lenient: Estimate
    k: int
    pass_at_k: Estimate
    """Strict pass@k for the largest k."""
    gain: PairedDifference | None
    """Strict pass@1 less the base model's, paired by problem; None for the base model itself, and where a single
    problem leaves nothing to pair."""
    gain_lenient: PairedDifference | None
    solved: int | None
    """Training problems with a keepable trace."""
    examples: int | None
    tokens: int
    """Completion tokens sampled, for training (the unneeded ones too) and for evaluation."""
    wall_s: float


def report_rows(run: RunDir, records: list[RoundRecord], *, best: int) -> list[Row]:
    """Return one row per finished round."""
    base = _scores(run, 0) if records else {}
    return [_row(run, record, base, best=best) for record in records]


def _row(run: RunDir, record: RoundRecord, base: dict[str, tuple[float, float]], *, best: int) -> Row:
    report = record.evaluate
    k = max(report.pass_at_k)
    scores = _scores(run, record.index) if record.index else {}
    gains = [
        paired_difference([scores[key][part] for key in base], [base[key][part] for key in base])
        if scores and len(base) > 1
        else None
        for part in (0, 1)
    ]
    return Row(
        round=record.index,
        best=record.index == best,
        strict=report.pass_at_k[1],
        lenient=report.pass_at_k_lenient[1],
        k=k,
        pass_at_k=report.pass_at_k[k],
        gain=gains[0],
        gain_lenient=gains[1],
        solved=record.prune["solved_problems"] if record.prune else None,
        examples=record.prune["examples"] if record.prune else None,
        tokens=round(report.lengths["mean"] * report.problems * report.samples)
        + sum((record.think or {}).get(key, 0) for key in ("completion_tokens", "surplus_tokens", "cancelled_tokens")),
        wall_s=record.wall_s,
    )


def _scores(run: RunDir, index: int) -> dict[str, tuple[float, float]]:
    return problem_scores(read_records(run.round(index).evaluate_verdicts, Verdict))
