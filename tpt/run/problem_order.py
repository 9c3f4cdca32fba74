"""In which order a round walks its problems: at random, or as a function of the user's own has it.

Sampling until a set is full and choosing that set walk the same order; so where a function gives it, it is asked with the
same random source both times, and what it is told of earlier rounds stands in finished files.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tpt.errors import OwnCodeError
from tpt.records import Outcome, Problem, Verdict
from tpt.run.stage import StageContext
from tpt.seeds import seed_for, shuffled
from tpt.system.jsonl import iterate_records
from tpt.system.own_code import call_own_code


class Tried(NamedTuple):
    """How often a problem was tried in the rounds before, and with what success."""

    samples: int
    right: int


def problem_order(problem_ids: Sequence[str], seed: int, round_index: int) -> list[str]:
    """Return the random order in which a round walks its problems, the same for sampling and selection."""
    return shuffled(list(problem_ids), seed, "problem order", round_index)


def walked_order(context: StageContext, problems: Mapping[str, Problem]) -> list[str]:
    """Return the ids of the problems that a round walks, in order; ``think.order`` may leave some out.

    Raises:
        OwnCodeError: think.order raises, or returns anything but ids of these problems, each once.
    """
    name, seed, index = context.config.think.order, context.config.seed, context.round_dir.index
    if not name:
        return problem_order(list(problems), seed, index)
    source = random.Random(seed_for(seed, "own order", index))
    order = call_own_code(name, list(problems.values()), _tried(context, problems), source)
    if not isinstance(order, list) or not all(isinstance(each, str) and each in problems for each in order):
        raise OwnCodeError(f"think.order = {name}: it must return a list of ids of the problems it was given")
    if len(set(order)) != len(order) or not order:
        raise OwnCodeError(f"think.order = {name}: it returned {'a problem twice' if order else 'no problems'}")
    return order


def _tried(context: StageContext, problems: Mapping[str, Problem]) -> dict[str, Tried]:
    found = dict.fromkeys(problems, Tried(0, 0))
    for index in range(1, context.round_dir.index):
        for verdict in iterate_records(context.run.round(index).verdicts, Verdict):
            if verdict.problem_id in found:
                samples, right = found[verdict.problem_id]
                found[verdict.problem_id] = Tried(samples + 1, right + (verdict.outcome is Outcome.CORRECT))
    return found
