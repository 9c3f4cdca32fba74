"""Problems by need: those tried least come first, of these those solved least often; ties at random.

Objective: as the plain loop on the problems that are reached, which are no longer a random set of the solved ones: with
until_full the set is of hard problems as far as they can be solved. After AdaSTaR (arXiv 2505.16322), without its schedule.

    [think]
    order = "by_need.py:order"
"""

import random
from typing import Any

from tpt import Problem


def order(problems: list[Problem], tried: dict[str, Any], source: random.Random) -> list[str]:
    ids = [problem.id for problem in problems]
    source.shuffle(ids)
    return sorted(ids, key=lambda each: (tried[each].samples, tried[each].right / max(1, tried[each].samples)))
