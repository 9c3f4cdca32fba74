"""What did the rounds really do? Scores with their noise, gains in their three parts, problems won and lost."""

from __future__ import annotations

from tpt.evidence.cards import Claim, Comparison, Coverage, Difference, Evidence, Finding, Group, GroupRound, RoundCard
from tpt.evidence.rounds import evidence_of
from tpt.evidence.runs import Pair, RunComparison, Side, compare_runs

__all__ = [
    "Claim",
    "Comparison",
    "Coverage",
    "Difference",
    "Evidence",
    "Finding",
    "Group",
    "GroupRound",
    "Pair",
    "RoundCard",
    "RunComparison",
    "Side",
    "compare_runs",
    "evidence_of",
]
