"""Whether an answer is the expected one. Runs on both sides of the sandbox's wall, on the bare standard library."""

from __future__ import annotations

import math
from typing import Any

MODES = ("tokens", "exact", "any_case", "float", "any_order", "checker")
TOLERANCE = 1e-6
_LONGEST_NUMBER = 400  # digits; longer tokens are compared as text, for parsing them takes too long


def same_output(expected: str, got: str, mode: str, tolerance: float = TOLERANCE) -> bool:
    """Compare what a program wrote with what it should have written.

    ``exact``: the same text but for line ends and the end of the file. ``tokens``: the same words, whatever the space
    between them. ``any_case``: the same words, capital or small. ``float``: the same words, decimal numbers within the
    tolerance (absolute or relative). ``any_order``: the same lines, each compared by words, in any order.
    """
    if mode == "exact":
        return _lines(expected) == _lines(got)
    if mode == "any_case":
        return expected.lower().split() == got.lower().split()
    if mode == "any_order":
        return _bag_of_lines(expected) == _bag_of_lines(got)
    if mode == "float":
        wanted, found = expected.split(), got.split()
        pairs = zip(wanted, found, strict=False)
        return len(wanted) == len(found) and all(a == b or _near_text(a, b, tolerance) for a, b in pairs)
    return expected.split() == got.split()


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").rstrip("\n")


def _bag_of_lines(text: str) -> list[list[str]]:
    return sorted(words for line in text.splitlines() if (words := line.split()))


def _near_text(expected: str, got: str, tolerance: float) -> bool:
    if _is_whole(expected) and _is_whole(got):
        return False  # whole numbers are near only when equal: 10**18 + 1 is not 10**18
    try:
        return max(len(expected), len(got)) <= _LONGEST_NUMBER and _near(_number(expected), _number(got), tolerance)
    except ValueError:
        return False


def _is_whole(token: str) -> bool:
    return token.lstrip("+-").isdecimal()


def _number(token: str) -> float:
    if "_" in token:  # Python reads 1_0 as 10; no judge does
        raise ValueError(token)
    return float(token)


def _near(expected: float, got: float, tolerance: float) -> bool:
    return math.isclose(expected, got, rel_tol=tolerance, abs_tol=tolerance)


def same_value(expected: Any, got: Any, mode: str, tolerance: float = TOLERANCE) -> bool:
    """Compare what a function returned with a JSON value.

    Tuples count as lists and the keys of dictionaries as their text, because JSON has neither tuples nor other keys.
    ``float`` allows the tolerance in every number, ``any_order`` any order of the outermost list (a set is one too).
    """
    if mode == "any_order" and isinstance(expected, list) and isinstance(got, (list, tuple, set, frozenset)):
        return _same_bag(expected, [_jsonlike(item) for item in got])
    if mode == "float":
        return _near_value(expected, _jsonlike(got), tolerance)
    return bool(expected == _jsonlike(got))


def _jsonlike(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_jsonlike(item) for item in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _jsonlike(item) for key, item in value.items()}
    return value


def _same_bag(expected: list[Any], got: list[Any]) -> bool:
    left = list(got)
    for item in expected:
        if item not in left:
            return False
        left.remove(item)
    return not left


def _near_value(expected: Any, got: Any, tolerance: float) -> bool:
    if isinstance(expected, list) and isinstance(got, list):
        pairs = zip(expected, got, strict=False)
        return len(expected) == len(got) and all(_near_value(a, b, tolerance) for a, b in pairs)
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(
            _near_value(expected[key], got[key], tolerance) for key in expected
        )
    if isinstance(expected, int) and isinstance(got, int):
        return expected == got  # whole numbers are near only when equal: 10**18 + 1 is not 10**18
    numbers = (int, float)
    if isinstance(expected, numbers) and isinstance(got, numbers):
        try:
            return expected == got or _near(float(expected), float(got), tolerance)
        except OverflowError:
            return False
    return bool(expected == got)
