"""Easy problems first: the levels open one by one, a level as soon as most of its samples were right in the rounds before.

Objective: the plain loop's on a distribution of problems that widens. Needs problems with a level, which are compared as
numbers where they are numbers.

    [think]
    order = "curriculum.py:order"
"""

import random
from typing import Any

from tpt import Problem

MASTERED = 0.6


def order(problems: list[Problem], tried: dict[str, Any], source: random.Random) -> list[str]:
    chosen: list[str] = []
    for level in sorted({problem.level for problem in problems}, key=_rank):
        ids = [problem.id for problem in problems if problem.level == level]
        chosen += ids
        samples, right = (sum(getattr(tried[each], name) for each in ids) for name in ("samples", "right"))
        if right < MASTERED * max(1, samples):
            break
    source.shuffle(chosen)
    return chosen


def _rank(level: str) -> tuple[int, float, str]:
    number = level.removeprefix("Level ").strip()
    return (0, float(number), "") if number.replace(".", "", 1).isdigit() else (1, 0.0, level)
