"""Compares two final answers by computer algebra (math-verify on sympy). May hang: called in the pool's workers only.

An answer is parsed as a whole or not at all (``_parsed``): no number is ever picked out of what cannot be read. math-verify
compares; what it finds equal is looked at a second time, number by number and relative to its size, because it rounds
differences to zero (it takes 1/2004! for 1/2006!, and 0.0000001 for 0.0000004).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended import NormalizationConfig
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy, normalize_latex
from math_verify import verify
from math_verify.grader import should_treat_as_complex
from sympy.core.function import AppliedUndef

from tpt.verifiers.math.latex import read

# Its warnings say that its own time limits are off; the pool's hold instead.
logging.getLogger("math_verify").setLevel(logging.ERROR)

# Units are taken off before, where it is known what is a unit: to math-verify, 3t is 3 tons.
_NORMALIZED = NormalizationConfig(
    basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
)
# Written as sums, because numbers side by side are a product in everything else (``_Reader``).
_MIXED = re.compile(r"(?<![\d.}^_/])(\d+)\s?(?:\\frac\{(\d+)\}\{(\d+)\}|(?<=\s)(\d+)/(\d+))(?![\d/.])")
# Two numbers with nothing between them, a number with two points, dots: not one value to anybody. Words and letters that a
# zero would make vanish are a part of the answer too.
_UNREADABLE = re.compile(
    r"\d\s+[\d.]|\d*\.\d*\.\d|\.\.\.|\\cdots|\\ldots|\\dots|\\\\(?!\s*[-\d.a-zA-Z\\&(])|[?#@]|\\text"
    r"|(?<![\d.])0\s?[A-Za-z]|\d%\s*[%\d]|(?<!_)\d\s?_|[A-Za-z)}]\s?'|\\Pi(?![a-z])|\\[bp]?mod(?![a-z])"
    # To the parser an angle is a product of its points, and the inverse of a function one divided by it.
    r"|(?:\\angle|(?<![A-Za-z\\])[fghFGH]\s?\^\s?\{?-1\}?\s?\()(?![^=]*=)"
)
_LONE_I = re.compile(r"(?<![A-Za-z\\])i(?![A-Za-z])")
_SIGNS = re.compile(r"\\(?:pm|mp)(?![a-z])")
_LETTER = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_TRANSPOSED = re.compile(r"\^\s*(?:T|\{\s*T\s*\})")
_APPROX = re.compile(r"\\approx|≈")
_END_OF_TEXT = -1
"""The parser's token type behind the last token."""
_RELATIVE = sympy.Rational(1, 10**5)
_DIGITS = 30
_POINTS = (sympy.Rational(7, 11), sympy.Rational(23, 9), sympy.Rational(-5, 13))


class _Reader(_Latex2Sympy):  # type: ignore[misc]
    """latex2sympy's reader, to which 5(2) is 7 and gcd(a, b) is 1."""

    def convert_postfix_list(self, arr: Sequence[Any], i: int = 0) -> Any:
        """Return the product of what stands side by side from the i-th factor on."""
        first = self.convert_postfix(arr[i])
        if i == len(arr) - 1:
            return first
        if not isinstance(first, sympy.Expr | sympy.MatrixBase):
            raise TypeError(f"{first!r} is no factor")
        rest = self.convert_postfix_list(arr, i + 1)
        if any(isinstance(each, sympy.MatrixBase) for each in (first, rest)):
            return self.mat_mul_flat(first, rest)
        return self.mul_flat(first, rest)

    def handle_gcd_lcm(self, f: str, args: Sequence[Any]) -> Any:
        """Return what is known of it: of names, nothing but that their order does not matter."""
        if any(each.free_symbols for each in args):
            return sympy.Function(f)(*sorted(args, key=str))
        return super().handle_gcd_lcm(f, args)


