r"""Checks a numeric final answer, twice: is the value right, and did the completion keep the asked format.

The *strict* judgement asks for exactly the format of ``NUMBER_FORMAT``: a plain number right after the last ``####``,
which is what the paper and lm-evaluation-harness (``strict-match``) ask, so that strict scores can be compared.

The *lenient* reading takes the last explicit answer (``#### 18``, ``\boxed{18}``, ``The answer is 18``,
``Answer: 18``, ``A: 18``) that can be read as a number, else the last number of the text. Decisions worth knowing:

- Currency and units are ignored; ``2 hours 30 minutes``, ``3-4``, ``10 to 12``, ``2:30``, ``4\pi`` are not one number.
- ``50%`` is right for the gold answers 50 and 0.5, and ``0.5`` for the gold answer ``50%``; but ``0.5`` and ``5000%``
  are not right for the gold answer 50: a whole gold number in a question of percent counts percent.
- ``0.5%`` is not right for the gold answer 0.5, unless the question asks what percent.
- A clock time is a number only at the full hour: ``2:00 pm`` is 2.
- ``1.5 million`` is 1500000; it is also 1.5 where the question itself speaks of millions. A question that asks what percent
  counts percent where its gold answer is over 1: ``1250%`` is not right for 12.5.
- ``2,74`` and ``1 234`` are numbers only where that reading is the gold answer itself; ``1.234.567`` and ``1'234`` always are.
- What stands around a box is a part of it: ``-\boxed{5}`` is -5, and ``2 \cdot \boxed{5}`` is not one number.
- Values are compared as exact fractions. Only a gold answer that is no whole number leaves room, for it may be a
  rounded float: one part in a million, at most half a cent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.boxes import Box, boxes, is_one_of_several, with_surroundings
from tpt.verifiers.completion import final_part, is_only_part, without_chatter
from tpt.verifiers.number.numerals import (
    MAX_DIGITS,
    NUMBER,
    SCALES,
    WINDOW,
    Numeral,
    is_symbol,
    numeral_of,
    other_spellings,
    plain_number,
    read_all,
    read_start,
    tidy,
)
from tpt.verifiers.typography import DIGITS
from tpt.verifiers.wording import turned

NUMBER_FORMAT = (
    "number/2: '#### N', the last '####' of the completion's final part. N is a plain number: digits, with an "
    "optional leading '-', "
    "optional thousands commas in their proper places and an optional decimal part; no currency or markup between '####' "
    "and N, no sign, letter or further digit right behind it. Words and lines that follow do not matter."
)

TAIL = 10_000
"""Characters from the end of a completion that are looked at."""
EXTRACTED = 200
"""Longest answer kept in a verdict, in characters."""
RELATIVE_TOLERANCE = Fraction(1, 10**6)
ABSOLUTE_TOLERANCE = Fraction(1, 200)

_STRICT = re.compile(
    r"####[ \t]*(-?(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?)"
    r"(?![0-9A-Za-z/%:^=\\]|[,.][0-9])(?P<last>\s*$)?"
)
_MARKS = ("####", "\\boxed", "nswer", "NSWER", "\nA:", "答案")
_MARKS_TRIED = 6
_BOX = re.compile(r"\\boxed\s?\{([^{}]{0,200})\}")
# How an answer phrase goes on before its number; anything else and "answer" was just a word.
_PHRASE = re.compile(
    r"[\"'*_`)}\s]{0,4}(?:\s(?:to|of)\s[^\n.:=]{0,80}?)?"
    r"(?:[:=>：]|[是为為]|\s(?:is|was|equals|will be|would be|should be|must be)(?![A-Za-z])|\n|\s?\$|\s?\\[(\[])",
    re.IGNORECASE,
)
# A number that only continues something: the other end of a range, an operand, a list item, an argument.
_UNCLEAR_BEFORE = re.compile(
    r"""(?: [0-9][)\]}%$*]*[ \t]*(?:to|or|and|nor|through|vs\.?|versus|[-—…+*/^:,;&x~.<]|\\times|\\cdot|\\div)?[ \t]*[-+$(]*
      | [±√∛∜≠≤≥][ \t]* | (?<![-=>\n])[<>!]=?[ \t]* | /=[ \t]* | \+/-[ \t]*
      | [+*/^][ \t]*[-$({\\]* | =[ \t]*-[ \t]+ | [-−]\(
      | [A-Za-z][({] | [\x00-\x08\x0e-\x1f\x7f]
    )\Z""",
    re.VERBOSE,
)
_NAME_BEFORE = re.compile(r"(?:(?<!USD)(?<!US)(?<!Rs)[A-Za-z]|_|[A-Za-z]\^|[A-Za-z][\^_]\{|[A-Za-z]-)\Z")
_COMPOUND_BEFORE = re.compile(
    r"[0-9]\s*(?:hours?|hrs?|minutes?|mins?|feet|foot|ft|dollars?|years?|pounds?|lbs?|weeks?|days?|kg|km|m)"
    r"[ \t,.]*(?:and )?[$]*\Z",
    re.IGNORECASE,
)
_COMPOUND_AFTER = re.compile(
    r"\s*(?:minutes?|mins?|seconds?|secs?|inch(?:es)?|in\b|cents?|months?|ounces?|oz|days?|hours?|g\b|m\b|cm\b)",
    re.IGNORECASE,
)


_NOT_ONE = "the final answer is not one number"
_MINUS_BEFORE = re.compile(r"(?:\A|(?<![0-9)\]}%$*])\s)(?:negative|minus)\Z", re.IGNORECASE)
_PERCENT_ASKED = re.compile(r"\b(?:what|which|how many|the)\s+(?:[a-z]+\s+){0,2}(?:per\s?cent|pct)", re.IGNORECASE)
_ASCII_DIGITS = "0123456789"
_DIGITS = _ASCII_DIGITS + "½¼¾⅓⅔" + "".join(map(chr, DIGITS))
_BEFORE = 40
_NEAR = 55


def verify_number(problem: Problem, completion: str) -> Judgement:
    """Judge a completion against a numeric gold answer; a gold answer that is no number gives an ERROR."""
    gold = _gold(problem.answer)
    if gold is None:
        detail = f"the gold answer {problem.answer[:EXTRACTED]!r} of problem {problem.id} is not a number"
        return Judgement(Outcome.ERROR, False, None, detail)
    part = completion
    plain, is_last = _strict_answer(part)
    if not (plain and is_last and is_only_part(part)):
        part = final_part(completion)
        plain, is_last = (plain, is_last) if part is completion else _strict_answer(part)
    answer = plain if plain and is_last else _last_answer(part[-TAIL:])
    if answer is None:
        return Judgement(Outcome.NO_ANSWER, False, None)
    extracted = answer.text[:EXTRACTED]
    if not _same(gold, answer, problem.question):
        # Only what is not one plain number, or 1.234, can be one in another spelling.
        unclear = answer.value is None or extracted[-4:-3] == "."
        if unclear and (spelled := _spelled_otherwise(gold, part[-TAIL:], problem.question)):
            return Judgement(Outcome.CORRECT, False, spelled[:EXTRACTED])
        return Judgement(Outcome.WRONG, False, extracted, "" if answer.value is not None else _NOT_ONE)
    strict = plain is not None and (plain is answer or _same(gold, plain, problem.question))
    return Judgement(Outcome.CORRECT, strict, extracted)


def gold_number(text: str) -> Fraction | None:
    """Return the value of a gold answer; None when the text is anything but one number."""
    gold = _gold(text)
    return None if gold is None else gold.value


def canonical_answer(extracted: str) -> str:
    """Return one spelling for all extracted answers of one value, so that votes for ``$18`` and ``18.00`` add up."""
    value = gold_number(extracted)
    return extracted if value is None else str(value)


@lru_cache(maxsize=32_768)
def _gold(text: str) -> Numeral | None:
    return read_all(text) or next(filter(None, map(read_all, other_spellings(text, ""))), None)


def _spelled_otherwise(gold: Numeral, tail: str, question: str) -> str:
    """Return the answer as another country's spelling of the gold number; empty when it is not that."""
    for spelling in other_spellings(tidy(tail), question):
        answer = _last_answer(spelling)
        if answer is not None and answer.value == gold.value:
            return answer.text
    return ""


def _strict_answer(completion: str) -> tuple[Numeral | None, bool]:
    """Return the answer of a completion that kept NUMBER_FORMAT, and whether nothing but blanks follows it."""
    start = completion.rfind("####")
    match = _STRICT.match(completion, start, start + WINDOW) if start >= 0 else None
    if match is None or len(match[1]) > MAX_DIGITS:
        return None, False
    return Numeral(plain_number(match[1]), match[1]), match["last"] is not None and start + WINDOW >= len(completion)


def _last_answer(tail: str) -> Numeral | None:
    """Return the last explicit answer, else the last number."""
    for position, mark in _marks(tail):
        start = position + len(mark)
        piece = tail[start : start + WINDOW]
        own_line = False
        if mark == "\\boxed":
            piece = _boxed(tail, position, piece)
        elif mark in ("nswer", "NSWER", "答案"):
            phrase = _PHRASE.match(piece)
            if phrase is None:
                continue
            piece, own_line = piece[phrase.end() :], phrase[0].endswith("\n")
        cut = start + WINDOW < len(tail)
        answer = read_start(tidy(piece), heading=mark == "####", strict_start=mark == "\\boxed", own_line=own_line)
        if answer is not None:
            return Numeral(None, answer.text) if cut and tidy(piece).endswith(answer.text) else answer
    return last_number(tail)


def _boxed(tail: str, position: int, piece: str) -> str:
    """Return what stands in a box, with its sign and whatever else in its formula belongs to it."""
    if tail.find("}", position) < 0:
        return piece
    simple = _BOX.match(tail, position)
    found = Box(position, simple.end(), simple[1]) if simple else _box_at(tail, position)
    if found is None:
        return piece
    if is_one_of_several(tail, position, found.content):
        return f"{{not {found.content}}}"
    whole = with_surroundings(tail, found, found.content)
    return piece if whole is found.content else f"{{{whole}}}"


def _box_at(tail: str, position: int) -> Box | None:
    closed, _ = boxes(tail[position:])
    first = closed[0] if closed and closed[0].start == 0 else None
    return None if first is None else Box(position, position + first.end, first.content)


def _marks(tail: str) -> Iterator[tuple[int, str]]:
    """Yield the answer marks from the last to the first: (position, mark)."""
    found = []
    for mark in _MARKS:
        end = len(tail)
        for _ in range(_MARKS_TRIED):
            position = tail.rfind(mark, 0, end)
            if position < 0:
                break
            found.append((position, mark))
            end = position
    if tail.startswith("A:"):
        found.append((0, "A:"))
    yield from sorted(found, reverse=True)


def last_number(tail: str) -> Numeral | None:
    """Return the last number, or what looks like one but is only a part of something else: its value is None then."""
    tail = without_chatter(tail)
    last = max(map(tail.rfind, _ASCII_DIGITS if tail.isascii() else _DIGITS))
    if last < 0:
        return None
    # The near window decides nearly always; the wide one is for long numbers and for names such as B2 at the end.
    for width in (_NEAR, WINDOW // 2):
        start = max(0, last - width)
        piece = tidy(tail[start : last + WINDOW // 4])
        for match in reversed(list(NUMBER.finditer(piece))):
            before = piece[max(0, match.start() - _BEFORE) : match.start()]
            if start > 0 and match.start() < _BEFORE and width == _NEAR:
                break
            if not _NAME_BEFORE.search(before[-5:]):
                whole = start == 0 or match.start() > 0
                return _in_context(match, piece, before) if whole else Numeral(None, match.group())
    return None


def _in_context(match: re.Match[str], piece: str, before: str) -> Numeral:
    """Read a number found in running text, unless the text before it makes it a part of something else."""
    glued = (match["sign"] and before[-1:].isalnum()) or is_symbol(before[-1:])
    compound = _COMPOUND_AFTER.match(piece, match.end()) and _COMPOUND_BEFORE.search(before)
    if glued or compound or _UNCLEAR_BEFORE.search(before) or turned(before):
        return Numeral(None, (before[-20:] + match.group()).strip())
    numeral = numeral_of(match, piece)
    if numeral.value is not None and numeral.value > 0 and _MINUS_BEFORE.search(before.rstrip(" \t$€£(")):
        return numeral._replace(value=-numeral.value, text=f"-{numeral.text}")
    return numeral


def _same(gold: Numeral, answer: Numeral, question: str) -> bool:
    """Tell whether an answer has the gold value, as itself or in the reading that its percent or scale allows."""
    if gold.value is None or answer.value is None:
        return False
    if answer.percent and not gold.percent and abs(gold.value) < 1 and not asks_percent(question):
        return _close(gold.value, answer.value / 100)  # 0.5% is not 0.5
    if _close(gold.value, answer.value):
        return True
    if gold.percent and not answer.percent:
        return _close(gold.value / 100, answer.value)
    if answer.percent and not gold.percent and gold.value.denominator > 1:
        return not counts_percent(gold.value, question) and _close(gold.value, answer.value / 100)
    if answer.scale and _speaks_of(answer.scale, question):
        return _close(gold.value, answer.value / SCALES[answer.scale])
    return False


def asks_percent(question: str) -> bool:
    """Tell whether a question asks what percent."""
    return _PERCENT_ASKED.search(question) is not None


def counts_percent(gold: Fraction, question: str) -> bool:
    """Tell whether a gold answer without a percent sign counts percent: over 1, to a question that asks what percent."""
    return abs(gold) > 1 and asks_percent(question)


def _speaks_of(scale: str, question: str) -> bool:
    """Tell whether a question counts in dozens, millions, …, in a word of its own."""
    word = rf"\b{scale}s?\b" if scale.isascii() else scale
    return re.search(word, question, re.IGNORECASE) is not None


def _close(gold: Fraction, value: Fraction) -> bool:
    # Not as fractions, which look up the type of the other side first, at three times the cost.
    if gold.numerator == value.numerator and gold.denominator == value.denominator:
        return True
    if gold.denominator == 1:
        return False
    return abs(gold - value) <= min(abs(gold) * RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE)
