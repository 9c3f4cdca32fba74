"""What an arm has spent, and how many rounds its budget is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tpt.compare.arms import MOST_ROUNDS, Arm, StudyPlan
from tpt.records import RoundRecord, think_tokens

BY_REFERENCE = ("tokens", "flops")
"""Budgets that are what the reference arm with the same seed spent."""
_ADAPTERS = ("lora", "dora", "qlora")


def sampled_completions(record: RoundRecord) -> int:
    """Return how many completions a round sampled to learn from, thrown away or broken off ones too."""
    counts = record.think or {}
    if "completion_tokens" not in counts:
        return 0
    return sum(int(counts.get(part, 0)) for part in ("traces", "surplus_traces", "cancelled_requests"))


def flops(record: RoundRecord) -> float | None:
    """Return the floating-point operations of a round's samples and training; None: an earlier version did not count them.

    With P weights a token that is sampled, or read as part of a prompt, takes 2 P, and one of a training row 6 P, or 4 P
    where an adapter learns and the weights stay (Kaplan et al., arXiv 2001.08361). Left out: attention to earlier tokens,
    the optimizer's step, activations computed twice, and whatever verifies and scores.
    """
    if not record.train:
        return 0.0
    think, train = record.think or {}, record.train
    weights, rows, prompts = train.get("parameters"), train.get("total_tokens"), think.get("prompt_tokens")
    if prompts is None and not sampled_completions(record):
        prompts = 0
    if weights is None or rows is None or prompts is None:
        return None
    is_adapter = train.get("method") in _ADAPTERS
    return operations(weights, read=think_tokens(record) + prompts, trained=rows, is_adapter=is_adapter)


def operations(weights: int, *, read: float, trained: float = 0, is_adapter: bool = False) -> float:
    """Return the operations of tokens that are sampled or read, and of those of training rows; see ``flops``."""
    return float(weights * (2 * read + (4 if is_adapter else 6) * trained))


def spent(records: Sequence[RoundRecord]) -> int:
    """Return the tokens sampled to learn from in all rounds."""
    return sum(map(think_tokens, records))


def spent_flops(records: Sequence[RoundRecord]) -> float | None:
    """Return the operations of all rounds; None: those of some are not known."""
    found = [flops(record) for record in records]
    known = [each for each in found if each is not None]
    return sum(known) if len(known) == len(found) else None


def minutes(records: Sequence[RoundRecord]) -> float:
    """Return the minutes to think, prune and train in all rounds."""
    stages = [counts for each in records for counts in (each.think, each.prune, each.train) if counts]
    return float(sum(counts["wall_s"] for counts in stages) / 60)


@dataclass(frozen=True, slots=True)
class Limit:
    """How far an arm goes on."""

    rounds: int
    """Done in any case, and by an arm whose rounds cost nothing of what is counted."""
    most: int
    """Rounds at most."""
    spend: float = 0.0
    """What all rounds may cost; by it GRPO goes too, whose training is one round."""
    is_flops: bool = False
    """Whether that is operations; otherwise it is sampled tokens."""

    def cost(self, record: RoundRecord) -> float:
        """Return what a round cost."""
        return (flops(record) or 0.0) if self.is_flops else float(think_tokens(record))

    def allows_round_after(self, records: Sequence[RoundRecord]) -> bool:
        """Return whether a further round is to be done.

        It is begun when, costing what the last one did, it ends nearer to the budget than stopping would.

        The records are those of the finished rounds, the base model's first.
        """
        done = len(records) - 1
        if self.most == self.rounds or done < 1:
            return done < min(self.rounds, self.most)
        last = self.cost(records[-1])
        if not last:
            return done < self.rounds
        return done < self.most and sum(map(self.cost, records)) + last / 2 <= self.spend


def limit_of(arm: Arm, plan: StudyPlan, *, reference: Sequence[RoundRecord]) -> Limit:
    """Return how far an arm goes on.

    ``reference``: the reference arm's finished rounds with the same seed.
    """
    is_flops = plan.budget == "flops"
    spend = float(plan.budget) if isinstance(plan.budget, int) else float(spent(reference))
    if is_flops:
        spend = spent_flops(reference) or 0.0
    if arm.votes:
        return Limit(0, 0)
    if arm.reinforced:
        return Limit(1, 1, spend, is_flops)
    by_reference = plan.budget in BY_REFERENCE and arm.name != plan.reference.name
    if not by_reference and not isinstance(plan.budget, int):
        return Limit(arm.rounds, arm.rounds)
    return Limit(arm.rounds, most_rounds(arm), spend, is_flops)


def most_rounds(arm: Arm) -> int:
    """Return how many rounds an arm may do for its budget."""
    return 1 if arm.preset == "one-big-round" else MOST_ROUNDS * arm.rounds
