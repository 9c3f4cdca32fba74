r"""Compares two final answers written in LaTeX, exactly and without computer algebra, where that is possible.

``compare_exactly`` answers True or False only where it is sure, else None: then the answers need symbolic.py. Everything here is
linear in the length of the text and computes with exact fractions of bounded size, so nothing can hang.

Decisions worth knowing:

- Units, currency and degree signs are ignored, unless both answers carry units and these differ.
- ``50\%`` is right for the gold answers 50 and 0.5, and ``0.5`` for the gold answer ``50\%``.
- A whole gold number wants exactly that number; another one leaves room for one part in a million, and one without a
  finite decimal (``8/3``) may be rounded to four places or more (``2.6667``).
- Clock times and ratios (``12:00``) are compared part by part, never divided.
- ``2516_8`` is right for ``2516`` and the other way round (the base is in the question), but never for ``2516_9``.
- Texts are compared without case, punctuation and markup; ``(C)`` and ``C`` are the same choice.
- A bare list ``1, 2`` has no order; ``(1, 2)`` has, and kinds of brackets matter where both answers have them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tpt.verifiers.typography import PLAIN, TIMES

MAX_ANSWER = 2_000
"""Longest answer that is compared, in characters."""
MAX_DIGITS = 300
RELATIVE_TOLERANCE = Fraction(1, 10**6)

_CHARACTERS = {
    **PLAIN,
    **dict.fromkeys(map(ord, TIMES), "\\cdot "),
    **{ord(char): text for char, text in {"½": "\\frac{1}{2}", "¼": "\\frac{1}{4}", "¾": "\\frac{3}{4}"}.items()},
    **{ord(char): text + " " for char, text in {
        "π": "\\pi", "√": "\\sqrt", "∞": "\\infty", "≤": "\\le",
        "≥": "\\ge", "≠": "\\ne", "∪": "\\cup", "∩": "\\cap", "∈": "\\in", "±": "\\pm", "∅": "\\emptyset",
        "θ": "\\theta", "α": "\\alpha", "β": "\\beta", "ω": "\\omega",
    }.items()},
    **{ord(char): text for char, text in {"²": "^2", "³": "^3", "°": "^\\circ", "％": "%", "，": ",", "：": ":"}.items()},
}  # fmt: skip

_WRAPPERS = re.compile(r"\\\[|\\\]|\\\(|\\\)|(?<!\\)\$+|\\displaystyle(?![a-zA-Z])|\\limits(?![a-zA-Z])")
_SIZES = re.compile(
    r"\\(?:left|right|mleft|mright|middle|bigl?|bigr?|Bigl?|Bigr?|biggl?|biggr?|Biggl?|Biggr?)(?![a-zA-Z])\.?"
)
_TEXT_COMMAND = re.compile(
    r"\\(?:textbf|textit|textrm|textnormal|textsf|texttt|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox|operatorname|rm|bf)"
    r"\s*(?=\{)"
)
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_SPACES = re.compile(r"(?<!\\)\\[,;:!> ]|~|\\q?quad(?![a-zA-Z])|\\(?:hspace|phantom)\{[^{}]*\}")
_LATEX_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|\\ |,\\,)\s?(?=\d{3}(?!\d))")
_DEGREES = re.compile(r"\^\s?\{?\s?\\(?:circ|degree)(?![a-zA-Z])\s?\}?|\\degree(?![a-zA-Z])|\\deg(?![a-zA-Z])")
_FRAC = re.compile(r"\\[dtc]?frac(?![a-zA-Z])\s?")
_FRAC_SHORT = re.compile(
    r"\\frac\s?(?:([0-9a-zA-Z])\s?([0-9a-zA-Z])|([0-9a-zA-Z])\s?(?=\{)|\{([^{}]*)\}\s?([0-9a-zA-Z]))"
)
_SQRT_SHORT = re.compile(r"\\sqrt\s?([0-9a-zA-Z])")
_SAME = [
    (re.compile(r"\\(?:leq|leqslant)(?![a-zA-Z])"), r"\\le"),
    (re.compile(r"\\(?:geq|geqslant)(?![a-zA-Z])"), r"\\ge"),
    (re.compile(r"\\neq(?![a-zA-Z])"), r"\\ne"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\(?:varnothing|empty)(?![a-zA-Z])"), r"\\emptyset"),
    (re.compile(r"\\(?:times|cdot)(?![a-zA-Z])\s*"), r"\\cdot "),
    (re.compile(r"\\(?:ldots|dots|cdots)(?![a-zA-Z])"), "..."),
]
_AND = re.compile(r",?\s*(?:\\text\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*,?")
_BRACED = re.compile(r"([_^])\{\s?([A-Za-z0-9])\s?\}")
_BLANKS = re.compile(r"\s+")
_LOOSE_BLANK = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])")

_NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"
_SCALAR = re.compile(
    rf"(?P<sign>[-+]?)(?:(?P<whole>\d+)?\s?\\frac\{{(?P<top_sign>-?)(?P<top>{_NUMBER})\}}\{{(?P<bottom_sign>-?)(?P<bottom>{_NUMBER})\}}"
    rf"|(?P<mixed>\d+)\s(?P<mixed_top>\d+)/(?P<mixed_bottom>\d+)"
    rf"|(?P<number>{_NUMBER})(?:\s?/\s?(?P<divisor>{_NUMBER}))?)\s?(?P<percent>%?)"
)
_THOUSANDS = re.compile(r"([-+]?)([1-9]\d{0,2}(?:,\d{3})+)((?:\.\d+)?%?)")
_NAME = r"\\?[A-Za-z]+(?:_(?:[A-Za-z0-9]|\{[^{}]*\}))?(?:\([A-Za-z,]{1,5}\))?"
_LABEL = re.compile(rf"{_NAME}(?::{_NAME})*=(?!=)")
_DECIMAL = re.compile(r"[-+]?\d*\.(\d{4,30})")
_DECIMAL_COMMA = re.compile(r"([-+]?\d+),(\d+)")
_MEMBER = re.compile(r"[A-Za-z](?:\\in|=)(?=[(\[\\{])")
_COLON = re.compile(r"(-?\d+(?:\.\d+)?)((?::-?\d+(?:\.\d+)?)+)(?:[ap][.m]{0,4})?", re.IGNORECASE)
_BASE = re.compile(r"([0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)_(?:\{(?:\\text\{)?([0-9A-Za-z]+)\}{1,2}|([0-9]))")
_CHOICE = re.compile(r"\(?([A-Z])\)?")
_CHOSEN = re.compile(r"\(?([A-Z])\)?(?:[).:,\s].*)?", re.DOTALL)
_WORDS = re.compile(r"[A-Za-z][A-Za-z' .,;!?\"-]*[A-Za-z'.!?\")]", re.DOTALL)
_POWER = r"(?:\^\{?-?\d\}?)?"
_UNIT = re.compile(
    rf"(?:(?<=[0-9}}%)])|(?<=\\pi)|(?<=\\pi ))\s*\\text\{{([^{{}}]*)\}}{_POWER}(?:\s*/?\s*\\text\{{[^{{}}]*\}}{_POWER})?\.?$"
)
_PLAIN_UNIT = re.compile(
    r"([-+]?[0-9][0-9.,/]*|[-+]?\d*\\frac\{\d+\}\{\d+\})(\s?)([A-Za-z][A-Za-z ./]{1,40}?)(?:\^\{?\d\}?)?\.?"
)
_PAIRS = {"(": ")", "[": "]"}

_UNIT_NAMES = {
    alias: names[0]
    for names in (
        ("mm", "millimeter", "millimetre"), ("cm", "centimeter", "centimetre"), ("km", "kilometer", "kilometre"),
        ("m", "meter", "metre"), ("in", "inch", "inche"), ("ft", "foot", "feet"), ("yd", "yard"), ("mi", "mile"),
        ("second", "sec", "s"), ("minute", "min"), ("hour", "hr", "h"), ("day",), ("week",), ("month",), ("year", "yr"),
        ("cent",), ("dollar",), ("gram", "g"), ("kg", "kilogram"), ("pound", "lb"), ("ounce", "oz"), ("liter", "litre"),
        ("ml", "milliliter"), ("degree",), ("radian",),
    )
    for alias in names
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scalar:
    """One exact number as written."""

    value: Fraction
    percent: bool = False
    places: int = 0
    """Decimals written, if there are at least four."""


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """An answer in canonical spelling, with what could be read of it."""

    text: str
    """Canonical spelling; the same for spellings of the same formula, never for different formulas."""
    unit: str
    """The unit's name if it is a known one, else empty."""
    label: str
    """What an equation such as ``x = 5`` gives the value of; not part of ``text``."""
    scalar: Scalar | None
    parts: tuple[Scalar, ...] | None
    """The numbers of a list, point, set or interval."""
    brackets: str
    """``()``, ``[)``, …; empty for a bare list or a set."""


