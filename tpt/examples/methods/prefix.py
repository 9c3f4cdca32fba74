"""Hard problems by a start of their solution: shown only where samples without it failed, longer the longer they fail.

Objective: traces of problems that the model never solves, from the part of the way that it cannot find itself, trained on
without it. After POPE (arXiv 2601.18779), of which only the abstract was read: there the prefix is at most a quarter of the
solution. Needs problems with a solution.

    [think]
    samples = 8
    hint_by = "prefix.py:prefix"
"""

from tpt import Problem

UNHINTED = 4
LONGEST = 0.25


def prefix(problem: Problem, sample: int) -> str:
    words = (problem.solution or "").split()
    share = LONGEST * (sample - UNHINTED + 1) / UNHINTED
    shown = words[: int(len(words) * min(share, LONGEST))]
    return f"The solution begins: {' '.join(shown)}" if sample >= UNHINTED and shown else ""