def before_fork() -> None:
    """Compare once what needs every part of the machinery, before the workers fork: no judged answer pays for its first use."""
    equal(r"2\sqrt{3}", [r"\sqrt{12}", r"\frac{6}{\sqrt{3}}"])
    equal(r"x^2-1", [r"(x+1)(x-1)"])
    equal(r"(-\infty,2)\cup(3,\infty)", [r"(-\infty, 2) \cup (3, 5)"])


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
    if scalar is None or not scalar.places or scalar.percent:
        return False
    return _is_rounded(value, scalar.value, scalar.places)


@lru_cache(maxsize=4_096)
def _parsed(answer: str) -> list[Any]:
    """Return what the whole of an answer says, as a list of one; an empty list where it cannot be read to its end."""
    found = read(answer)
    try:
        value = _value(f"{found.label}={found.text}" if found.label else found.text)
    except (RecursionError, MemoryError):
        raise
    except Exception:  # the parser's own errors are bare Exceptions
        return []
    return [] if value is None else [value]


def _value(text: str) -> Any:
    text = text.replace("$", " ")
    if "\\lor" in text:
        return _union(text)
    if _APPROX.search(text):
        return _approximated(text)
    if _SIGNS.search(text) and not re.search(r"[,;<>]|\\(?:cup|in|[lg]e)(?![a-z])|=.*=", text):
        return _of_both_signs(text)
    sides = _sides(text)
    if len(sides) > 2 and not re.search(r"[,;&]", text):
        return _end_of_chain(sides)
    return _whole(text)


def _of_both_signs(text: str) -> Any:
    """Read "(1 ± √5)/2" as the two numbers that it is."""
    name, equals, sum_ = text.rpartition("=")
    values = [
        _whole(re.sub(r"\\mp(?![a-z])", other, re.sub(r"\\pm(?![a-z])", sign, sum_))) for sign, other in ("+-", "-+")
    ]
    if not all(isinstance(each, sympy.Expr) for each in values):
        return None
    return sympy.Eq(_whole(name), sympy.FiniteSet(*values), evaluate=False) if equals else sympy.FiniteSet(*values)


def _sides(text: str) -> list[str]:
    """Split an equation at its equality signs, but not inside of braces."""
    depth, begin, sides = 0, 0, []
    for match in re.finditer(r"[{}]|(?<![<>!\\])=", text):
        if match.group() != "=":
            depth += 1 if match.group() == "{" else -1
        elif depth == 0:
            sides.append(text[begin : match.start()])
            begin = match.end()
    return [*sides, text[begin:]]


def _whole(text: str) -> Any:
    """Parse LaTeX to its last token; whatever the grammar does not take raises an exception."""
    text = re.sub(r"_(\d)\s+", r"_{\1}", text)
    text = _MIXED.sub(lambda match: f"({match[1]}+\\frac{{{match[2] or match[4]}}}{{{match[3] or match[5]}}})", text)
    if _UNREADABLE.search(text):
        return None
    text = re.sub(r"\\text\s*\{\s*([^{}]*?)\s*\}", r"\\text{\1}", text).replace("%", "\\%")
    text = text.replace("**", "^").replace("*", "\\cdot ")
    text = re.sub(r"\^(-?\d{2,})", r"^{\1}", text)  # 2^10 as people type it
    latex = normalize_latex(text, config=_NORMALIZED)
    if "\\begin" not in latex:
        latex = _TRANSPOSED.sub("^{(T)}", latex)
    letters = set(_LETTER.findall(text))
    fold = not any(each.lower() in letters for each in letters if each.lower() != each)
    is_real = not (should_treat_as_complex(latex) or _LONE_I.search(latex))
    reader = _Reader(is_real=is_real, config=ConversionConfig(lowercase_symbols=fold))
    parser = reader.create_parser(latex)
    tree = parser.math()
    if parser.getTokenStream().LA(1) != _END_OF_TEXT:
        return None
    if relation := tree.set_relation():
        value = reader.convert_set_relation(relation)
    elif elements := tree.set_elements():
        value = reader.convert_set_elements(elements)
    else:
        value = reader.convert_set_elements_relation(tree.set_elements_relation())
    return None if _takes_for_constant(value) else value


