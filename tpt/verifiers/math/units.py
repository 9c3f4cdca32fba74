r"""Units behind a number: which may be left off, which change the value, and which change the meaning.

Only what is listed here is a unit. A scale (``million``, ``dozen``) multiplies, and any other word stays a part of the
answer, so that ``3 \text{ or more}`` is not 3.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SCALES = {
    "dozen": 12, "lakh": 10**5, "crore": 10**7,
    "hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
PERCENT = ("percent", "percentage", "pct", "per cent")
_MEASURES = {
    alias: names[0]
    for names in (
        ("mm", "millimeter", "millimetre"), ("cm", "centimeter", "centimetre"), ("dm", "decimeter"),
        ("km", "kilometer", "kilometre"), ("m", "meter", "metre"), ("in", "inch", "inche"), ("ft", "foot", "feet"),
        ("yd", "yard"), ("mi", "mile"), ("ms", "millisecond"), ("s", "second", "sec"), ("min", "minute"), ("h", "hour", "hr"),
        ("day",), ("week", "wk"), ("month",), ("year", "yr"), ("decade",), ("century", "centurie"),
        ("cent", "penny", "pennie"), ("dollar", "usd", "buck"), ("euro", "eur"), ("gbp",), ("rupee", "rs", "inr"), ("yuan",),
        ("yen",), ("peso",), ("g", "gram", "gm"), ("kg", "kilogram"), ("mg", "milligram"), ("lb", "pound"), ("oz", "ounce"),
        ("ton", "tonne"), ("l", "liter", "litre"), ("ml", "milliliter", "millilitre"), ("gal", "gallon"), ("quart",), ("pint",),
        ("cup",), ("degree", "deg"), ("degree/celsius", "celsius"), ("degree/fahrenheit", "fahrenheit"), ("kelvin",),
        ("rad", "radian"), ("acre",), ("hectare", "ha"), ("mph",), ("kmph", "kph"), ("am",), ("pm",),
        ("j", "joule"), ("w", "watt"), ("kw", "kilowatt"), ("v", "volt"), ("n", "newton"), ("hz", "hertz"), ("ohm",),
        ("mole", "mol"), ("calorie", "cal"), ("byte",), ("bit",), ("mb",), ("gb",), ("kb",), ("revolution", "rpm"),
    )
    for alias in names
}  # fmt: skip
_CASED = {"L": "l", "J": "j", "W": "w", "V": "v", "N": "n", "m": "m", "g": "g", "s": "s", "h": "h", "l": "l"}
"""Letters that are units in ``\\text{}``, written so and not otherwise; a letter outside of it is a variable."""
_THINGS = """
pair unit point way edge vertex vertice vertices face side angle diagonal digit number integer element solution root subset
permutation combination arrangement triangle square rectangle circle line segment term page book student child children
person people man men woman women boy girl kid friend player team teacher worker employee member adult guest customer
passenger apple orange banana pear peach lemon egg cookie cake pie pizza slice piece candy candie cupcake muffin donut
sandwich burger meal lunch dinner ticket seat chair table desk room floor house window door car bus buse truck train bike
bicycle wheel plane boat ship ball game goal run card coin marble toy block cube tile stone rock stick pencil pen crayon
marker notebook sheet paper box boxe bag basket bucket jar bottle can glass glasse plate bowl flower rose tulip tree plant
leaf leave seed dog puppy puppie cat kitten bird chicken hen duck cow horse sheep pig goat rabbit fish animal bee ant spider
mouse mice frog fruit vegetable carrot potato potatoe tomato tomatoe onion strawberry strawberrie blueberry blueberrie
cherry cherrie grape shirt shoe sock hat dress dresse jacket scarf uniform button bead ribbon step stair stop lap trip visit
call message letter word sentence song movie photo picture video question problem test exam vote hour shift task item gift
present prize medal trophy trophie star sticker stamp map key phone computer laptop tv flight outfit color colour monkey
bear lion tiger elephant soldier pirate gallon pack package packet pile row column group set class classe school city citie
town village building store shop farm garden park pool tank lamp bulb battery batterie brick board nail screw tool rope
chain outcome case choice region prime factor divisor multiple symmetry symmetrie handshake committee path route chord cell
vehicle motorcycle token loaf loave quarter nickel dime
"""
_COUNTED = frozenset(_THINGS.split())
"""Things that answers count; no two of them are told apart."""
_MODIFIERS = frozenset(
    (
        "square",
        "cubic",
        "sq",
        "cu",
        "fluid",
        "us",
        "nautical",
        "whole",
        "different",
        "distinct",
        "total",
        "positive",
        "real",
        "ordered",
        "possible",
        "valid",
        "complex",
        "rational",
        "even",
        "odd",
    )
)
_JOINTS = frozenset(("per", "/", "a", "an", "each", "every", "of", "·"))
_BEHIND = frozenset(("tall", "long", "wide", "high", "deep", "old", "total", "each", "away", "altogether"))
_SQUARE, _CUBIC = frozenset(("square", "sq")), frozenset(("cubic", "cu"))

_DEGREES_OF = re.compile(r"\bdegrees? (?=celsius|fahrenheit)", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z]+(?:'[a-z]+)?|/|·|\^?\{?-?[0-9]\}?|\S")


class Unit(NamedTuple):
    """What the words behind a number say."""

    name: str
    """Of a measure that must not differ; empty for things that are only counted."""
    factor: int
    percent: bool


def unit_of(words: str, *, is_text: bool) -> Unit | None:
    r"""Return the unit that some words are; None where a word is not known.

    Args:
        words: what stands behind the number.
        is_text: they stand in ``\text{}``, where a letter may be a unit.
    """
    plain = re.sub(r"[ap]\.\s?m\.?", lambda match: match[0][0] + "m", words).replace("o'clock", "").strip(" .,~")
    factor, plain = _scale(_DEGREES_OF.sub("", plain))
    lowered = plain.lower()
    if lowered in PERCENT or lowered.removesuffix("s") in PERCENT:
        return Unit("", factor, True)
    if not lowered:
        return Unit("", factor, False) if factor > 1 or "clock" in words else None
    tokens = _TOKEN.findall(plain.replace(".", " "))
    name: list[str] = []
    power, nouns, last = "", 0, ""
    for token in tokens:
        lower = token.lower()
        if lower in _SQUARE or lower in _CUBIC:
            power, known = ("2" if lower in _SQUARE else "3"), True
        elif lower in _MODIFIERS or (lower in _BEHIND and nouns):
            known = True
        elif lower in _JOINTS:
            known = bool(nouns) or lower in ("per", "/", "each")
            name.append("/" if lower != "·" else "·")
        elif (digit := re.fullmatch(r"\^\{?(-?[0-9])\}?", token)) is not None:
            known = bool(nouns) and last not in ("/", "per")
            name.append(digit[1])
        else:
            measure = _measure(token, is_text=is_text)
            known = measure is not None
            nouns += known
            name.append(f"{measure}{power}" if measure else "")
            power = ""
        if not known:
            return None
        last = lower
    if not nouns and not (tokens and tokens[-1].lower() in ("square",)):
        return None
    spelled = "".join(name).rstrip("/·")
    return Unit(spelled if re.search(r"[a-z]", spelled) else "", factor, False)


def _measure(token: str, *, is_text: bool) -> str | None:
    """Return a measure's name, an empty text for a thing that is counted, None for an unknown word."""
    if len(token) == 1:
        return _CASED.get(token) if is_text else None
    lower = token.lower()
    for word in (lower, lower.removesuffix("s"), lower.removesuffix("'s"), lower.removesuffix("es")):
        if len(word) > 1 and word in _MEASURES:
            return _MEASURES[word]
        if word in _COUNTED:
            return ""
    return None


def _scale(words: str) -> tuple[int, str]:
    factor = 1
    while True:
        first, _, rest = words.partition(" ")
        scale = SCALES.get(first.lower()) or SCALES.get(first.lower().removesuffix("s"))
        if scale is None:
            return factor, words
        factor, words = factor * scale, rest.strip()
