"""Careless habits: ways to calculate that go wrong on the same steps every time, as schoolchildren's do.

A slip is noise, and the likeliest answer of a model that imitates slips is the right one. A habit is a rule: where it is
as common as the right way, the likeliest answer is often wrong, and decoding greedily does not help.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from random import Random

from tpt.problems.procedural.word_problems import Operator


@dataclass(frozen=True, slots=True)
class Shares:
    """How many of the careless authors have each habit, between 0 and 1."""

    no_carry: float = 0.0
    """Add digit by digit and forget every carry: 27 + 15 = 32."""
    no_borrow: float = 0.0
    """Take the smaller digit from the larger one, whichever stands above: 42 - 15 = 33."""
    partial_product: float = 0.0
    """Multiply tens by tens and units by units, and nothing crosswise: 23 * 14 = 212, 7 * 14 = 38."""
    adds_times: float = 0.0
    """Add where "3 times as many" asks for a product: 20 + 3 = 23."""
    drops_remainder: float = 0.0
    """Divide every digit on its own and drop what remains: 84 / 6 = 10."""


def draw_habits(rng: Random, shares: Shares) -> frozenset[str]:
    """Draw one author's habits, each on its own."""
    return frozenset(habit for habit, share in asdict(shares).items() if rng.random() < share)


def misread(operator: Operator, habits: Collection[str], *, of_result: bool) -> Operator:
    """Return the operator that an author writes; ``of_result``: its left operand is an earlier result."""
    return "+" if operator == "*" and of_result and "adds_times" in habits else operator


def miscalculate(operator: Operator, left: int, right: int, habits: Collection[str]) -> int | None:
    """Return the result that an author with these habits writes, right or wrong; None: none of them applies."""
    if operator == "+" and "no_carry" in habits:
        return _by_place(left, right, lambda one, other: (one + other) % 10)
    if operator == "-" and "no_borrow" in habits:
        return _by_place(left, right, lambda one, other: abs(one - other))
    if operator == "*" and "partial_product" in habits:
        return _partial_product(left, right)
    if operator == "/" and "drops_remainder" in habits:
        return int("".join(str(int(digit) // right) for digit in str(left)))
    return None


def _by_place(left: int, right: int, digit: Callable[[int, int], int]) -> int:
    total, place = 0, 1
    while place <= max(left, right):
        total += digit(left // place % 10, right // place % 10) * place
        place *= 10
    return total


def _partial_product(left: int, right: int) -> int:
    small, large = sorted((left, right))
    if small < 10:
        return large // 10 * 10 + small * (large % 10) if large >= 10 else small * large
    return left // 10 * (right // 10) * 100 + left % 10 * (right % 10)
