"""All right traces of a problem, which share one weight: 1 over their number.

Objective: the gradient of the plain loop, (1 - (1 - p)^N) ∇log p in expectation, with less variance than one trace drawn at
random, as it is the mean over that draw (MaxRL of order N, arXiv 2602.02710). With weights of 1 it would be N ∇p.

    [think]
    sampler = "fixed"
    [prune]
    per_problem = "all"
    dedupe = "none"
    weigh = "per_problem.py:weigh"
"""

from tpt import Problem, Trace, Verdict


def weigh(problem: Problem, pairs: list[tuple[Trace, Verdict]]) -> list[float]:
    return [1 / len(pairs)] * len(pairs)
