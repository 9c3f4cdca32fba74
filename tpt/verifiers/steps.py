"""The arithmetic that a completion writes down, ``16 - 3 - 4 = 9``, and which of it is false.

A right final answer does not prove right reasoning: a trace may reach it through ``9 * 2 = 16``. Here every equation
that is written in numbers alone is computed with exact fractions. Words behind a number count as its unit. What cannot
be read beyond doubt (variables, functions, ratios, remainders, unit conversions) is neither true nor false: a step is
called false only when no usual reading of it is true. Readings that are let pass:

- rounding or cutting off to the decimals written (``1/3 = 0.33``), and to whole numbers from 10 up (``100/3 = 33``);
- an operand that is a rounded fraction (``0.33 * 300 = 100``);
- ``20%`` as 0.2 and as 20;
- a running total, ``3 + 4 = 7 * 2 = 14``, where each part is right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, product

from tpt.verifiers.arithmetic import FLOAT_UNIT, Token, tokens_of, values
from tpt.verifiers.typography import MINUS, OVER, TIMES

LIMIT = 20_000
"""Characters of a completion that are looked at."""
LINE_LIMIT = 2_000
"""Longest line, in characters, that is looked at."""

_MOST_TOKENS = 60
_FLOAT_ERROR = Fraction(1, 10**9)

_ANNOTATION = re.compile(r"<<([^<>\n]{0,200})>>")
_REPLACED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\(?:left|right|[,;:!])", ""),
        (r"\\(?:begin|end)\{[a-z]{1,20}\*?\}", ""),
        (rf"\\(?:times|cdot)(?![A-Za-z])|[{TIMES}]", " * "),
        (rf"\\div(?![A-Za-z])|[{OVER}]", " / "),
        (rf"[{MINUS}]", "-"),
        (r"\\(?:text|textbf|mathrm|mbox)\s?\{([^{}\n]{0,80})\}", r" \1 "),
        (r"\\[dt]?frac\s?([0-9])([0-9])", r"((\1)/(\2))"),
        (r"\\[dt]?frac\s?\{([^{}\n]{1,60})\}\s?\{([^{}\n]{1,60})\}", r"((\1)/(\2))"),
        (r"\^\s?\{?\\circ\}?|°", ""),
        (r"(?<=[A-Za-z])\^?\{?[²³]\}?|(?<=[A-Za-z])\^\{?[23]\}?", ""),
        (r"²", "^2"),
        (r"³", "^3"),
        (r"\\boxed\s?(?=\{)|\\?[$€£]|\\[()\[\]]|&|[_`](?=[\s0-9])|(?<=\s)[_`]", ""),
        (r"\\%", "%"),
        (r"\*\*(?=[^\s*][^*\n]{0,80}\*\*)|(?<=[^\s*])\*\*(?![0-9(])", ""),
        (r"[{\[]", "("),
        (r"[}\]]", ")"),
        (r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", ""),
        (r"/\s?(?=[A-Za-z]{2})", " per "),
        (r"(?<=[0-9)%])\s?[xX](?=\s?\(?[0-9.])|(?<=\s)[xX](?=\s\(?[0-9.])", " * "),
        (r"(?i)(?<![A-Za-z])(?:times|multiplied by)(?![A-Za-z])(?=\s?[0-9(])", " * "),
        (r"(?i)(?<![A-Za-z])divided by(?![A-Za-z])(?=\s?[0-9(])", " / "),
        (r"(?i)(?<![A-Za-z])plus(?![A-Za-z])(?=\s?[0-9(])", " + "),
        (r"(?i)(?<![A-Za-z])minus(?![A-Za-z])(?=\s?[0-9(])", " - "),
        (r"^\s{0,8}(?:[0-9]{1,2}[.)]|[-*•])\s+", ""),
    )
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Before a number these make it a name or a part of something that is not written in numbers.
_UNCLEAR_BEFORE = _words(
    "of in per root from by than half twice double triple thrice between step day week month year round part question "
    "problem stage hour option chapter page number case equation base mod weeks days months years steps rounds pages"
)
# Beside a number these change what it counts, or say that it is not exact.
_UNCLEAR_WITHIN = _words(
    "of dozen dozens hundred hundreds thousand thousands million millions billion half halves pair pairs couple "
    "rounded round rounding about approximately approx roughly around nearly almost mod "
    "squared cubed choose pm am because so since is are was that which then if where as thus gives get gets"
)
_REMAINDER = frozenset(["remainder", "left", "leftover", "over", "remaining"])
_MEASURES = _words(
    "cent cents dollar dollars second seconds sec secs minute minutes min mins hour hours hr hrs day days week weeks "
    "month months year years inch inches foot feet ft yard yards mile miles mm cm meter meters metre metres km gram "
    "grams kg kilogram kilograms ounce ounces oz pound pounds lb lbs ton tons ml liter liters litre litres quart quarts "
    "gallon gallons pint pints cup cups quarter quarters dime dimes nickel nickels penny pennies percent"
)
_SINGULAR = {"inches": "inch", "feet": "foot", "pennies": "penny"}
_CONVERSIONS = frozenset(
    Fraction(n) for n in (2, 3, 4, 5, 7, 8, 10, 12, 16, 20, 24, 25, 30, 36, 52, 60, 100, 365, 1000, 1440, 3600, 5280)
)


@dataclass(frozen=True, slots=True)
class Steps:
    """The written arithmetic of one completion, each equation counted once."""

    true: int
    false: list[str]
    """The false equations, as read."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of an equation."""

    tokens: tuple[Token, ...]
    """Numbers, operators, brackets and percent signs alone."""
    words: frozenset[str]
    """The words in and behind it, in lower case."""
    unclear: bool
    """It may stand for something else than what its numbers say."""

    @property
    def has_operator(self) -> bool:
        return any(token.kind == "operator" for token in self.tokens[1:])

    def __str__(self) -> str:
        return "".join(f" {t.text} " if t.kind == "operator" else t.text for t in self.tokens).strip()


