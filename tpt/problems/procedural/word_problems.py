"""Procedural word problems: an endless supply with exact answers, two disjoint splits and nothing to download.

A story is a plan (kinds of sentences and their numbers) dressed in names and things. The CRC-32 of the plan says which
share of all stories it belongs to, so no two shares ever hold the same numbers in the same structure:
tenth 0 is held out, tenth 1 is for training, the other eight are what the embedded base model was pre-trained on.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from tpt.errors import ProblemError
from tpt.records import Problem

Split = Literal["train", "heldout"]
Share = Literal["train", "heldout", "pretrain"]
Operator = Literal["+", "-", "*", "/"]

HELDOUT_NAMES = ("Ada", "Ben", "Cora", "Dan", "Eva", "Finn", "Gina", "Hugo", "Iris", "Jack", "Kira", "Leo")
TRAIN_NAMES = ("Mia", "Noah", "Olga", "Paul", "Quinn", "Rosa", "Sam", "Tina", "Uma", "Viktor", "Wendy", "Zoe")
THINGS = (
    *("apples", "beads", "books", "buttons", "cards", "coins", "cookies", "eggs"),
    *("flowers", "marbles", "nuts", "pencils", "plums", "shells", "stamps", "stickers"),
)
TEMPLATES: dict[str, tuple[str, ...]] = {
    "has": ("{name} has {a} {things}.",),
    "boxes": ("{name} has {a} boxes of {b} {things}.",),
    "gain": ("{name} buys {a} more.", "{name} finds {a} more."),
    "lose": ("{name} gives away {a}.", "{name} loses {a}."),
    "packs": ("{name} buys {a} packs of {b}.",),
    "bags": ("{name} sells {a} bags of {b}.",),
    "times": ("{friend} has {a} times as many. How many {things} does {friend} have?",),
    "share": ("{name} shares them among {a} friends. How many {things} does each friend get?",),
    "ask": ("How many {things} does {name} have now?",),
}
"""Kind of sentence to its wordings."""

STEP_COUNTS = (2, 2, 3, 3, 4, 5)
"""How many equations a problem takes; drawn uniformly from these."""

MOST = 999
"""No number in a right solution is larger."""

Move = tuple[str, int, int]
"""Kind of sentence and its two numbers (0 where it has only one, or none)."""


@dataclass(frozen=True, slots=True)
class Result:
    """Stands for the result of an earlier step."""

    step: int


@dataclass(frozen=True, slots=True)
class Step:
    """One equation of a solution; its operands are numbers of the story or earlier results."""

    left: int | Result
    operator: Operator
    right: int | Result


@dataclass(frozen=True, slots=True)
class Story:
    """A question, the steps that solve it and their right results."""

    question: str
    steps: tuple[Step, ...]
    results: tuple[int, ...]
    structure: str
    """Its kinds of sentences, in order."""


def word_problems(*, split: Split, size: int, seed: int = 0) -> list[Problem]:
    """Return the first ``size`` problems of a split.

    Problem i is a function of ``(seed, split, i)``: a larger ``size`` only adds to the end. Questions are distinct, and
    the two splits share neither a plan nor a name, whatever the seeds.

    Raises:
        ProblemError: for an unknown split or a size below 1.
    """
    if split not in ("train", "heldout"):
        raise ProblemError(f"word_problems: split = {split!r} is unknown; allowed: 'train', 'heldout'.")
    if size < 1:
        raise ProblemError(f"word_problems: size = {size} is too small; ask for at least 1 problem.")
    seen: set[str] = set()
    return [_problem(split, index, seed, seen) for index in range(size)]


def _problem(split: Split, index: int, seed: int, seen: set[str]) -> Problem:
    rng = Random(f"word_problems/{seed}/{split}/{index}")
    story = draw_story(rng, split)
    while story.question in seen:
        story = draw_story(rng, split)
    seen.add(story.question)
    return Problem(
        id=f"word_problems/{split}/{index:05d}",
        question=story.question,
        answer=str(story.results[-1]),
        kind="number",
        solution=write_solution(story),
        source="word_problems",
        cluster=f"word_problems/{story.structure}",
    )


def write_solution(story: Story) -> str:
    """Write one equation a line in the story's order, then ``#### answer``."""
    lines = [
        f"{_value(step.left, story.results)} {step.operator} {_value(step.right, story.results)} = {result}"
        for step, result in zip(story.steps, story.results, strict=True)
    ]
    return "\n".join([*lines, f"#### {story.results[-1]}"])