def compare_exactly(gold: str, answer: str) -> bool | None:
    """Tell whether an answer is the gold one; None where that takes computer algebra."""
    if len(answer) > MAX_ANSWER or len(gold) > MAX_ANSWER:
        return gold == answer
    ours, theirs = read(gold), read(answer)
    if ours.unit and theirs.unit and ours.unit != theirs.unit:
        return False
    same_label = not (ours.label and theirs.label) or ours.label == theirs.label
    if ours.text == theirs.text:
        return same_label if ours.text else None
    special = _compare_special(ours.text, theirs.text)
    if special is not None:
        return special
    if not same_label:
        return None
    if ours.scalar and theirs.scalar:
        return same_number(ours.scalar, theirs.scalar)
    if (ours.scalar or theirs.scalar) and _with_point(ours.text) == _with_point(theirs.text):
        return True
    if ours.parts and theirs.parts:
        return _compare_parts(ours, theirs)
    return None


def same_number(gold: Scalar, answer: Scalar) -> bool:
    """Tell whether a number is the gold one, as itself or in the reading that a percent sign allows."""
    if gold.percent == answer.percent or not gold.percent:
        if _close(gold.value, answer.value) or _rounded(gold.value, answer):
            return True
        return answer.percent and gold.value.denominator > 1 and _close(gold.value, answer.value / 100)
    return _close(gold.value, answer.value) or _close(gold.value / 100, answer.value)