def check_steps(completion: str) -> Steps:
    """Compute the equations that a completion writes down in numbers."""
    seen: dict[str, bool] = {}
    for line in _lines(completion[:LIMIT]):
        sides = _split(tokens_of(line))
        for before, after in pairwise(sides):
            left, right = _suffix(before), _prefix(after)
            if left is None or right is None or not left.has_operator:
                continue
            verdict = _judged(left, right)
            if verdict is not None:
                seen.setdefault(f"{left} = {right}", verdict)
    return Steps(sum(seen.values()), [equation for equation, true in seen.items() if not true])


def _lines(text: str) -> Iterator[str]:
    """Yield the lines in plain notation, then what stands in calculator annotations ``<<3+4=7>>``."""
    annotated = _ANNOTATION.findall(text)
    for line in [*re.split(r"\n|\\\\", _ANNOTATION.sub("", text)), *annotated]:
        if "=" in line and len(line) <= LINE_LIMIT:
            for pattern, replacement in _REPLACED:
                line = pattern.sub(replacement, line)
            yield line


def _split(tokens: list[Token]) -> list[list[Token]]:
    """Split at the equals signs; other relations stay as tokens that nothing can be read across."""
    sides: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind == "relation" and token.text == "=":
            sides.append([])
        else:
            sides[-1].append(token)
    return sides


def _suffix(tokens: list[Token]) -> _Side | None:
    """Return the longest expression that ends here; None when its end or what stands before it cannot be read."""
    taken: list[Token] = []
    words: list[str] = []
    unclear = False
    at = len(tokens)
    while True:
        while at and tokens[at - 1].kind == "word":
            at -= 1
            words.append(tokens[at].text)
        if at and tokens[at - 1].kind == "percent":
            at -= 1
            taken.append(tokens[at])
        start = _operand_start(tokens, at)
        if start is None:
            return None
        taken += reversed(tokens[start:at])
        operand, at = tokens[start], start
        before = tokens[at - 1] if at else None
        if before and before.text == "-" and _is_sign(before, operand, tokens[at - 2] if at > 1 else None):
            taken.append(before)
            at -= 1
            operand, before = before, tokens[at - 1] if at else None
        if before and before.kind == "operator":
            taken.append(before)
            at -= 1
        elif before and operand.kind == "open" and not operand.spaced and before.kind in ("number", "close"):
            taken.append(Token("operator", "*", False))
            # In 6/2(1+2) it is not agreed which is done first.
            unclear = unclear or any(token.text == "/" for token in tokens)
        elif _cut_off(before, operand, tokens[at - 2] if at > 1 else None) or _goes_on(tokens, at):
            return None
        else:
            unclear = unclear or (before is not None and before.text.lower() in _UNCLEAR_BEFORE)
            return _side(taken[::-1], words, unclear)


