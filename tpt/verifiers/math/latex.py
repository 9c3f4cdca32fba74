r"""Compares two final answers written in LaTeX, exactly and without computer algebra, where that is possible.

``compare_exactly`` answers True or False only where it is sure, else None: then the answers need symbolic.py. Everything here is
linear in the length of the text and computes with exact fractions of bounded size, so nothing can hang.

Decisions worth knowing:

- Known units (units.py), currency and degree signs are ignored, unless both answers carry measures and these differ. Scales
  count (``5 \text{ million}`` is 5000000), and any other word is a part of the answer.
- ``50\%`` is right for the gold answers 50 and 0.5, and ``0.5`` for the gold answer ``50\%``.
- A whole gold number wants exactly that number; another one leaves room for one part in a million, at most half a hundredth,
  and one without a finite decimal (``8/3``) may be rounded to four places or more (``2.6667``).
- Clock times and ratios (``12:00``) are compared part by part, never divided.
- ``2516`` is right for ``2516_8`` (the base is in the question), and the other way round where the question names the base.
- Texts are compared without case, punctuation and markup; ``(C)`` and ``C`` are the same choice, and two choices are never one.
- A bare list ``1, 2`` has no order; ``(1, 2)`` has, and kinds of brackets matter where both answers have them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tpt.verifiers.math.scalars import Scalar, same_number, scalar_of, spelled
from tpt.verifiers.math.spelling import TEXT, canonical
from tpt.verifiers.math.units import Unit, unit_of

MAX_ANSWER = 2_000
"""Longest answer that is compared, in characters."""

_LOOSE_BLANK = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])")
_NAME = (
    r"(?!\\(?:not|neg|lnot|neq?|[lg]eq?|approx|sim|equiv|cong|pm|mp|times|div|cdot)(?![a-z]))"
    r"\\?[A-Za-z]+(?:_(?:[A-Za-z0-9]|\{[^{}]*\}))?(?:\([A-Za-z,]{1,5}\))?"
)
# What a capital names is a point, a line, an angle or a ratio of these: AB, |AB|, \frac{NO}{BO}, m\angle A.
_POINTS = r"(?=[^=]{0,40}[A-Z])m?(?:\\(?:frac|overline|angle|triangle)(?![a-z])|[A-Z|{}\[\]/' ]|_\d){1,40}"
_LABEL = re.compile(rf"(?:{_NAME}(?::{_NAME})*|\\text\{{[^{{}}]*\}}|{_POINTS})=(?!=)")
_DECIMAL_COMMA = re.compile(r"([-+]?\d{1,30}),(\d{1,30})")
_MEMBER = re.compile(r"[A-Za-z](?:\\in|=)(?=[(\[\\{])")
_COLON = re.compile(r"(-?\d+(?:\.\d+)?)((?::-?\d+(?:\.\d+)?)+)(?:[ap][.m]{0,4})?", re.IGNORECASE)
_BASE = re.compile(
    r"(?=[A-Z]*[0-9]|[A-F]{2})([0-9A-Za-z]+(?:\.[0-9A-Za-z]+)?)_(?:\{(?:\\text\{)?([0-9A-Za-z]+)\}{1,2}|([0-9]))"
)
BASES = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10",
    "sixteen": "16",
}  # fmt: skip
"""The bases of numbers, by their words."""
_CHOICE = re.compile(r"\(?([A-Z])\)?")
# Behind the letter its option may be repeated, but no second one named.
_CHOSEN = re.compile(r"(?:\(([A-Z])\)|([A-Z])[).:])(?![ ,;/&]*(?:and|or|[,;/&]|\(?[A-Z](?![A-Za-z]))).*", re.DOTALL)
_SECOND_CHOICE = re.compile(
    r"(?:\b(?:and|or|not|nor)|[,;/&])\s*\(?[A-Z]\)?(?![A-Za-z])|\([A-Z]\)|\b(?:wrong|incorrect|false)\b"
)
_CHOICES = re.compile(r"(?:\([A-Z]\)|[A-Z])(?:(?:,|;|&|/|\band\b)+(?:\([A-Z]\)|[A-Z]))+")
_CAPITALS = re.compile(r"[A-Z]{2,}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' .,;!?\"-]*[A-Za-z'.!?\")]", re.DOTALL)
_SIGNS = [
    *(("\\$", "dollar"), ("€", "euro"), ("£", "gbp"), ("\\circ", "degree"), ("°", "degree"), ("\\deg", "degree")),
    *(("''", "in"), ("'", "ft")),
]
"""Signs of measures, and the measures' names (units.py)."""
_PAIRS = {"(": ")", "[": "]"}
_UNIT_PIECE = r"(?:\\text\s*\{[^{}]*\}|\^\{?-?\d\}?|\\cdot|[/.,·\s])"
_TEXT_UNIT = re.compile(rf"(?<=[0-9}}%)\]i])\s*(\\text\s*\{{[^{{}}]*\}}{_UNIT_PIECE}*)\Z")
_PLAIN_UNIT = re.compile(
    r"([-+]?[0-9][0-9.,/ ]*|[-+]?\d*\\frac\{\d+\}\{\d+\}|[-+]?\d*\\(?:pi|sqrt\{\d+\}))(\s?)([A-Za-z][A-Za-z "
    r"./'-]{0,60}(?:\^\d)?[. ]?)"
)


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """An answer in canonical spelling, with what could be read of it."""

    text: str
    """Canonical spelling; the same for spellings of the same formula, never for different formulas."""
    unit: str
    """The measure's name if there is a known one, else empty."""
    label: str
    """What an equation such as ``x = 5`` gives the value of; not part of ``text``."""
    scalar: Scalar | None
    parts: tuple[Scalar, ...] | None
    """The numbers of a list, point, set or interval."""
    brackets: str
    """``()``, ``[)``, ``{}``, …; empty for a bare list."""


