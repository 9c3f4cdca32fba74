"""Arithmetic as people write it, taken apart and computed exactly."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

FLOAT_UNIT = Fraction(1, 10**9)
"""Numbers with this many decimals or more are floats spelled out, whose last digits mean nothing."""

_MOST_DIGITS = 30
_LARGEST_EXPONENT = 20
_MOST_BITS = 4096
_LARGEST_DENOMINATOR = 12
_CONSTANTS = tuple(map(Fraction, (math.pi, math.e, math.sqrt(2), math.sqrt(3), math.sqrt(5))))

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<mixed>[0-9]{1,6}\s[0-9]{1,3}/[0-9]{1,3}(?![0-9.])) |
      (?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+) |
      (?P<relation>[=!<>≈≠≤≥~]+) |
      (?P<operator>[-+*/^]) |
      (?P<open>\() | (?P<close>\)) | (?P<percent>%) |
      (?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*) |
      (?P<stop>[.,;:?"“”…|]) |
      (?P<other>\S)
    )""",
    re.VERBOSE,
)
_ORDINALS = frozenset(["st", "nd", "rd", "th"])


@dataclass(frozen=True, slots=True)
class Token:
    """A number, operator, bracket, word or mark."""

    kind: str
    text: str
    spaced: bool
    """Whether blanks stand before it."""


def tokens_of(line: str) -> list[Token]:
    """Take a line in plain notation apart; ``2nd`` is a word."""
    tokens: list[Token] = []
    for match in _TOKEN.finditer(line):
        kind = match.lastgroup or "other"
        text = match[kind]
        spaced = match.start(kind) > match.start() or match.start() == 0
        if kind == "word" and len(text) == 1 and not (text == "a" and spaced):
            # A single letter is a variable.
            kind = "other"
        if kind == "word" and text.lower() in _ORDINALS and tokens and tokens[-1].kind == "number" and not spaced:
            tokens[-1] = Token("word", tokens[-1].text + text, tokens[-1].spaced)
        else:
            tokens.append(Token(kind, text, spaced))
    return tokens


def values(tokens: tuple[Token, ...]) -> Iterator[Fraction]:
    """Yield what the tokens amount to, in each usual reading."""
    percents = (Fraction(1, 100), Fraction(1)) if any(t.kind == "percent" for t in tokens) else (Fraction(1),)
    for percent, as_fractions in product(percents, (False, True)):
        try:
            yield _Reading(tokens, percent, as_fractions).value()
        except (_Unread, ZeroDivisionError):
            continue


class _Unread(Exception):
    """The tokens are no expression, or one too large to compute."""


class _Reading:
    """Computes an expression by the usual order of operations."""

    def __init__(self, tokens: tuple[Token, ...], percent: Fraction, as_fractions: bool) -> None:
        self.tokens = tokens
        self.percent = percent
        self.as_fractions = as_fractions
        self.at = 0

    def value(self) -> Fraction:
        value = self._sum()
        if self.at < len(self.tokens):
            raise _Unread
        return value

    def _next(self, texts: str) -> str:
        if self.at < len(self.tokens) and self.tokens[self.at].text in texts:
            self.at += 1
            return self.tokens[self.at - 1].text
        return ""

    def _sum(self) -> Fraction:
        value = self._product()
        while operator := self._next("+-"):
            value += self._product() if operator == "+" else -self._product()
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while operator := self._next("*/"):
            value = value * self._signed() if operator == "*" else value / self._signed()
        return value

    def _signed(self) -> Fraction:
        return -self._power() if self._next("-") else self._power()

    def _power(self) -> Fraction:
        base = self._operand()
        if not self._next("^"):
            return base
        exponent = self._signed()
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if exponent.denominator != 1 or abs(exponent) > _LARGEST_EXPONENT or bits * abs(exponent) > _MOST_BITS:
            raise _Unread
        return base**exponent.numerator

    def _operand(self) -> Fraction:
        if self._next("("):
            value = self._sum()
            if not self._next(")"):
                raise _Unread
        else:
            value = self._number()
        return value * self.percent if self._next("%") else value

    def _number(self) -> Fraction:
        if self.at >= len(self.tokens) or self.tokens[self.at].kind not in ("number", "mixed"):
            raise _Unread
        token = self.tokens[self.at]
        self.at += 1
        is_clock = token.text[0] == "0" and len(token.text) > 1 and token.text[1] != "."
        if is_clock or len(token.text) > _MOST_DIGITS:
            raise _Unread
        if token.kind == "mixed":
            whole, part = token.text.split()
            return int(whole) + Fraction(part)
        value = Fraction(token.text)
        decimals = len(token.text.partition(".")[2])
        if self.as_fractions and decimals >= 2:
            # The last digit of a float's full spelling is off by more than one.
            error = max(Fraction(1, 10**decimals), FLOAT_UNIT if decimals > 9 else Fraction(0))
            meant = (value.limit_denominator(_LARGEST_DENOMINATOR), *_CONSTANTS)
            return next((exact for exact in meant if abs(exact - value) < error), value)
        return value