def _prefix(tokens: list[Token]) -> _Side | None:
    """Return the longest expression that begins here; None when it or what follows it cannot be read."""
    taken: list[Token] = []
    words: list[str] = []
    at = 0
    while True:
        if at < len(tokens) and tokens[at].text == "-":
            taken.append(tokens[at])
            at += 1
        end = _operand_end(tokens, at)
        if end is None:
            # A dash before words ends the equation; any other operator has an operand that is no number.
            return _side(taken[:-1], words, False) if words or _is_dash(taken, tokens, at) else None
        taken += tokens[at:end]
        at = end
        if at < len(tokens) and tokens[at].kind == "percent":
            taken.append(tokens[at])
            at += 1
        first_word = at
        while at < len(tokens) and tokens[at].kind == "word":
            words.append(tokens[at].text)
            at += 1
        after = tokens[at] if at < len(tokens) else None
        if after is None or after.kind != "operator":
            break
        taken.append(after)
        at += 1
    attached = after is not None and not after.spaced and at == first_word
    if at == first_word and _runs_on(tokens, at):
        return None
    # "17/5 = 3 with 2 left": how a quotient goes on may stand behind further numbers.
    later = [token.text for token in tokens[at : at + 6] if token.text.lower() in _REMAINDER]
    return _side(taken, words[:6] + later, attached and after is not None and after.kind in ("open", "relation"))


def _runs_on(tokens: list[Token], at: int) -> bool:
    """Return whether what stands right behind a number belongs to it: ``5x``, ``3 1/2 3``, ``2:30``."""
    if at >= len(tokens):
        return False
    after, follows = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else None
    if after.kind == "stop":
        return not after.spaced and follows is not None and follows.kind == "number" and not follows.spaced
    return after.kind in ("number", "mixed") or (after.kind == "other" and (not after.spaced or after.text.isalpha()))


def _is_dash(taken: list[Token], tokens: list[Token], at: int) -> bool:
    """Return whether the operator just taken is a dash between phrases."""
    return len(taken) > 1 and taken[-1].text == "-" and at < len(tokens) and tokens[at].kind == "word"


def _operand_start(tokens: list[Token], end: int) -> int | None:
    """Return where the number or bracket that ends at ``end`` starts; None when there is none."""
    depth = 0
    for at in range(end - 1, max(-1, end - _MOST_TOKENS), -1):
        kind = tokens[at].kind
        if kind in ("stop", "relation", "other"):
            return None
        depth += (kind == "close") - (kind == "open")
        if depth == 0:
            return at if kind in ("number", "mixed", "open") else None
    return None


def _operand_end(tokens: list[Token], start: int) -> int | None:
    """Return where the number or bracket that starts at ``start`` ends; None when there is none."""
    depth = 0
    for at in range(start, min(len(tokens), start + _MOST_TOKENS)):
        kind = tokens[at].kind
        if kind in ("stop", "relation", "other"):
            return None
        depth += (kind == "open") - (kind == "close")
        if depth == 0:
            return at + 1 if kind in ("number", "mixed", "close") else None
    return None


def _is_sign(minus: Token, operand: Token, earlier: Token | None) -> bool:
    """Return whether a minus is the sign of a number: the first of its expression, or ``is -48``."""
    if earlier is None or earlier.kind in ("open", "operator", "stop"):
        return True
    return earlier.kind == "word" and minus.spaced and not operand.spaced


def _goes_on(tokens: list[Token], at: int) -> bool:
    """Return whether words alone stand between an operator and ``at``: ``25 pupils + his 1 teacher + 1``."""
    while at and tokens[at - 1].kind in ("word", "stop"):
        at -= 1
    return at > 0 and tokens[at - 1].kind == "operator"


