"""Procedural programming tasks: tiny functions and programs with exact tests, two disjoint splits, no download.

A task is a family (what is asked) and its constants; a wording dresses it in a sentence. All of them can be counted, so
item i is an index into one shuffled list. The CRC-32 of family and constants says which split a task belongs to, so no
wording of a held-out task is ever trained on.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, Literal

from tpt.errors import ProblemError
from tpt.problems.procedural.tiny_families import FAMILIES, Constant, Family
from tpt.records import Problem
from tpt.seeds import seed_for

Split = Literal["train", "heldout"]

TESTS = 6
"""Tests of every task."""
LIMITS = {"time_limit_s": 2.0, "memory_mb": 256}

FUNCTION_WORDINGS = (
    "Write a Python function {call} that returns {what}.",
    "Define a function {call} in Python. It takes {takes} and returns {what}.",
    "Implement {call}: given {takes}, return {what}.",
)
PROGRAM_WORDINGS = (
    "Read {reads} from standard input and print {what}.",
    "Write a Python program that reads {reads} from standard input and prints {what}.",
)
_HELDOUT_SHARE = 4
_MOST_DRAWS = 2000
_SAME_RESULT = TESTS - 3


@dataclass(frozen=True, slots=True)
class TinyTask:
    """One thing to ask in one wording."""

    family: Family
    constants: tuple[Constant, ...]
    wording: str


def tiny_programs(*, split: Split, size: int, seed: int = 0) -> list[Problem]:
    """Return the first ``size`` problems of a split.

    Problem i is a function of ``(seed, split, i)`` alone. Questions are distinct, and the two splits share no task,
    whatever the seeds.

    Raises:
        ProblemError: for an unknown split, or a size that is below 1 or above the number of different questions.
    """
    if split not in ("train", "heldout"):
        raise ProblemError(f"tiny_programs: split = {split!r} is unknown; allowed: 'train', 'heldout'.")
    tasks = tasks_of(split)
    if not 1 <= size <= len(tasks):
        raise ProblemError(f"tiny_programs: size = {size} is not allowed; the {split} split has 1 to {len(tasks)}.")
    order = list(range(len(tasks)))
    Random(seed_for(seed, "tiny_programs", split)).shuffle(order)
    return [_problem(tasks[task], split, index, seed) for index, task in enumerate(order[:size])]


@cache
def tasks_of(split: Split) -> tuple[TinyTask, ...]:
    """Return every task of a split in every wording."""
    found = []
    for family in FAMILIES:
        for constants in itertools.product(*family.constants):
            if split_of(family, constants) == split:
                wordings = FUNCTION_WORDINGS + (PROGRAM_WORDINGS if family.on_numbers else ())
                found += [TinyTask(family, constants, wording) for wording in wordings]
    return tuple(found)


def split_of(family: Family, constants: Sequence[Constant]) -> Split:
    """Return the split of a task, by the CRC-32 of its family and constants."""
    text = " ".join([family.name, *map(str, constants)])
    return "train" if zlib.crc32(text.encode()) % _HELDOUT_SHARE else "heldout"


def question_of(task: TinyTask) -> str:
    """Return what is asked."""
    family = task.family
    names = " and ".join(filter(None, [", ".join(family.arguments[:-1]), family.arguments[-1]]))
    one = len(family.arguments) == 1
    noun = family.noun if one else f"{family.noun}s"
    return task.wording.format(
        call=f"{family.name}({', '.join(family.arguments)})",
        takes=f"{_article(noun)} {noun} {names}" if one else f"{noun} {names}",
        reads=f"{_article(noun)} {noun} {names}" if one else f"{noun} {names}, one a line,",
        what=family.what.format(*task.constants),
    )


def solution_of(task: TinyTask) -> str:
    """Return the reference program."""
    family = task.family
    body = family.body.format(*map(repr, task.constants))
    if task.wording in PROGRAM_WORDINGS:
        *before, last = body.split("\n")
        reads = [f"{name} = int(input())" for name in family.arguments]
        return "\n".join([*reads, *before, f"print({last.removeprefix('return ')})"])
    lines = "\n".join(f"    {line}" for line in body.split("\n"))
    return f"def {family.name}({', '.join(family.arguments)}):\n{lines}"


def _problem(task: TinyTask, split: Split, index: int, seed: int) -> Problem:
    rng = Random(seed_for(seed, "tiny_programs", split, index))
    as_program = task.wording in PROGRAM_WORDINGS
    tests: list[Any] = []
    for arguments, expected in _cases(task, rng):
        if as_program:
            lines = "".join(f"{argument}\n" for argument in arguments)
            tests.append({"type": "stdin", "input": lines, "output": f"{expected}\n", "compare": "tokens", **LIMITS})
        else:
            case = {"type": "function", "name": task.family.name, "args": arguments, "expected": expected}
            tests.append({**case, "compare": "exact", **LIMITS})
    return Problem(
        id=f"tiny_programs/{split}/{index:05d}",
        question=question_of(task),
        answer="",
        kind="code",
        tests=tests,
        solution=solution_of(task),
        source="tiny_programs",
        cluster=f"tiny_programs/{task.family.name}",
    )


def _cases(task: TinyTask, rng: Random) -> list[tuple[list[Any], Any]]:
    """Draw distinct arguments with their right results.

    For every program with one number off by one, some case gives another result; and no result is that of all.
    """
    function = _reference(task.family, task.constants)
    rivals = [_reference(task.family, each) for each in _off_by_one(task.constants)]
    cases: dict[str, tuple[list[Any], Any]] = {}
    results: Counter[str] = Counter()
    for _ in range(_MOST_DRAWS):
        arguments = [_draw(rng, name, task.constants) for name in task.family.arguments]
        expected = function(*arguments)
        told = [rival for rival in rivals if rival(*arguments) != expected]
        room = TESTS - len(cases)
        if repr(arguments) in cases or not (told or (room > len(rivals) and results[repr(expected)] < _SAME_RESULT)):
            continue
        cases[repr(arguments)] = (arguments, expected)
        results[repr(expected)] += 1
        rivals = [rival for rival in rivals if rival not in told]
        if len(cases) == TESTS:
            return list(cases.values())
    raise AssertionError(f"{task.family.name} {task.constants}: no {TESTS} cases in {_MOST_DRAWS} draws")


def _off_by_one(constants: Sequence[Constant]) -> list[tuple[Constant, ...]]:
    numbers_at = [at for at, each in enumerate(constants) if isinstance(each, int)]
    return [
        tuple(int(each) + step if index == at else each for index, each in enumerate(constants))
        for at in numbers_at
        for step in (-1, 1)
    ]


def _reference(family: Family, constants: tuple[Constant, ...]) -> Callable[..., Any]:
    """Make the reference callable: text of this package alone is executed, never a model's or a user's."""
    names: dict[str, Any] = {}
    exec(solution_of(TinyTask(family, constants, FUNCTION_WORDINGS[0])), names)
    function: Callable[..., Any] = names[family.name]
    return function


_WORDS = (
    *("banana", "level", "tree", "program", "hello", "noon", "cat", "mississippi", "sun", "zoo", "window", "ant"),
    *("summer", "radar", "house", "book", "yellow", "data", "rain", "oxen", "kayak", "apple", "train", "puppet"),
)


def _draw(rng: Random, name: str, constants: Sequence[Constant]) -> Any:
    """Draw an argument: ``s`` is text, ``xs`` a list of whole numbers, anything else a whole number.

    Half the numbers stand in a close relation to the constants, where a wrong program differs from a right one.
    """
    if name == "s":
        near = [word for word in _WORDS if any(str(each) in word for each in constants)] or list(_WORDS)
        words = [rng.choice(near if rng.random() < 0.7 else _WORDS) for _ in range(rng.choice((1, 1, 2, 3)))]
        starts = [each for each in constants if isinstance(each, str)] if rng.random() < 0.3 else []
        return "".join([*starts, " ".join(words)])
    if name == "xs":
        return [_number(rng, constants) for _ in range(rng.randint(3, 7))]
    return _number(rng, constants)


def _number(rng: Random, constants: Sequence[Constant]) -> int:
    numbers = [each for each in constants if isinstance(each, int)]
    if numbers and rng.random() < 0.5:
        k = rng.choice(numbers)
        return rng.choice((k - 1, k, k + 1, k * rng.randint(2, 5), rng.randint(1, k // 2)))
    return rng.randint(1, 40)


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"