@lru_cache(maxsize=65_536)
def read(answer: str) -> ReadAnswer:
    """Read an answer of at most MAX_ANSWER characters."""
    text = canonical(answer)
    label = ""
    if (match := _LABEL.match(text)) and "=" not in text[match.end() :]:
        label, text = text[: match.end() - 1], text[match.end() :]
    elif match := _MEMBER.match(text):
        text = text[match.end() :]
    text, unit = _without_unit(text)
    text = text.strip().rstrip(".").rstrip()
    if text.startswith("{") and text.endswith("}") and "{" not in text[1:]:
        text = text[1:-1]
    scalar = _scalar(text)
    if scalar is not None:
        return ReadAnswer(_spelled(text), unit, label, scalar, None, "")
    parts, brackets = _parts(text)
    return ReadAnswer(_LOOSE_BLANK.sub("", text), unit, label, None, parts, brackets)


def canonical(text: str) -> str:
    """Return one spelling for the many ways to write the same formula."""
    if not text.isascii():
        text = text.translate(_CHARACTERS)
    if "\\" in text or "$" in text:
        text = text.replace("\\$", "").replace("\\%", "%").replace("\\#", "#")
        text = _LATEX_THOUSANDS.sub("", text)
        text = _WRAPPERS.sub(" ", text)
        text = _SIZES.sub("", text)
        text = _TEXT_COMMAND.sub(r"\\text", text)
        text = _SPACES.sub(" ", text)
        text = _DEGREES.sub("", text)
        text = _FRAC.sub(r"\\frac", text)
        text = _FRAC_SHORT.sub(_full_frac, text)
        text = _SQRT_SHORT.sub(r"\\sqrt{\1}", text)
        for pattern, replacement in _SAME:
            text = pattern.sub(replacement, text)
    text = _AND.sub(",", text) if "and" in text or "or" in text else text
    text = _BRACED.sub(r"\1\2", text)
    text = _BLANKS.sub(" ", text).strip().rstrip(".,;:").strip().removeprefix(":").strip()
    text = re.sub(r" ?([-+=<>(){}\[\],/^_|:]|\\(?:cdot|le|ge|ne|in|cup|cap|pm|mp)(?![a-zA-Z])) ?", r"\1", text)
    thousands = _THOUSANDS.fullmatch(text)
    if thousands:
        text = thousands[1] + thousands[2].replace(",", "") + thousands[3]
    return text