def _cut_off(before: Token | None, operand: Token, earlier: Token | None) -> bool:
    """Return whether what stands before an expression belongs to it, so that it is only a part of something."""
    if before is None:
        return False
    if before.kind == "open":
        # "100 + (100 * 0.1 = 110": the bracket was never closed.
        return earlier is not None and earlier.kind in ("operator", "number")
    if before.kind == "word":
        return not operand.spaced
    if before.kind == "stop" and earlier is not None and earlier.kind == "number" and len(operand.text) == 3:
        # "14, 400 / 80" may be 14400.
        return before.text == ","
    if before.kind == "stop":
        return not operand.spaced and not before.spaced and earlier is not None and earlier.kind == "number"
    return True


def _side(tokens: list[Token], words: list[str], unclear: bool) -> _Side | None:
    inside = [token.text for token in tokens if token.kind == "word"]
    plain = tuple(token for token in tokens if token.kind != "word")
    lower = frozenset(word.lower() for word in words + inside)
    nameless = any(one.kind in ("open", "operator") and other.kind == "word" for one, other in pairwise(tokens))
    if nameless or not plain or len(plain) > _MOST_TOKENS:
        return None
    # 25 / 1/3 is written where 25 / (1/3) is meant.
    divided_twice = any(one.text == other.text == "/" for one, other in zip(plain, plain[2:], strict=False))
    return _Side(plain, lower, unclear or divided_twice or bool(lower & _UNCLEAR_WITHIN))


def _judged(left: _Side, right: _Side) -> bool | None:
    """Return whether an equation holds; None when it cannot be said."""
    lefts = list(values(left.tokens))
    if not lefts:
        return None
    # In a running total the right side goes on with the next step.
    first = next((n for n, token in enumerate(right.tokens) if n and token.kind == "operator"), len(right.tokens))
    found: list[Fraction] = []
    for tokens in (right.tokens, right.tokens[:first]):
        rights = list(values(tokens))
        if any(_same(one, other, tokens) for one, other in product(lefts, rights)):
            return True
        found += rights
    if not found or left.unclear or right.unclear or _is_other_quantity(left, right, lefts[0], found[0]):
        return None
    return False


def _same(value: Fraction, written: Fraction, tokens: tuple[Token, ...]) -> bool:
    """Return whether ``written`` is the value, rounded or cut off to the decimals it is written with."""
    if value == written:
        return True
    numbers = [token.text for token in tokens if token.kind == "number"]
    unit = Fraction(1, 10 ** max((len(text.partition(".")[2]) for text in numbers), default=0))
    if any(token.kind == "percent" for token in tokens):
        unit /= 100
    if unit <= FLOAT_UNIT:
        return abs(value - written) <= abs(value) * _FLOAT_ERROR
    if (value / unit).denominator == 1:
        return False
    if unit == 1:
        return len(numbers) == 1 and written >= 10 and abs(value - written) <= Fraction(1, 2)
    return abs(value - written) < unit * max(1, len(numbers))


def _is_other_quantity(left: _Side, right: _Side, value: Fraction, written: Fraction) -> bool:
    """Return whether the two sides may count in different units, or the left one be a part of something unsaid."""
    operators = {token.text for token in left.tokens if token.kind == "operator"}
    if any(token.kind == "percent" for token in left.tokens) and operators & {"+", "-"}:
        return True
    if operators == {"/"} and (right.words & _REMAINDER or abs(value) < 1 <= abs(written)):
        return True
    if "/" in operators and written.denominator == 1 and abs(value - written) < 1:
        # 56 oranges for 6 friends are 9 each.
        return True
    one, other = _measures(left), _measures(right)
    if (len(one) > 1 and operators & {"+", "-"}) or (one and other and not one & other):
        return True
    if (not one and not other) or one == other or not value or not written:
        return False
    return abs(value / written) in _CONVERSIONS or abs(written / value) in _CONVERSIONS


def _measures(side: _Side) -> set[str]:
    return {_SINGULAR.get(word, word.removesuffix("s")) for word in side.words & _MEASURES}
