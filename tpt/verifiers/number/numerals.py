"""Reads one number, exactly, from a short piece of text.

Callers pass a bounded piece (see ``WINDOW``), for some patterns here look back over what they have read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from tpt.verifiers.number.spelled import spelled_at
from tpt.verifiers.typography import OVER, PLAIN, TIMES
from tpt.verifiers.wording import AFTER, turned

WINDOW = 400
"""Longest piece of text worth reading, in characters."""
MAX_DIGITS = 300
"""Longest run of digits that is still a number to us; more is hostile or broken."""
MAX_EXPONENT = 300
"""Largest absolute power of ten; ``1e999999999`` must not be computed."""


class Numeral(NamedTuple):
    """One answer as read: a number, or a text that holds digits but is not one number (``2:30``, ``3-4``)."""

    value: Fraction | None
    """None when the text is not one number."""
    text: str
    """As found, with its currency, percent sign or scale word."""
    percent: bool = False
    scale: str = ""
    """``million``, ``dozen``, …: already multiplied into the value."""


SCALES = {
    **{"十": 10, "百": 100, "千": 1_000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "兆": 10**12},
    **{"천": 1_000, "만": 10**4, "억": 10**8},
    "dozen": 12,
    "lakh": 10**5,
    "crore": 10**7,
    "hundred": 100,
    "thousand": 1_000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}
_SHORT = {"k": "thousand", "m": "million", "mn": "million", "bn": "billion", "tn": "trillion"}

# Thousands commas in threes, or as in India (1,30,000).
_PLAIN = r"(?:(?:(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3})(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
NUMBER = re.compile(
    rf"""(?=[-+$€£¥₹0-9.\\])(?P<sign>[-+]?)(?:[$€£¥₹]?(?P<sign_2>(?<=[$€£¥₹])-?))?
    (?: (?P<whole>[0-9]+)?\s?\\[cdt]?frac\s?
            (?:\{{\s?(?P<top>-?{_PLAIN})\s?\}}|(?P<top_digit>[0-9]))\s?
            (?:\{{\s?(?P<bottom>{_PLAIN})\s?\}}|(?P<bottom_digit>[0-9]))
      | (?P<mixed>[0-9]+)\s{{1,2}}(?P<mixed_top>[0-9]+)/(?P<mixed_bottom>[0-9]+)
      | (?P<number>{_PLAIN})
        (?: \s?/\s?(?P<divisor>{_PLAIN})
          | [eE](?P<exponent>[-+]?[0-9]+)(?![0-9A-Za-z])
          | \s?(?:[*x]|\\times|\\cdot)\s?10\s?(?:\^|\*\*)\s?\{{?(?P<power>[-+]?[0-9]+)\}}?
        )?
    )""",
    re.VERBOSE,
)
_SUFFIX = re.compile(
    r"(?::00\s?[ap]\.?m\b)|[\s$)\]}*]{0,6}(?:(?P<percent>%|percent|per\ cent|pct)"
    r"|(?P<scale>dozen|lakh|crore|hundred|thousand|million|billion|trillion)s?\b)|\s?(?P<wan>[十百千万萬亿億兆천만억])"
    r"|(?P<short>k|\s?(?:(?-i:M)|mn|bn|tn))(?![A-Za-z0-9&])",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"""(?: [\s:*_`"'“”‘’(){\[=≈~]
      | (?<![A-Za-z {])> | \A>
      | \\[(\[]
      | \\(?:boxed|fbox|approx|displaystyle|left)(?![A-Za-z])
      | \$ | [€£¥₹](?=\s*-?\s*[0-9.])
      | (?:USD|US(?=\$)|Rs\.?|about|approximately|roughly|exactly|only|the|final|answer|is)(?![A-Za-z])
      | [A-Za-z]\s?=
    )*""",
    re.VERBOSE | re.IGNORECASE,
)
_CLOSERS = re.compile(r"(?:[$)\]}*`\"'”’%]|\\[)\]])*")
# What may not follow a number: it would make the number a part of something else.
_UNCLEAR_AFTER = re.compile(
    r"""[0-9_&@#\x00-\x08\x0e-\x1f\x7f] | [.,]\s?[0-9] | [^\x00-\x7f\w\s][0-9] | \([0-9] | \s*(?:\.\.+|[…—•✖→⇒])\s*[-$]?[0-9]
      | !+[\s]*[})$\]] | !! | \s*% | [‰‱]                    # a factorial; a second percent sign
      | \s*(?:[=>]|-+>|<(?![/|])|[:+*/]\s*[-$(\\]*\s*[0-9a-zA-Z(](?<![a-zA-Z])|-\s*[$(\\]*[0-9(])
      | \.?\s*\\(?:overline|bar|dot|ldots|dots|cdots|pm|mp)(?![a-z])   # 3.\overline{6} is not 3
      | \s[bdeijknopqrtuvxyz](?=\s*(?:[})$]|\\\)|\.?\s*\Z)) | \+(?![0-9A-Za-z]) | \s+\+(?:[^0-9A-Za-z]|\Z) | \s+r\s?[0-9]
      | [+*]\s*[A-Za-z] | \s*\^(?!\s?\{?\\circ) | pi\b | h\s?[0-9] | °\s?[0-9]
      | \s*(?:to|or|and|through|vs\.?|versus|[,;&~])\s*(?:[a-z]\s?=\s?)?[-+$]*\.?[0-9]
      | \s+[-+$]*\.?[0-9]                                      # 10 12
      | \s?x\s?[0-9(] | \s?[abknpqrtuvwxyz]\s?\^
      | [a-fijn-rt-vx-z](?![A-Za-z])                           # 3x: algebra, not a unit
      | \s*\\(?!(?:text|math|mbox|quad|qquad|right|approx|degree|end|big|n(?![a-z]))|[%$),;!:\]\s\\])
      | \s*(?:[+*-]\s*)\\
      # 2 hours and 30 minutes; 18 eggs or 20
      | \s+(?!(?:for|in|per|of|since|because|as|from|by|at|after|with|on|out|than|if|when|over|is|are|means|which|not
              |every|each|so|plus|minus|times)\b)
        [A-Za-z]+\.?,?\s+(?:(?:and|or|to|&)\s+)?[-$]*[0-9]
      | """
    + AFTER.pattern,
    re.VERBOSE | re.IGNORECASE,
)
_DIGIT = re.compile("[0-9]")
_BULLET = re.compile(
    r"(?:[-+*•–‣◦→▪●▸>]|1[.)])[ \t]+(?=(?:minus |negative )?[-+$€£*_(]{0,3}[0-9.\\])"
    r"(?P<more>[^\n]*\n[ \t]*(?:[-+*•–‣◦→▪●▸>]|2[.)])[ \t])?"
)
# Words before a number that make it another one: minus 5, not 5 but 6.
_TURNED = re.compile(
    r"(?P<sign>(?:negative|minus)\s+|[-−]\s+)(?=[$€£]?[0-9.\\])"
    r"|not\s[^.;\n]{1,40}?(?:\bbut|[,;]\s(?:but\s)?it(?:['’]s|\s+is))\s+(?:rather\s+)?(?=[-$€£]?[0-9.\\])",
    re.IGNORECASE,
)
# 9 eggs * $2 an egg = $18: the number is only the calculation's first.
_CALCULATION = re.compile(r"[^.,;:(=0-9]{0,40}?[-+*/x]\s?[$(]*[0-9][^(\n]{0,120}?=")
# x = 7, y = 8: two answers
_ASSIGNED = re.compile(r"(?:[,;&]|\b(?:and|or))\s*[A-Za-z]\s?=")
# Categories of characters that belong to a number they touch, and characters among them that do not.
_SYMBOLS = frozenset(("Sm", "Sk", "Nd", "Nl", "No", "Mn", "Me", "Lm"))
_APART = "≈→⇒∴∵∎"
_NEAR = 60
_ENUMERATION = re.compile(r"[0-9]{1,2}[.):]\s+[*_]*[A-Za-z]")

_CHARACTERS = {
    **PLAIN,
    **dict.fromkeys(map(ord, TIMES), "*"),
    **dict.fromkeys(map(ord, OVER), "/"),
    **{ord(char): text for char, text in zip("．，％＄：＃＝²³٫٬٪", (*".,%$:#=", "^2", "^3", *".,%"), strict=True)},
    **{ord(char): f" {text}" for char, text in {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}.items()},
}
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|bm)\s?\{([^{}]*)\}")
_LATEX_COMMA = re.compile(r"\{,\}\s?|,\s?\\[!,;: ]\s?|(?<=[0-9])\\,(?=[0-9]{3})")
_LATEX_SPACE = re.compile(r"\\[!,;: ]|~")
# Digits grouped by what separates nothing else: thin or hard blanks, apostrophes, underscores, or points that come twice.
_THIN = re.compile(r"(?<=[0-9])[\u00a0\u2007\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_SEPARATOR = re.compile(r"['_’][0-9]{3}|\.[0-9]{3}\.")
_SEPARATED = re.compile(
    r"(?<![0-9.,_'])(?P<whole>[1-9][0-9]{0,2}(?:(?P<mark>['’_])[0-9]{3}(?:['’_][0-9]{3})*|(?:\.[0-9]{3}){2,}))"
    r"(?:(?(mark)[.,]|,)(?P<decimals>[0-9]+))?(?![0-9_']|[.,][0-9])"
)
_GROUPED = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2}(?: [0-9]{3})+)(?![0-9]|,[0-9]| [0-9])")
_DECIMAL_COMMA = re.compile(
    r"(?<![0-9.,])(?:([0-9]+)|([1-9][0-9]{0,2}(?:[. ][0-9]{3})+)),(?!(?:[0-9]{3},?)+(?![0-9]))([0-9]+)(?![0-9,]|\.[0-9])"
)
_POINT_GROUPS = re.compile(r"(?<![0-9.,])([1-9][0-9]{0,2}(?:\.[0-9]{3})+)(?![0-9]|[.,][0-9])")
_BOLD = re.compile(r"(?<![0-9])\*\*|\*\*(?![0-9 ])")


