"""So many problems a round, drawn anew: what makes methods that sample every problem as often as cheap as the plain loop.

Objective: the method's own, on problems drawn at random.

    [think]
    sampler = "fixed"
    order = "part.py:part"
"""

import random
from typing import Any

from tpt import Problem

SHARE = 0.1


def part(problems: list[Problem], tried: dict[str, Any], source: random.Random) -> list[str]:
    return [problem.id for problem in source.sample(problems, max(1, round(SHARE * len(problems))))]
