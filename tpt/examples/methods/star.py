"""STaR with its rationalisation: a problem that some samples did not solve is asked again with the answer as a hint.

Objective: as the plain loop for problems that the model solves; for the others, the model's own most plausible way to the
known answer, trained on without the hint (arXiv 2203.14465). Such a trace is right by its end and may be reasoned
backwards: watch the share of hinted examples.

    preset = "star"
    [think]
    sampler = "until_full"
    samples = 8
    hint_by = "star.py:answer"
    [prune]
    per_problem = 1
"""

from tpt import Problem

UNHINTED = 4
"""Samples without a hint that a problem gets first."""


def answer(problem: Problem, sample: int) -> str:
    return f"(The answer is {problem.answer}.)" if sample >= UNHINTED else ""