def tidy(text: str) -> str:
    """Return the text with typographic and LaTeX variants of digits, signs and spaces in their plain form."""
    if not text.isascii():
        text = _THIN.sub("", text).translate(_CHARACTERS)
    if ("'" in text or "_" in text or text.count(".") > 1 or not text.isascii()) and _SEPARATOR.search(text):
        text = _SEPARATED.sub(_joined, text)
    if "\\" in text or "{,}" in text:
        text = _LATEX_TEXT.sub(r"\1", text.replace("\\$", "$").replace("\\%", "%"))
        text = _LATEX_SPACE.sub(" ", _LATEX_COMMA.sub(",", text))
    # 9**9 is a power and stays; **9** is bold.
    return _BOLD.sub("", text) if "**" in text else text


def _joined(match: re.Match[str]) -> str:
    digits = re.sub(r"[^0-9]", "", match["whole"])
    return f"{digits}.{match['decimals']}" if match["decimals"] else digits


def other_spellings(text: str, question: str) -> Iterator[str]:
    """Yield a text with its grouped digits and decimal commas read as other countries write them.

    Each is a reading that must turn out to be the gold answer itself: "118 000" may also be two numbers. A single point is
    taken for a separator of thousands (``1.234``) only where the question itself writes numbers so.
    """
    grouped = _GROUPED.sub(lambda match: match[1].replace(" ", ""), text)
    if grouped != text:
        yield grouped
    comma = _DECIMAL_COMMA.sub(lambda match: f"{match[1] or re.sub('[. ]', '', match[2])}.{match[3]}", grouped)
    if comma != grouped:
        yield comma
    if _DECIMAL_COMMA.search(question) or len(_POINT_GROUPS.findall(question)) > 1:
        yield _POINT_GROUPS.sub(lambda match: match[1].replace(".", ""), comma)


