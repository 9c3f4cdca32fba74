r"""One exact number as an answer spells it: digits, fractions, mixed numbers, powers of ten, repeating decimals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from tpt.verifiers.number.verify import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE

MAX_DIGITS = 300
MAX_EXPONENT = 300

_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"
_SCALAR = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<whole>\d+)?\s?\\frac\{{(?P<top_sign>-?)(?P<top>{_NUMBER})\}}\{{(?P<bottom_sign>-?)(?P<bottom>{_NUMBER})\}}"
    rf"|(?P<mixed>\d+)\s(?P<mixed_top>\d+)/(?P<mixed_bottom>\d+)"
    rf"|(?P<number>{_NUMBER})(?:\s?/\s?(?P<divisor>{_NUMBER})"
    rf"|[eE](?P<exponent>[-+]?\d+)|(?:\\cdot ?|\*)10(?:\^|\*\*)(?P<power>\d|\{{[-+]?\d+\}}|\([-+]?\d+\)))?)\s?(?P<percent>%?)"
)
_POWER_OF_TEN = re.compile(r"(?P<sign>[-+]?)10\^(?P<power>\d|\{[-+]?\d+\})")
_DECIMAL = re.compile(r"[-+]?\d*\.(\d{4,30})")
_REPEATING = re.compile(r"(?<![\d.])(\d{0,30})\.(\d{0,30})(?:\\overline\s?\{(\d{1,30})\}|\((\d{1,30})\))(?![\d.])")
_GOES_ON = re.compile(r"(?<![\d.])(\d{0,30})\.(\d{3,30})\.\.\.(?![\d.])")
_BLOCK = re.compile(r"(\d{0,20}?)(?:(\d)\2{2,}|(\d{2,6})\3+)")


@dataclass(frozen=True, slots=True)
class Scalar:
    """One exact number as written."""

    value: Fraction
    percent: bool = False
    places: int = 0
    """Decimals written, if there are at least four."""


def scalar_of(text: str) -> Scalar | None:
    """Read a text in canonical spelling that is one number and nothing else."""
    if len(text) > MAX_DIGITS:
        return None
    if power := _POWER_OF_TEN.fullmatch(text):
        exponent = _power_of_ten(power["power"].strip("{}"))
        return None if exponent is None else Scalar(-exponent if power["sign"] == "-" else exponent)
    match = _SCALAR.fullmatch(text)
    if match is None:
        return None
    value = _value(match.groupdict())
    if value is None:
        return None
    decimal = _DECIMAL.fullmatch(text)
    return Scalar(-value if match["sign"] == "-" else value, bool(match["percent"]), len(decimal[1]) if decimal else 0)


def same_number(gold: Scalar, answer: Scalar) -> bool:
    """Tell whether a number is the gold one, as itself or in the reading that a percent sign allows."""
    if answer.percent and not gold.percent and abs(gold.value) < 1:
        return _close(gold.value, answer.value / 100)  # 0.5% is not 0.5
    if gold.percent == answer.percent or not gold.percent:
        if _close(gold.value, answer.value) or _rounded(gold.value, answer):
            return True
        return answer.percent and gold.value.denominator > 1 and _close(gold.value, answer.value / 100)
    return _close(gold.value, answer.value) or _close(gold.value / 100, answer.value)


def spelled(value: Fraction) -> str:
    """Return the canonical spelling of a value."""
    return str(value) if value.denominator == 1 else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def with_repeating_as_fractions(text: str) -> str:
    r"""Return a text with ``0.1\overline{6}``, ``0.1(6)`` and ``0.1666...`` as the fractions that they are."""
    text = _REPEATING.sub(lambda match: _repeating(match[1], match[2], match[3] or match[4]), text)
    return _GOES_ON.sub(_going_on, text) if "..." in text else text


def _going_on(match: re.Match[str]) -> str:
    block = _BLOCK.fullmatch(match[2])
    if block is None:
        return match[0]
    return _repeating(match[1], block[1], block[2] or block[3])


def _repeating(whole: str, fixed: str, block: str) -> str:
    value = Fraction(int(whole + fixed or "0")) + Fraction(int(block), 10 ** len(block) - 1)
    return spelled(value / 10 ** len(fixed))


def _value(group: dict[str, str | None]) -> Fraction | None:
    """Return the value without its sign; None for a zero divisor or a power out of bounds."""
    if group["number"] is not None:
        value, bottom, whole = Fraction(group["number"]), Fraction(group["divisor"] or 1), Fraction(0)
        exponent = group["exponent"] or group["power"]
        if exponent is not None:
            scale = _power_of_ten(exponent.strip("{}()"))
            return None if scale is None else value * scale
    elif group["mixed"] is not None:
        value, bottom = Fraction(group["mixed_top"] or 0), Fraction(group["mixed_bottom"] or 0)
        whole = Fraction(group["mixed"])
    else:
        value, bottom = Fraction(group["top"] or 0), Fraction(group["bottom"] or 0)
        whole = Fraction(group["whole"] or 0)
        if (group["top_sign"] == "-") != (group["bottom_sign"] == "-"):
            value = -value
    if not bottom or (whole and value < 0):
        return None
    return whole + value / bottom


def _power_of_ten(exponent: str) -> Fraction | None:
    if len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return Fraction(10) ** int(exponent)


def _close(gold: Fraction, value: Fraction) -> bool:
    if gold == value:
        return True
    return gold.denominator > 1 and abs(gold - value) <= min(abs(gold) * RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE)


def _rounded(gold: Fraction, answer: Scalar) -> bool:
    """Tell whether an answer is a gold number without a finite decimal, rightly rounded to four places or more."""
    rest = gold.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    return rest > 1 and answer.places > 0 and round(gold, answer.places) == answer.value