def compare_exactly(gold: str, answer: str) -> bool | None:
    """Tell whether an answer is the gold one; None where that takes computer algebra."""
    if len(answer) > MAX_ANSWER or len(gold) > MAX_ANSWER:
        return gold == answer
    ours, theirs = read(gold), read(answer)
    if (ours.unit and theirs.unit and ours.unit != theirs.unit) or _other_sign(gold, ours, answer, theirs):
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
    if ours.scalar and _with_comma(answer, theirs) == ours.scalar.value:
        return True
    # "3,4" as the gold answer is two numbers, "2,74" is one.
    if theirs.scalar and re.search(r"\d,\d{2}", gold) and _with_comma(gold, ours) == theirs.scalar.value:
        return True
    if (ours.scalar and _is_list(theirs)) or (theirs.scalar and _is_list(ours)):
        return False  # 5 is not "5, 5", however sets are compared
    if _other_brackets(ours.text, theirs.text):
        return False
    if ours.parts and ours.brackets in ("()", "[]") and not theirs.brackets and re.search(r"\bor\b", answer):
        return False  # a point is not "3 or 4"
    if ours.parts and theirs.parts:
        return _compare_parts(ours, theirs)
    return None


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
    text = text.strip()
    text = text if text.endswith("...") else text.rstrip(".").rstrip()
    if text.startswith("{") and text.endswith("}") and "{" not in text[1:]:
        text = text[1:-1]
    scalar = scalar_of(text)
    if scalar is not None:
        if unit and unit.factor > 1:
            scalar = Scalar(scalar.value * unit.factor, scalar.percent)
            text = spelled(scalar.value) + "%" * scalar.percent
        text = text.replace(" /", "/").replace("/ ", "/").removeprefix("+")
        return ReadAnswer(text, unit.name if unit else "", label, scalar, None, "")
    parts, brackets = _parts(text)
    return ReadAnswer(_LOOSE_BLANK.sub("", text), unit.name if unit else "", label, None, parts, brackets)