def read_start(
    text: str, *, heading: bool = False, strict_start: bool = False, own_line: bool = False
) -> Numeral | None:
    """Read the answer that a tidied text begins with; None when it does not begin with one.

    Args:
        text: What follows an answer mark. Only the first line with content counts.
        heading: The mark may also be a Markdown heading, so ``1. First`` is not an answer.
        strict_start: A text that starts with anything else than a number is unclear, not absent.
        own_line: The text begins a line, so that ``- 18`` is an item of a list and not minus 18.
    """
    start = _past(_LEAD, text, 0)
    if (heading or own_line or "\n" in text[:start]) and not _ENUMERATION.match(text, start):
        bullet = _BULLET.match(text, start) if own_line or "\n" in text[:start] else None
        if bullet and bullet["more"]:
            return Numeral(None, bullet["more"].strip())  # several items, several answers
        start = bullet.end() if bullet else start
    elif heading or own_line or "\n" in text[:start]:
        return None  # a line of its own may begin a numbered list: "Answer:\n1. First, ..."
    end = text.find("\n", start)
    line = text[start:] if end < 0 else text[start:end]
    if not _DIGIT.search(line):
        return _read_words(text, start, heading=heading)
    return _read_line(line, strict_start=strict_start)


def _read_words(text: str, start: int, *, heading: bool) -> Numeral | None:
    """Read a number in words; what might be a heading, "Two ways", is one where no digits follow."""
    found = spelled_at(text, start)
    if found is None or (heading and _DIGIT.search(text, found.end)):
        return None
    # In digits, so that a vote counts it among the others.
    return Numeral(Fraction(found.value), str(found.value))