def _takes_for_constant(value: Any) -> bool:
    """Tell whether a derivative is of a name that may depend on what it is taken by, and would be 0."""
    found = value.atoms(sympy.Derivative) if isinstance(value, sympy.Basic) else ()
    return any(not each.expr.has(*each.variables) for each in found)


def _union(text: str) -> Any:
    """Read "x < 1 or x > 2" as the set that it is."""
    parts = [_whole(part) for part in text.split("\\lor")]
    if any(not isinstance(part, sympy.Basic) or len(part.free_symbols) != 1 for part in parts):
        return None
    return (
        sympy.Union(*(part.as_set() for part in parts))
        if len(set.union(*(p.free_symbols for p in parts))) == 1
        else None
    )


def _approximated(text: str) -> Any:
    r"""Read ``\frac{8}{3} \approx 2.67`` as what is exact in it; of two decimals or whole numbers neither is."""
    exact, *decimals = _APPROX.split(text)
    rounded = read(decimals[0].strip()).scalar if len(decimals) == 1 else None
    if rounded is None:
        return None
    if re.fullmatch(r"\s*(?:\\?[A-Za-z]+\s*=?)?\s*", exact):
        return sympy.Rational(rounded.value.numerator, rounded.value.denominator)
    return None if re.fullmatch(r"(?:[^=]*=)?\s*-?[\d.,]+\s*", exact) else _value(exact)


def _end_of_chain(sides: list[str]) -> Any:
    """Read "a = 2 + 3 = 5" as its end, if all between can be read or are names; what begins it is what is asked for."""
    readable = all(re.fullmatch(r"\s*\\?[A-Za-z]+\s*", side) or _whole(side) is not None for side in sides[1:-1])
    return _whole(sides[-1]) if readable else None


def _is_rounded(value: Any, written: Fraction, places: int) -> bool:
    if not isinstance(value, sympy.Expr) or value.free_symbols:
        return False
    exact = value.doit().evalf(_DIGITS + places)
    difference = exact - sympy.Rational(written.numerator, written.denominator)
    return bool(exact.is_real and abs(difference) * 2 <= sympy.Rational(1, 10**places))


def _confirmed(gold: Sequence[Any], answer: Sequence[Any]) -> bool:
    ours = [each for each in gold if not isinstance(each, str)]
    theirs = [each for each in answer if not isinstance(each, str)]
    if not ours or not theirs:
        return True
    return any(_agree(one, other) for one in ours for other in theirs)


def _agree(one: Any, other: Any) -> bool:
    """Tell whether two parsed answers that math-verify finds equal agree in every number, relative to its size."""
    equation = one if isinstance(one, sympy.Eq) else other
    if isinstance(one, sympy.Eq) != isinstance(other, sympy.Eq) and not _is_value(equation):
        return False
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


def _is_value(equation: sympy.Eq) -> bool:
    """Tell whether an equation gives a name a value, or is true: x = 5, AB = 5, AB/CD = 5, f(2) = 5, 2 + 3 = 5."""
    left = equation.lhs
    if _is_name(left):
        return True
    return not equation.free_symbols and isinstance(left, sympy.Expr) and _same_value(left, equation.rhs)


def _is_name(left: sympy.Basic) -> bool:
    """Tell names from terms: to the parser a segment is a product of its points, an inverse function one divided by it."""
    if isinstance(left, sympy.Tuple | sympy.Mul):
        return all(_is_name(each.base if each.is_Pow and each.exp == -1 else each) for each in left.args)
    if isinstance(left, sympy.Pow) and left.exp == -1:
        left = left.base if isinstance(left.base, AppliedUndef) else left
    return left.is_Symbol or isinstance(left, AppliedUndef)


def _bare(answer: Any) -> Any:
    return answer.rhs if isinstance(answer, sympy.Eq) and _is_value(answer) else answer


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
