"""Wrong traces too: away from them with a bounded loss, weighted so that they balance the right ones of their problem.

Objective: right traces as ever, -log p of each token; for a wrong one the surrogate p - 1 >= log p instead of log p, which is
bounded and whose gradient fades with p. After RIFT (arXiv 2601.09253), of which only the abstract was read: the surrogate is
derived here from log x <= x - 1. A problem without a right trace is left out.

    [think]
    sampler = "fixed"
    [prune]
    per_problem = "all"
    keep = "negatives.py:keep"
    weigh = "negatives.py:weigh"
    [train]
    loss = "negatives.py:loss"
"""

import torch
from torch import Tensor

from tpt import Outcome, Problem, Trace, Verdict

SHARE = 0.5
"""Weight of a problem's wrong traces together, its right ones together having 1."""


def keep(problem: Problem, trace: Trace, verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.WRONG or (verdict.outcome is Outcome.CORRECT and verdict.strict)


def weigh(problem: Problem, pairs: list[tuple[Trace, Verdict]]) -> list[float]:
    right = [verdict.outcome is Outcome.CORRECT for _, verdict in pairs]
    if not any(right):
        return [0.0] * len(pairs)
    wrong = len(right) - sum(right)
    return [1 / sum(right) if each else -SHARE / wrong for each in right]


def loss(log_p: Tensor, weight: Tensor) -> Tensor:
    return torch.where(weight > 0, -weight * log_p, -weight * (log_p.exp() - 1))
