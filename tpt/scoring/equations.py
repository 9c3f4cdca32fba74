"""The chain of equations in a completion: two solutions with the same chain reason alike, whatever their words."""

from __future__ import annotations

import re
from itertools import pairwise

from tpt.verifiers.typography import OVER, PLAIN, TIMES

LIMIT = 20_000
"""Characters of a completion that are looked at."""

_LATEX = (("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"))
_CHARACTERS = {**PLAIN, **dict.fromkeys(map(ord, TIMES), "*"), **dict.fromkeys(map(ord, OVER), "/")}
_ANNOTATED = re.compile(r"=\s{0,3}\$?<<[^<>\n]{0,200}>>")
_FRACTION = re.compile(r"\\[dt]?frac\{([0-9.,]{1,30})\}\{([0-9.,]{1,30})\}")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_TIMES = re.compile(r"(?<=[0-9\s])x(?=[\s$]?[0-9])", re.IGNORECASE)
# Units, currency and brackets stand between the numbers of an equation; what is left must be numbers and operators.
_NOISE = re.compile(r"[A-Za-z$€£%(){}\[\]\\_*`]*[A-Za-z$€£%(){}\[\]\\_`]")
_PER_UNIT = re.compile(r"/\s?(?=[A-Za-z])")
_RUN = re.compile(r"[0-9.+\-*/= \t]+")
_EXPRESSION = re.compile(r"-?[0-9.]+(?:[-+*/]-?[0-9.]+)*\Z")
_LEFT_END = re.compile(r"(?<=[0-9.])\s+(?=[0-9.])")


def equation_chain(completion: str) -> tuple[str, ...]:
    """Return the completion's equations ``a op b = c`` in order, in one spelling; units and brackets are dropped.

    An expression may have several operators (``16-3-4=9``). ``a=b=c`` gives ``a=b`` and, where b has an operator,
    ``b=c``.
    """
    chain = []
    for run in _RUN.findall(_plain(completion[:LIMIT])):
        sides = run.split("=")
        for left, right in pairwise(sides):
            expression = _expression(_LEFT_END.split(left.strip())[-1])
            value = _expression(_LEFT_END.split(right.strip())[0])
            if expression and value and re.search(r"[0-9][-+*/]", expression):
                chain.append(f"{expression}={value}")
    return tuple(chain)


def _plain(text: str) -> str:
    """Return the text with its equations in plain digits, ``+ - * / =`` and blanks."""
    for mark, operator in _LATEX:
        text = text.replace(mark, operator)
    text = (
        _ANNOTATED.sub("=", text if text.isascii() else text.translate(_CHARACTERS))
        .replace("<<", "\n")
        .replace(">>", "\n")
    )
    text = _FRACTION.sub(r"\1/\2", text)
    text = _TIMES.sub("*", _THOUSANDS.sub("", text.replace("**", "")))
    return _NOISE.sub(" ", _PER_UNIT.sub(" ", text))


def _expression(side: str) -> str:
    """Return one side of an equation without blanks and with its numbers in one spelling; empty if it is none."""
    side = re.sub(r"\s+", "", side).strip(".")
    if not _EXPRESSION.match(side):
        return ""
    return re.sub(r"[0-9.]+", lambda number: _canonical(number[0]), side)


def _canonical(number: str) -> str:
    whole, _, decimals = number.strip(".").partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")