def draw_story(rng: Random, share: Share, step_counts: Sequence[int] = STEP_COUNTS) -> Story:
    """Draw a story of one share of all stories; the number of its steps is drawn from ``step_counts``."""
    names = {"train": TRAIN_NAMES, "heldout": HELDOUT_NAMES, "pretrain": HELDOUT_NAMES + TRAIN_NAMES}[share]
    count = rng.choice(step_counts)
    moves = _draw_plan(rng, count)
    while share_of(moves) != share:
        moves = _draw_plan(rng, count)
    steps, results = _solve(moves)
    return Story(_tell(rng, moves, names), steps, results, " ".join(kind for kind, _, _ in moves))


def share_of(moves: Sequence[Move]) -> Share:
    """Return which share of all stories a plan belongs to, by the CRC-32 of its kinds and numbers."""
    plan = " ".join(f"{kind} {a} {b}" for kind, a, b in moves)
    match zlib.crc32(plan.encode()) % 10:
        case 0:
            return "heldout"
        case 1:
            return "train"
        case _:
            return "pretrain"


def _draw_plan(rng: Random, count: int) -> list[Move]:
    """Draw moves that take ``count`` equations and never leave 1 to MOST."""
    while True:
        boxes = rng.random() < 0.4
        a, b = _factors(rng) if boxes else (rng.randint(4, 99), 0)
        moves: list[Move] = [("boxes", a, b) if boxes else ("has", a, 0)]
        total, left = (a * b, count - 1) if boxes else (a, count)
        ending = left > 0 and rng.random() < 0.35
        left -= ending
        while left > 0 and 1 <= total <= MOST:
            kind = rng.choice(("gain", "lose", "packs", "bags") if left > 1 else ("gain", "lose"))
            a, b = _factors(rng) if kind in ("packs", "bags") else (rng.randint(2, 99), 0)
            moves.append((kind, a, b))
            change = a * b if b else a
            total += change if kind in ("gain", "packs") else -change
            left -= 2 if b else 1
        if not 1 <= total <= MOST:
            continue
        last = _draw_ending(rng, total) if ending else ("ask", 0, 0)
        if last:
            return [*moves, last]


def _factors(rng: Random) -> tuple[int, int]:
    """Draw the two factors of a product: both small (half of all), one of two digits, or both of two digits."""
    kind = rng.random()
    small, large = (2, 9), (11, 29)
    first, second = (small, small) if kind < 0.5 else (small, large) if kind < 0.85 else (large, large)
    return rng.randint(*first), rng.randint(*second)


def _draw_ending(rng: Random, total: int) -> Move | None:
    shares = [("share", k, 0) for k in range(2, 10) if total % k == 0]
    times = [("times", k, 0) for k in range(2, 10) if total * k <= MOST]
    options = rng.choice([group for group in (shares, times) if group] or [[]])
    return rng.choice(options) if options else None


def _solve(moves: Sequence[Move]) -> tuple[tuple[Step, ...], tuple[int, ...]]:
    steps: list[Step] = []
    results: list[int] = []

    def add(left: int | Result, operator: Operator, right: int | Result) -> Result:
        steps.append(Step(left, operator, right))
        results.append(apply(operator, _value(left, results), _value(right, results)))
        return Result(len(steps) - 1)

    total: int | Result = 0
    for kind, a, b in moves:
        amount = add(a, "*", b) if b else a
        if kind in ("has", "boxes"):
            total = amount
        elif kind in ("gain", "packs"):
            total = add(total, "+", amount)
        elif kind in ("lose", "bags"):
            total = add(total, "-", amount)
        elif kind in ("times", "share"):
            total = add(total, "*" if kind == "times" else "/", amount)
    return tuple(steps), tuple(results)


def apply(operator: Operator, left: int, right: int) -> int:
    """Return the whole-number result of one operation."""
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left // right


def _value(operand: int | Result, results: Sequence[int]) -> int:
    return results[operand.step] if isinstance(operand, Result) else operand


def _tell(rng: Random, moves: Sequence[Move], names: Sequence[str]) -> str:
    name, friend = rng.sample(names, 2)
    things = rng.choice(THINGS)
    sentences = [
        rng.choice(TEMPLATES[kind]).format(name=name, friend=friend, things=things, a=a, b=b) for kind, a, b in moves
    ]
    return " ".join(sentences)
