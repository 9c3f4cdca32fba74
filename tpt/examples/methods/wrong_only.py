"""Negative sample reinforcement: right traces at a tenth of the weight, wrong ones at -1 (arXiv 2506.01347).

Objective: the policy gradient of a reward of 0.1 for right and -1 for wrong, at the sampling model: 0.1 ∇log p of right
traces less ∇log p of wrong ones. What is taken from wrong traces goes to whatever else the model believes, so it keeps its
variety. The loss has no lower bound: one epoch at a low rate.

    [think]
    sampler = "fixed"
    [prune]
    per_problem = "all"
    keep = "negatives.py:keep"
    weigh = "wrong_only.py:weigh"
"""

from tpt import Outcome, Problem, Trace, Verdict

RIGHT = 0.1


def weigh(problem: Problem, pairs: list[tuple[Trace, Verdict]]) -> list[float]:
    return [RIGHT if verdict.outcome is Outcome.CORRECT else -1.0 for _, verdict in pairs]
