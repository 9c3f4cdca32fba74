"""No gold answers: the answer that most samples of a problem agree on is taken for the right one.

Objective: the model's own majority, right or wrong. It gains while the majority is right and then collapses into agreeing
with itself (arXiv 2505.21444): the arm that alarms must catch.

    [think]
    sampler = "fixed"
    [prune]
    per_problem = 1
    keep = "vote.py:keep"
    weigh = "vote.py:weigh"
"""

from collections import Counter

from tpt import Problem, Trace, Verdict


def keep(problem: Problem, trace: Trace, verdict: Verdict) -> bool:
    return bool(verdict.extracted)


def weigh(problem: Problem, pairs: list[tuple[Trace, Verdict]]) -> list[float]:
    (answer, votes), *_ = Counter(verdict.extracted for _, verdict in pairs).most_common()
    return [float(verdict.extracted == answer and votes > 1) for _, verdict in pairs]
