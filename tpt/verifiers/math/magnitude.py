"""Estimates how large the numbers of a formula are, without computing them."""

from __future__ import annotations

import math
import re

LARGEST_BITS = 10_000_000
"""Numbers beyond are not worth computing."""

_POWERS = re.compile(r"([0-9]+(?:\^[0-9]+)*)(!*)")
_NO_BRACES = {ord(char): None for char in "{}() "}


def too_large(text: str) -> bool:
    """Tell whether a formula holds a number of more than about LARGEST_BITS bits, such as 9^9^9 or 10!!!!."""
    plain = text.replace("**", "^").translate(_NO_BRACES)
    return any(_bits(match[1].split("^"), len(match[2])) > LARGEST_BITS for match in _POWERS.finditer(plain))


def _bits(tower: list[str], factorials: int) -> float:
    """Return about how many bits a power tower has after so many factorials; infinity where it is hopeless."""
    exponent = 1.0
    for part in reversed(tower[1:]):
        exponent = _power(part, exponent)
    bits = exponent * _log2(tower[0])
    for _ in range(factorials):
        value = 2.0**bits if bits < 64 else math.inf
        bits = math.lgamma(value + 1) / math.log(2) if value <= LARGEST_BITS else math.inf
    return bits


def _power(base: str, exponent: float) -> float:
    bits = exponent * _log2(base)
    return 2.0**bits if bits < 64 else math.inf


def _log2(digits: str) -> float:
    return math.log2(float(digits) or 1.0) if len(digits) < 300 else math.log2(10) * len(digits)
