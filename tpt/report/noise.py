"""What traces say about their problems, as text to read."""

from __future__ import annotations

from collections import Counter

from tpt.audit.label_noise import Disagreement, Suspect, TraceCheck
from tpt.system.terminal import printable

SHOWN = 20
"""Entries of each list that are printed; JSON has all."""


def trace_check_text(found: TraceCheck) -> str:
    """Return the suspects and disagreements, the most telling first, safe to print."""
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in found.outcomes.items() if count)
    lines = [f"{found.traces:,} traces of {found.problems:,} problems: {outcomes}", ""]
    lines.append(f"{len(found.suspects):,} gold answers to look at: most samples agree on another one")
    for suspect in found.suspects[:SHOWN]:
        lines += _suspect_lines(suspect)
    lines += _rest(len(found.suspects))
    lines += ["", f"{len(found.disagreements):,} verdicts that another check would not give"]
    # What is right but in another format is usual, so those come last.
    ordered = sorted(found.disagreements, key=lambda each: each.rejected_by == "strict")
    sorts = Counter((each.accepted_by, each.rejected_by) for each in ordered)
    lines += [f"  accepted by {yes}, rejected by {no}: {count:,}" for (yes, no), count in sorts.items()]
    lines += [_disagreement_line(each) for each in ordered[:SHOWN]]
    return printable("\n".join([*lines, *_rest(len(ordered))]))


def _suspect_lines(suspect: Suspect) -> list[str]:
    question = " ".join(suspect.question.split())
    return [
        f"  {suspect.problem_id}: gold {suspect.gold}, but {suspect.agree} of {suspect.samples} samples say "
        f"{suspect.answer}, {suspect.correct} say the gold",
        f"    {question[:300]}{'…' if len(question) > 300 else ''}",
    ]


def _disagreement_line(each: Disagreement) -> str:
    return (
        f"  {each.problem_id}, sample {each.sample}: gold {each.gold}; {each.accepted_by} read "
        f"{each.accepted_answer} and accepts, {each.rejected_by} read {each.rejected_answer} and does not"
    )


def _rest(count: int) -> list[str]:
    return [f"  and {count - SHOWN:,} more: --format json lists them"] if count > SHOWN else []