def _other_sign(gold: str, ours: ReadAnswer, answer: str, theirs: ReadAnswer) -> bool:
    """Tell whether two answers count in different things by their signs: $5, 5 €, 5%, 5°, 5'; no sign is no difference."""
    one, other = (next((name for sign, name in _SIGNS if sign in text), "") for text in (gold, answer))
    if ours.unit and theirs.scalar and theirs.scalar.percent:
        return True
    if other == "degree" and not one and "\\pi" in ours.text:
        return True
    first, second = ((sign or of.unit).partition("/")[0] for sign, of in ((one, ours), (other, theirs)))
    return bool((one or other) and first and second and first != second)


def as_words(text: str) -> str | None:
    """Return a text answer without case, markup and punctuation; None when it is a formula."""
    plain = re.sub(r"\s+", " ", TEXT.sub(r" \1 ", text)).strip(" .,;!?\"'()")
    if not _WORDS.fullmatch(plain):
        return None
    # Two letters may be a product of variables; in \text{} they are a word.
    return re.sub(r"[^a-z]+", " ", plain.lower()).strip() if len(plain) > 2 or "\\text" in text else None


def _without_unit(text: str) -> tuple[str, Unit | None]:
    """Return the text without a unit behind it, and the unit; a scale stays where it cannot be multiplied in."""
    # "a.m." is no unit: it tells two times apart.
    if ":" in text or not (text[-1:].isalpha() or "\\text" in text or (text[-1:].isdigit() and "^" in text)):
        return text, None
    if "\\text" in text:
        found = None if text.startswith("\\text") else _TEXT_UNIT.search(text)
        if found is None:
            return text, None
        rest, words = text[: found.start()], TEXT.sub(r" \1 ", found[1]).replace("\\cdot", "·")
        unit = unit_of(words, is_text=True)
    else:
        plain = _PLAIN_UNIT.fullmatch(text)
        if plain is None:
            return text, None
        rest, words = plain[1], plain[3]
        unit = unit_of(words, is_text=False)
    rest = rest.strip()
    if unit is None or (unit.factor > 1 and scalar_of(rest) is None):
        return text, None
    return (rest + "%" if unit.percent else rest), unit


def _compare_special(gold: str, answer: str) -> bool | None:
    """Compare choices, words, clock times, ratios and numbers of another base."""
    ours, theirs = TEXT.sub(r"\1", gold).strip(), TEXT.sub(r"\1", answer).strip()
    chosen = _compare_choices(gold, ours, theirs)
    if chosen is not None:
        return chosen
    if _CAPITALS.fullmatch(ours) and _CAPITALS.fullmatch(theirs):
        return ours == theirs
    words = as_words(gold)
    if words is not None:
        said = as_words(answer)
        return None if said is None else said == words
    if ":" in gold or ":" in answer:
        return _compare_colons(gold, answer)
    if "_" in gold or "_" in answer:
        return _compare_bases(gold, answer)
    return None


def _compare_choices(gold: str, ours: str, theirs: str) -> bool | None:
    several, wanted = _choices(theirs), _choices(ours)
    if wanted:
        return several == wanted if several else (False if _CHOICE.fullmatch(theirs) else None)
    choice = _CHOICE.fullmatch(ours)
    if choice is None:
        return None
    if several:
        return False
    if _CHOICE.fullmatch(theirs):
        return theirs.strip("()") == choice[1]
    if "text" in gold or "(" in gold:
        chosen = _CHOSEN.fullmatch(theirs)
        if chosen is None:
            return False if re.match(r"\(?[A-Z]\)?(?![A-Za-z])", theirs) else None
        return (chosen[1] or chosen[2]) == choice[1] and not _SECOND_CHOICE.search(theirs, 3)
    return None


def _choices(text: str) -> frozenset[str]:
    """Return the letters of a list of several choices; empty when the text is none."""
    plain = re.sub(r"\s+", "", re.sub(r"\s+and\s+", ",", text))
    return frozenset(re.findall("[A-Z]", plain)) if _CHOICES.fullmatch(plain) else frozenset()


