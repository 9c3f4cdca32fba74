"""Reads whole numbers that are written in words: eighteen, minus one hundred and five, 十八, 一百零五."""

from __future__ import annotations

import re
from typing import NamedTuple

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ENGLISH = {word: value for value, word in enumerate(_SMALL)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_ENGLISH_UNITS = {"hundred": 100, "thousand": 1_000, "million": 10**6, "dozen": 12}
WORD = "|".join(sorted([*_ENGLISH, *_ENGLISH_UNITS], key=len, reverse=True))
"""The words of English numbers, as alternatives of a pattern."""
_IN_ENGLISH = re.compile(
    rf"(?P<sign>(?:minus|negative)\s+)?(?P<words>(?:{WORD})(?:(?:\s+and)?[\s-]+(?:{WORD})){{0,12}})(?![A-Za-z-])",
    re.IGNORECASE,
)
_CHINESE = {
    character: value
    for row in ("零一二三四五六七八九", "〇壹贰叁肆伍陆柒捌玖", " 　两")
    for value, character in enumerate(row)
    if not character.isspace()
}
_CHINESE_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1_000, "仟": 1_000}
_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_FIRST = "".join([*_CHINESE, *_CHINESE_UNITS])
_IN_CHINESE = re.compile(rf"(?P<sign>[负負])?(?P<words>[{_FIRST}][{_FIRST}{''.join(_MYRIADS)}]{{0,30}})")
_CHANGED = (
    "and|or|to|more|less|fewer|than|times|half|halves|point|over|percent|of|plus|minus|by|is|are|not|thirds?|quarters?"
    "|(?:four|fif|six|seven|eigh|nin|ten|hundred|thousand)ths?"
)
_MEASURE_WORDS = "个個只元块塊人天年米岁歲本张張件條条台辆輛次斤克枚名位颗顆杯瓶箱袋盒双雙页頁"
# What may stand between the number and the end of its sentence: what is counted, nothing that changes the number.
_COUNTED = re.compile(
    rf"[{_MEASURE_WORDS}]{{1,2}}|(?:[ \t]+(?!(?:{_CHANGED})\b)[A-Za-z]{{2,20}}){{0,2}}", re.IGNORECASE
)
_END = re.compile(r"[ \t]*(?:[.。,，;；!！)\]}*`\"'$<]|\\\]|\\\)|\n|\Z)")


class SpelledNumber(NamedTuple):
    """A number in words at the beginning of a text."""

    value: int
    text: str
    end: int
    """Where it ends, what is counted included."""


def spelled_at(text: str, start: int = 0) -> SpelledNumber | None:
    """Return the number in words that a sentence begins with; None where there is none, or other words follow it."""
    match = _IN_ENGLISH.match(text, start) or _IN_CHINESE.match(text, start)
    if match is None:
        return None
    words = match["words"]
    value = _english(words.lower()) if words.isascii() else _chinese(words)
    counted = _COUNTED.match(text, match.end())
    end = counted.end() if counted else match.end()
    if value is None or _END.match(text, end) is None:
        return None
    return SpelledNumber(-value if match["sign"] else value, match[0], end)


def _english(words: str) -> int | None:
    total = group = 0
    last = None
    for word in re.split(r"[\s-]+", words):
        if word == "and":
            continue
        if word in ("hundred", "dozen"):
            group = (group or 1) * _ENGLISH_UNITS[word]
        elif word in _ENGLISH_UNITS:
            total, group = total + (group or 1) * _ENGLISH_UNITS[word], 0
        else:
            value = _ENGLISH[word]
            if last is not None and not (last >= 20 and 0 < value < 10):
                return None  # one two: two numbers
            group += value
        last = _ENGLISH.get(word)
    return total + group


def _chinese(words: str) -> int | None:
    if all(character in _CHINESE for character in words):
        return int("".join(str(_CHINESE[character]) for character in words))
    total = group = digit = 0
    unit = 1
    for character in words:
        if character in _MYRIADS:
            section = (group + digit) * _MYRIADS[character]
            # 三万亿: what stands before 亿 is multiplied as a whole.
            total = (total + group + digit) * 10**8 if _MYRIADS[character] > 10**4 else total + section
            group, digit, unit = 0, 0, _MYRIADS[character]
        elif character in _CHINESE_UNITS:
            group += (digit or 1) * _CHINESE_UNITS[character]
            digit, unit = 0, _CHINESE_UNITS[character]
        elif digit:
            return None
        else:
            digit = _CHINESE[character]
            unit = 1 if not digit else unit
    # 一百二 is 120, 一百零二 is 102.
    return total + group + digit * (unit // 10 if unit >= 100 else 1)
