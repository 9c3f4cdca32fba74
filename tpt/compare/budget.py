"""What an arm has spent, and how many rounds its budget is for."""

from __future__ import annotations

from collections.abc import Sequence

from tpt.compare.arms import MOST_ROUNDS, Arm, StudyPlan
from tpt.records import RoundRecord


def sampled_tokens(record: RoundRecord) -> int:
    """Return the tokens that a round sampled to learn from: those of traces kept, thrown away, or broken off."""
    counts = record.think or {}
    return sum(int(counts.get(part, 0)) for part in ("completion_tokens", "surplus_tokens", "cancelled_tokens"))


def sampled_completions(record: RoundRecord) -> int:
    """Return how many completions a round sampled to learn from, thrown away or broken off ones too."""
    counts = record.think or {}
    if "completion_tokens" not in counts:
        return 0
    return sum(int(counts.get(part, 0)) for part in ("traces", "surplus_traces", "cancelled_requests"))


def spent(records: Sequence[RoundRecord]) -> int:
    """Return the tokens sampled to learn from in all rounds."""
    return sum(map(sampled_tokens, records))


def token_budget(plan: StudyPlan, reference: Sequence[RoundRecord]) -> int:
    """Return the tokens that an arm may sample, where it goes by tokens: the number given, or the reference arm's."""
    return plan.budget if isinstance(plan.budget, int) else spent(reference)


def next_round(
    arm: Arm, records: Sequence[RoundRecord], plan: StudyPlan, *, reference: Sequence[RoundRecord]
) -> int | None:
    """Return which round an arm is to go on to; None when it is done.

    Under a budget of tokens a further round is begun when, costing what the last one did, it ends nearer to the budget
    than stopping would. An arm that samples nothing does the base's rounds.

    Args:
        arm: The arm.
        records: Its finished rounds, the base model's first.
        plan: With the budget.
        reference: The reference arm's finished rounds with the same seed.
    """
    done = len(records) - 1
    if arm.votes:
        return 0 if done < 0 else None
    if arm.reinforced:
        return 1 if done < 1 else None
    free = plan.budget not in ("examples", "rounds") and not (
        plan.budget == "tokens" and arm.name == plan.reference.name
    )
    if not free or (done > 0 and not sampled_tokens(records[-1])):
        return arm.rounds if done < arm.rounds else None
    if done < 1:
        return 1
    if done >= most_rounds(arm):
        return None
    nearer = spent(records) + sampled_tokens(records[-1]) / 2 <= token_budget(plan, reference)
    return done + 1 if nearer else None


def most_rounds(arm: Arm) -> int:
    """Return how many rounds an arm may do for its tokens."""
    return 1 if arm.preset == "one-big-round" else MOST_ROUNDS * arm.rounds