def as_words(text: str) -> str | None:
    """Return a text answer without case, markup and punctuation; None when it is a formula."""
    plain = re.sub(r"\s+", " ", _TEXT.sub(r" \1 ", text)).strip(" .,;!?\"'()")
    if not _WORDS.fullmatch(plain):
        return None
    # Two letters may be a product of variables; in \text{} they are a word.
    return re.sub(r"[^a-z]+", " ", plain.lower()).strip() if len(plain) > 2 or "\\text" in text else None


def _compare_special(gold: str, answer: str) -> bool | None:
    """Compare choices, words, clock times, ratios and numbers of another base."""
    choice = _CHOICE.fullmatch(_TEXT.sub(r"\1", gold).strip())
    if choice and ("text" in gold or "(" in gold):
        chosen = _CHOSEN.fullmatch(_TEXT.sub(r"\1", answer).strip())
        return chosen[1] == choice[1] if chosen else None
    if choice and _CHOICE.fullmatch(_TEXT.sub(r"\1", answer).strip()):
        return _TEXT.sub(r"\1", answer).strip().strip("()") == choice[1]
    words = as_words(gold)
    if words is not None:
        said = as_words(answer)
        return None if said is None else said == words
    if ":" in gold or ":" in answer:
        return _compare_colons(gold, answer)
    if "_" in gold or "_" in answer:
        return _compare_bases(gold, answer)
    return None


def _compare_colons(gold: str, answer: str) -> bool | None:
    ours, theirs = (_COLON.fullmatch(_TEXT.sub(r"\1", text).replace(" ", "")) for text in (gold, answer))
    if ours is None or theirs is None:
        return None if ours is None and theirs is None else False
    left = [Fraction(part) for part in (ours[1] + ours[2]).split(":")]
    right = [Fraction(part) for part in (theirs[1] + theirs[2]).split(":")]
    halves = [
        re.search(r"[ap][.m]*$", text, re.IGNORECASE) for text in (_TEXT.sub(r"\1", gold), _TEXT.sub(r"\1", answer))
    ]
    named = [half.group().lower()[0] for half in halves if half]
    return left == right and len(set(named)) <= 1


def _compare_bases(gold: str, answer: str) -> bool | None:
    ours, theirs = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if ours is None and theirs is None:
        return None
    if ours is not None and theirs is not None:
        return ours.groups() == theirs.groups() or (ours[1] == theirs[1] and {*ours.groups()} == {*theirs.groups()})
    based, plain = (ours, answer) if ours is not None else (theirs, gold)
    assert based is not None
    if not re.fullmatch(r"[0-9A-Za-z]+", plain):
        return None
    return based[1] == plain


def _compare_parts(gold: ReadAnswer, answer: ReadAnswer) -> bool | None:
    assert gold.parts is not None and answer.parts is not None
    if len(gold.parts) != len(answer.parts):
        return False
    if gold.brackets and answer.brackets and gold.brackets != answer.brackets:
        return False
    in_order = all(map(same_number, gold.parts, answer.parts))
    if in_order or gold.brackets or answer.brackets:
        return in_order
    sort = sorted(gold.parts, key=lambda part: part.value), sorted(answer.parts, key=lambda part: part.value)
    return all(map(same_number, *sort))