def _compare_colons(gold: str, answer: str) -> bool | None:
    ours, theirs = (_COLON.fullmatch(TEXT.sub(r"\1", text).replace(" ", "")) for text in (gold, answer))
    if ours is None or theirs is None:
        return None if ours is None and theirs is None else False
    left = [Fraction(part) for part in (ours[1] + ours[2]).split(":")]
    right = [Fraction(part) for part in (theirs[1] + theirs[2]).split(":")]
    halves = [
        re.search(r"[ap][.m]*$", text, re.IGNORECASE) for text in (TEXT.sub(r"\1", gold), TEXT.sub(r"\1", answer))
    ]
    named = [half.group().lower()[0] for half in halves if half]
    return left == right and len(set(named)) <= 1


def _compare_bases(gold: str, answer: str) -> bool | None:
    ours, theirs = _BASE.fullmatch(gold), _BASE.fullmatch(answer)
    if ours is None and theirs is None:
        return None
    if ours is not None and theirs is not None:
        one, other = (BASES.get(of[2] or of[3], of[2] or of[3]) for of in (ours, theirs))
        return ours[1] == theirs[1] and one == other
    # The base of a gold answer may be left off; that of an answer counts (verify.py takes off what the question asks for).
    return ours is not None and ours[1] == answer if re.fullmatch(r"[0-9A-Za-z]+", gold if theirs else answer) else None


def _other_brackets(gold: str, answer: str) -> bool:
    """Tell whether one is a set and the other a point or an interval."""
    sets = [text.startswith("\\{") and text.endswith("\\}") for text in (gold, answer)]
    tuples = [text[:1] in _PAIRS and text[-1:] in _PAIRS.values() and "," in text for text in (gold, answer)]
    return (sets[0] and tuples[1]) or (tuples[0] and sets[1])


def _is_list(answer: ReadAnswer) -> bool:
    return (
        bool(answer.parts and len(answer.parts) > 1)
        or ";" in answer.text
        or _DECIMAL_COMMA.fullmatch(answer.text) is not None
    )


def _compare_parts(gold: ReadAnswer, answer: ReadAnswer) -> bool | None:
    assert gold.parts is not None and answer.parts is not None
    if len(gold.parts) != len(answer.parts):
        return False
    if gold.brackets and answer.brackets and gold.brackets != answer.brackets:
        return False
    in_order = all(map(same_number, gold.parts, answer.parts))
    if in_order or (gold.brackets or answer.brackets) not in ("", "{}"):
        return in_order
    sort = sorted(gold.parts, key=lambda part: part.value), sorted(answer.parts, key=lambda part: part.value)
    return all(map(same_number, *sort))


def _with_comma(written: str, found: ReadAnswer) -> Fraction | None:
    """Return the value of a number with a decimal comma; a blank behind the comma, or "5,0", makes it two."""
    match = _DECIMAL_COMMA.fullmatch(found.text)
    if match is None or match[2] == "0" or re.search(r",\s", written):
        return None
    return Fraction(f"{match[1]}.{match[2]}")


def _parts(text: str) -> tuple[tuple[Scalar, ...] | None, str]:
    """Read a list, point, interval or set of numbers."""
    brackets = ""
    if text.startswith("\\{") and text.endswith("\\}"):
        brackets, text = "{}", text[2:-2]
    elif text[:1] in _PAIRS and text[-1:] in _PAIRS.values():
        brackets, text = text[0] + text[-1], text[1:-1]
    pieces = text.split(",")
    # "2,74" is one number to some and two to others.
    unclear = not brackets and len(pieces) == 2 and re.fullmatch(r"[-+]?\d+,\d+", text)
    if unclear or len(pieces) > 50 or (len(pieces) == 1 and brackets not in ("", "()", "{}")):
        return None, ""
    parts = [scalar_of(piece.strip()) for piece in pieces]
    found = tuple(part for part in parts if part is not None)
    return (found if len(found) == len(parts) else None), brackets