def _read_line(line: str, *, strict_start: bool) -> Numeral | None:
    negative = False
    match = NUMBER.match(line)
    if match is None and (found := _TURNED.match(line)) is not None:
        if found["sign"] is None:
            return _read_line(line[found.end() :], strict_start=strict_start)
        negative, line = True, line[found.end() :]
        match = NUMBER.match(line)
    if match is None:
        words = line[:1].isalpha() or line[:1] in "#<|"
        later = NUMBER.search(line[:_NEAR]) if words else None
        refused = strict_start or not words or (later is not None and turned(line[: later.start()]))
        return Numeral(None, line.strip()) if refused else None
    numeral = numeral_of(match, line)
    if "=" in line and _ASSIGNED.search(line, match.end()):
        return Numeral(None, line.strip())
    if "=" in line and (numeral.value is None or _CALCULATION.match(line, match.end())):
        right = line[line.rfind("=") + 1 :]
        again = NUMBER.match(right, _past(_LEAD, right, 0))
        return numeral_of(again, right) if again else Numeral(None, line.strip())
    if negative:
        value = None if numeral.value is None or numeral.value < 0 else -numeral.value
        return numeral._replace(value=value, text=f"-{numeral.text}")
    return numeral


def numeral_of(match: re.Match[str], text: str) -> Numeral:
    """Read a match of NUMBER together with what follows it in the text: percent, scale, or something that spoils it."""
    suffix = _SUFFIX.match(text, match.end())
    end = suffix.end() if suffix else match.end()
    closed = _past(_CLOSERS, text, end)
    unclear = _UNCLEAR_AFTER.match(text, end) or (closed > end and _UNCLEAR_AFTER.match(text, closed))
    value = None if unclear or is_symbol(text[closed:].lstrip()[:1]) else _value(match)
    if value is None:
        return Numeral(None, text[match.start() :].strip())
    if suffix is None:
        return Numeral(value, match.group())
    scale = (suffix["scale"] or suffix["wan"] or _SHORT.get((suffix["short"] or "").strip().lower(), "")).lower()
    return Numeral(value * SCALES.get(scale, 1), text[match.start() : end], suffix["percent"] is not None, scale)


def is_symbol(character: str) -> bool:
    """Tell whether a character beside a number would be a part of it: a digit, sign or Greek letter, as in 18⅛, 18⁴, 18π."""
    if character.isascii() or character in _APART:
        return False
    return unicodedata.category(character) in _SYMBOLS or "\u0370" <= character <= "\u03ff"


def read_all(text: str) -> Numeral | None:
    """Read a text that is one number and nothing else, such as a gold answer; None when it is not."""
    if len(text) > WINDOW:
        return None
    text = tidy(text).strip()
    match = NUMBER.match(text, _past(_LEAD, text, 0))
    if match is None:
        return None
    rest = text[_past(_CLOSERS, text, _past(_SUFFIX, text, match.end())) :]
    numeral = numeral_of(match, text)
    return None if rest.strip(" .") or numeral.value is None else numeral


def _past(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return where what may stand at a place ends; the place itself where it doesn't stand there."""
    match = pattern.match(text, start)
    return match.end() if match else start


def plain_number(text: str) -> Fraction | None:
    """Return the value of digits with an optional sign, thousands commas and decimal part; None beyond MAX_DIGITS."""
    if len(text) > MAX_DIGITS:
        return None
    if text.isdecimal():
        return Fraction(int(text))
    whole, _, decimals = text.replace(",", "").partition(".")
    if not decimals:
        return Fraction(int(whole or "0"))
    return Fraction(int(whole + decimals), 10 ** len(decimals))


def _value(match: re.Match[str]) -> Fraction | None:
    """Return the exact value of a match of NUMBER; None for a zero divisor or a number too large to compute."""
    if match["number"] is not None:
        value = plain_number(match["number"])
        exponent = match["exponent"] or match["power"]
        if exponent is not None and value is not None:
            value = _scaled(value, exponent)
        value = _ratio(value, match["divisor"])
    elif match["mixed"] is not None:
        value = _mixed(match["mixed"], _ratio(plain_number(match["mixed_top"]), match["mixed_bottom"]))
    else:
        top = plain_number(match["top"] or match["top_digit"])
        value = _mixed(match["whole"], _ratio(top, match["bottom"] or match["bottom_digit"]))
    return -value if value is not None and "-" in (match["sign"], match["sign_2"]) else value


def _ratio(top: Fraction | None, divisor: str | None) -> Fraction | None:
    if divisor is None or top is None:
        return top
    bottom = plain_number(divisor)
    return top / bottom if bottom else None


def _mixed(whole: str | None, part: Fraction | None) -> Fraction | None:
    if whole is None or part is None:
        return part
    value = plain_number(whole)
    return None if value is None else value + part


def _scaled(value: Fraction, exponent: str) -> Fraction | None:
    if len(exponent) > 5 or abs(int(exponent)) > MAX_EXPONENT:
        return None
    return value * Fraction(10) ** int(exponent)