def _close(gold: Fraction, value: Fraction) -> bool:
    return gold == value or (gold.denominator > 1 and abs(gold - value) <= abs(gold) * RELATIVE_TOLERANCE)


def _rounded(gold: Fraction, answer: Scalar) -> bool:
    """Tell whether an answer is a gold number without a finite decimal, rightly rounded to four places or more."""
    rest = gold.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    return rest > 1 and answer.places > 0 and round(gold, answer.places) == answer.value


def _with_point(text: str) -> str:
    """Return a number with a decimal point where it has a decimal comma."""
    match = _DECIMAL_COMMA.fullmatch(text)
    return f"{match[1]}.{match[2]}" if match else text


def _full_frac(match: re.Match[str]) -> str:
    top, bottom, lone_top, braced_top, lone_bottom = match.groups()
    if lone_top is not None:
        return f"\\frac{{{lone_top}}}"
    return f"\\frac{{{top if braced_top is None else braced_top}}}{{{bottom if lone_bottom is None else lone_bottom}}}"


def _without_unit(text: str) -> tuple[str, str]:
    """Return the text without a unit behind it, and the unit's name if it is a known one."""
    unit = _UNIT.search(text)
    # "a.m." is no unit: it tells two times apart.
    if unit and unit.start() > 0 and ":" not in text and not text.startswith("\\text"):
        return text[: unit.start()], _unit_name(unit[1])
    plain = _PLAIN_UNIT.fullmatch(text)
    # "3 xy" may be algebra; a word of three letters behind a blank is a unit, and so is "cm".
    if plain and (_unit_name(plain[3]) or (plain[2] and re.search(r"[A-Za-z]{3}", plain[3]))):
        return plain[1], _unit_name(plain[3])
    return text, ""


def _unit_name(text: str) -> str:
    words = text.strip(" .").lower().split()
    name = words[-1].rstrip(".") if words else ""
    return _UNIT_NAMES.get(name, _UNIT_NAMES.get(name.removesuffix("s"), ""))


def _scalar(text: str) -> Scalar | None:
    match = _SCALAR.fullmatch(text)
    if match is None or len(text) > MAX_DIGITS:
        return None
    group = match.groupdict()
    if group["number"] is not None:
        value, bottom = Fraction(group["number"]), Fraction(group["divisor"] or 1)
        whole = Fraction(0)
    elif group["mixed"] is not None:
        value, bottom, whole = Fraction(group["mixed_top"]), Fraction(group["mixed_bottom"]), Fraction(group["mixed"])
    else:
        value, bottom, whole = Fraction(group["top"]), Fraction(group["bottom"]), Fraction(group["whole"] or 0)
        if (group["top_sign"] == "-") != (group["bottom_sign"] == "-"):
            value = -value
    if not bottom or (whole and value < 0):
        return None
    value = whole + value / bottom
    decimal = _DECIMAL.fullmatch(text)
    places = len(decimal[1]) if decimal else 0
    return Scalar(-value if group["sign"] == "-" else value, bool(group["percent"]), places)


def _spelled(text: str) -> str:
    return text.replace(" /", "/").replace("/ ", "/").removeprefix("+")


def _parts(text: str) -> tuple[tuple[Scalar, ...] | None, str]:
    """Read a list, point, interval or set of numbers."""
    brackets = ""
    if text.startswith("\\{") and text.endswith("\\}"):
        text = text[2:-2]
    elif text[:1] in _PAIRS and text[-1:] in _PAIRS.values():
        brackets, text = text[0] + text[-1], text[1:-1]
    pieces = text.split(",")
    # "2,74" is one number to some and two to others.
    unclear = not brackets and len(pieces) == 2 and re.fullmatch(r"[-+]?\d+,\d+", text)
    if unclear or len(pieces) > 50 or (len(pieces) == 1 and brackets not in ("", "()")):
        return None, ""
    parts = [_scalar(piece.strip()) for piece in pieces]
    found = tuple(part for part in parts if part is not None)
    return (found if len(found) == len(parts) else None), brackets
