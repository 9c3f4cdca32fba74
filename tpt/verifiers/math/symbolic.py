"""Compares two final answers by computer algebra (math-verify on sympy). May hang: called in the pool's workers only.

math-verify parses and compares; what it finds equal is looked at a second time, number by number and relative to its
size, because it rounds differences to zero (it takes 1/2004! for 1/2006!, and 0.0000001 for 0.0000004).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from tpt.verifiers.math.latex import read

# Its warnings say that its own time limits are off; the pool's hold instead.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_CONFIG = (
    LatexExtractionConfig(
        boxed_match_priority=-1,
        # Units are taken off before, where it is known what is a unit: to math-verify, 3t is 3 tons.
        normalization_config=NormalizationConfig(
            basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
        ),
    ),
    ExprExtractionConfig(),
)
_RELATIVE = sympy.Rational(1, 10**5)
_DIGITS = 30
_POINTS = (sympy.Rational(7, 11), sympy.Rational(23, 9), sympy.Rational(-5, 13))


def equal(gold: str, answers: Sequence[str]) -> str | None:
    """Return the first of the answers that equals the gold one; None when none does."""
    ours = _parsed(gold)
    for answer in answers:
        theirs = _parsed(answer)
        if verify(ours, theirs, timeout_seconds=None, allow_set_relation_comp=True) and _confirmed(ours, theirs):
            return answer
        if _rounded(ours, answer):
            return answer
    return None


def _rounded(gold: Sequence[Any], answer: str) -> bool:
    """Tell whether an answer is an irrational gold number, rightly rounded to four decimals or more (see latex.py)."""
    scalar = read(answer).scalar
    value = _bare(gold[0]) if gold else None
    if scalar is None or not scalar.places or scalar.percent or not isinstance(value, sympy.Expr) or value.free_symbols:
        return False
    exact = value.doit().evalf(_DIGITS + scalar.places)
    written = sympy.Rational(scalar.value.numerator, scalar.value.denominator)
    return bool(exact.is_real and abs(exact - written) * 2 <= sympy.Rational(1, 10**scalar.places))


@lru_cache(maxsize=4_096)
def _parsed(answer: str) -> list[Any]:
    text = _written(answer)
    found: list[Any] = parse(f"${text}$", _CONFIG, parsing_timeout=None)
    return found


def _written(answer: str) -> str:
    """Return the canonical spelling of an answer as math-verify reads it best."""
    found = read(answer)
    text = found.text.replace("$", " ")
    text = re.sub(r"\\text\s*\{\s*([^{}]*?)\s*\}", r"\\text{\1}", text)
    return f"{found.label}={text}" if found.label else text


def _confirmed(gold: Sequence[Any], answer: Sequence[Any]) -> bool:
    ours = [each for each in gold if not isinstance(each, str)]
    theirs = [each for each in answer if not isinstance(each, str)]
    if not ours or not theirs:
        return True
    return any(_agree(one, other) for one in ours for other in theirs)


def _agree(one: Any, other: Any) -> bool:
    """Tell whether two parsed answers that math-verify finds equal agree in every number, relative to its size."""
    one, other = _bare(one), _bare(other)
    if isinstance(one, sympy.Interval) and isinstance(other, sympy.Interval):
        return _agree(one.start, other.start) and _agree(one.end, other.end)
    if isinstance(one, sympy.MatrixBase) and isinstance(other, sympy.MatrixBase):
        return one.shape == other.shape and all(map(_agree, one, other))
    if isinstance(one, sympy.Tuple | sympy.FiniteSet) and isinstance(other, sympy.Tuple | sympy.FiniteSet):
        ordered = isinstance(one, sympy.Tuple) and isinstance(other, sympy.Tuple)
        if ordered:
            return len(one) == len(other) and all(map(_agree, one, other))
        return all(any(_agree(a, b) for b in other) for a in one) and all(any(_agree(a, b) for a in one) for b in other)
    if isinstance(one, sympy.Expr) and isinstance(other, sympy.Expr):
        return _same_value(one, other)
    return True


def _bare(answer: Any) -> Any:
    return answer.rhs if isinstance(answer, sympy.Eq) and isinstance(answer.lhs, sympy.Symbol) else answer


def _same_value(one: sympy.Expr, other: sympy.Expr) -> bool:
    """Compare the values of two expressions, at fixed points if they have variables."""
    if one == other:
        return True
    symbols = sorted(one.free_symbols | other.free_symbols, key=str)
    for shift in range(len(_POINTS) if symbols else 1):
        values = {symbol: _POINTS[(shift + index) % len(_POINTS)] + index for index, symbol in enumerate(symbols)}
        left, right = (each.subs(values).doit().evalf(_DIGITS) for each in (one, other))
        if not (left.is_number and right.is_number) or not (left.is_finite and right.is_finite):
            continue  # nothing to see at this point
        scale = max(abs(left), abs(right))
        if scale != 0 and abs(left - right) > _RELATIVE * scale:
            return _percent_of_same(left, right)
    return True


def _percent_of_same(left: sympy.Expr, right: sympy.Expr) -> bool:
    """Tell whether one is the other in percent, which math-verify takes for the same."""
    return any(abs(a * 100 - b) <= _RELATIVE * abs(b) for a, b in ((left, right), (right, left)))
