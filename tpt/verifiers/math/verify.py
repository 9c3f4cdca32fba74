r"""Checks a mathematical final answer (kind ``math``): LaTeX and symbolic.

The *strict* judgement asks for the format of ``MATH_FORMAT``. The *lenient* reading takes the last ``\boxed{...}``;
where there is none, what the last ``####`` or "the answer is" points at, else the last formula or number. Several boxes
in one sentence are one answer of several parts if the gold answer has several.

Most answers are decided here by exact comparison (latex.py); the others go to the pool (symbolic.py).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.completion import final_part
from tpt.verifiers.math.final_answer import FinalAnswer, How, answer_behind_hashes, final_answer
from tpt.verifiers.math.latex import BASES, MAX_ANSWER, compare_exactly, read
from tpt.verifiers.math.magnitude import too_large
from tpt.verifiers.math.scalars import spelled
from tpt.verifiers.number.spelled import spelled_at
from tpt.verifiers.number.verify import asks_percent, counts_percent
from tpt.verifiers.pool.call import PoolCall, PoolResult

MATH_FORMAT = (
    "math/2: '\\boxed{ANSWER}', the last \\boxed of the completion's final part, its braces closed, ANSWER the "
    "whole final answer in "
    "LaTeX or plain text. Words and lines around it do not matter."
)
TARGET = "tpt.verifiers.math.symbolic:equal"
_PROSE = 100
"""A gold answer that is longer may be a whole solution, which ends in "the answer is"."""
EXTRACTED = 200
"""Longest answer kept in a verdict, in characters."""
_MARKUP = re.compile(r"\\(?:text|mathrm|mbox)\s?\{|[{}$~]|\\[,;: ]")
_COUNTED = re.compile(r"(-?[0-9][0-9,.]{0,30})\s+([A-Za-z]{2,20}(?:\s+[A-Za-z]{2,20}){0,2})")
_BASED = re.compile(r"([0-9A-Za-z]+)_\{?(?:\\text\{)?([0-9]{1,2})\}{0,2}")
_BASES = {digits: word for word, digits in BASES.items()}
# A number with its unit on the left side of an equation: 2 \\text{ hours} = 120.
_MEASURED = re.compile(r"(?:[-0-9.,/ ]|\\[dt]?frac\{\d+\}\{\d+\})+(?:\\text\s?\{[^{}]*\}|\\\$)\s*")
_FOUND = "(?:find|valueof|whatis|compute|determine|evaluate|calculate)(?:the)?"
_PERCENT_SIGNS = ("%", "percent", "per cent", "pct")
_ASKED = re.compile(r"\bhow many((?: [a-z]{2,20}){1,4})")
_CHANGING = frozenset(
    [
        "more",
        "less",
        "fewer",
        "times",
        "than",
        "or",
        "and",
        "to",
        "of",
        "dozen",
        "hundred",
        "thousand",
        "million",
        "percent",
        "half",
    ]
)


def verify_math(problem: Problem, completion: str) -> Judgement | PoolCall:
    """Judge a completion, or say what must be compared symbolically to judge it."""
    return _verify(problem, final_answer(final_part(completion)), asked="boxed")


def verify_math_behind_hashes(problem: Problem, completion: str) -> Judgement | PoolCall:
    """Judge like ``verify_math`` a completion that was asked for ``#### ANSWER``: what stands there is the answer."""
    part = final_part(completion)
    return _verify(problem, answer_behind_hashes(part) or final_answer(part), asked="####")


def _verify(problem: Problem, found: FinalAnswer | None, *, asked: How) -> Judgement | PoolCall:
    gold = gold_answer(problem.answer)
    if not gold:
        return Judgement(Outcome.ERROR, False, None, f"the gold answer of problem {problem.id} is empty")
    if found is None or not found.text.strip():
        return Judgement(Outcome.NO_ANSWER, False, None)
    if len(found.text) > MAX_ANSWER:
        detail = f"the final answer is longer than {MAX_ANSWER} characters"
        return Judgement(Outcome.WRONG, False, found.text[:EXTRACTED], detail)
    if found.alone and "coefficient" in problem.question:
        # "... so the term is \\boxed{80}x^4": what is asked for is the box alone.
        found = replace(found, text=found.alone)
    candidates = _candidates(found, gold, problem.question)
    decided = [compare_exactly(gold, _as_asked(each, gold, problem.question)) for each in candidates]
    if True in decided:
        return _judgement(found, candidates, candidates[decided.index(True)], asked)
    undecided = [each for each, verdict in zip(candidates, decided, strict=True) if verdict is None]
    if not undecided:
        return _judgement(found, candidates, None, asked)
    if any(map(too_large, [gold, *undecided])):
        # What the pool would find out by its clock, at once and the same on every machine.
        detail = "not computed: a number of millions of digits"
        return Judgement(Outcome.TIMEOUT, False, found.text[:EXTRACTED], detail)
    return PoolCall(
        TARGET,
        (gold, undecided),
        lambda result: _to_judgement(result, found, candidates, asked),
    )


@lru_cache(maxsize=32_768)
def gold_answer(answer: str) -> str:
    r"""Return a gold answer without the ``\boxed{}``, ``$`` or ``####`` that some sources leave around it."""
    told = len(answer) > _PROSE and "answer is" in answer
    if "boxed" not in answer and not told:
        return answer.rpartition("####")[2].strip()
    found = final_answer(answer)
    return "" if found is None else ", ".join(dict.fromkeys([*found.earlier, found.text])).strip()


def _candidates(found: FinalAnswer, gold: str, question: str) -> list[str]:
    """Return the readings of the answer: the last box alone, then all boxes of the sentence if gold has several parts.

    Of boxes that only an "or", "and" or comma joins, none is the answer alone.
    A number in words is read as one too, and a noun behind a number is left off where the question asks how many of them.
    """
    if found.listed:
        return [", ".join([*found.earlier, found.text])]
    candidates = [found.text]
    if found.earlier and any(mark in gold for mark in (",", "and", "or", ";", "\\pm")):
        candidates.append(", ".join([*found.earlier, found.text]))
    plain = _MARKUP.sub(" ", found.text).strip(" .")
    spelled = spelled_at(plain)
    if spelled is not None and spelled.end == len(plain):
        candidates.append(str(spelled.value))
    counted = _COUNTED.fullmatch(plain)
    if counted and {*counted[2].lower().split()} <= _asked_for(question):
        candidates.append(counted[1])
    return candidates


def _as_asked(answer: str, gold: str, question: str) -> str:
    """Return an answer as the question means it: its percent sign, the base of its digits, what it names on its left side.

    Without its percent sign where the gold answer counts percent too (1250 % is not 12.5 then), without the base that the
    question asks for, and of ``a + b = 5`` what ``a + b`` is, if that is what is asked for.
    """
    if len(gold) > MAX_ANSWER:
        return answer
    if any(sign in answer for sign in _PERCENT_SIGNS):
        wanted, given = read(gold).scalar, read(answer).scalar
        if wanted and given and given.percent and not wanted.percent:
            percent = counts_percent(wanted.value, question) or (asks_percent(question) and wanted.value == given.value)
            return spelled(given.value) if percent else answer
    based = _BASED.fullmatch(answer.strip())
    if based and "_" not in gold and (based[2] == "10" or _speaks_of_base(based[2], question)):
        return based[1]
    left, equals, right = answer.partition("=")
    if equals and "=" not in gold + right and len(left.strip()) > 1:
        if _MEASURED.fullmatch(left):
            return right
        asked = re.search(rf"{_FOUND}{re.escape(_bare(left))}(?![0-9A-Za-z^+*/-])", _bare(question), re.IGNORECASE)
        return right if asked else answer
    return answer


def _speaks_of_base(base: str, question: str) -> bool:
    """Tell whether a question names a base, in digits or in words."""
    names = {"2": "binary", "8": "octal", "16": "hexadecimal"}
    wanted = rf"base[- ]?(?:{base}|{_BASES.get(base, base)})\b|_\s*\{{?{base}\b|\b{names.get(base, base + ' base')}"
    return re.search(wanted, question.lower()) is not None


def _bare(text: str) -> str:
    """Return a formula without what only sets it."""
    return re.sub(r"\\(?:left|right|cdot|text|mathrm)(?![a-z])|[\s\\${},]", "", text)


def _asked_for(question: str) -> set[str]:
    """Return the words behind every "how many" of a question, without those that would change a number."""
    return {word for words in _ASKED.findall(question.lower()) for word in words.split()} - _CHANGING


def _to_judgement(result: PoolResult, found: FinalAnswer, candidates: list[str], asked: How) -> Judgement:
    if result.problem == "timeout":
        return Judgement(Outcome.TIMEOUT, False, found.text[:EXTRACTED], result.detail)
    if result.problem == "error":
        last = result.detail.strip().rpartition("\n")[2]
        return Judgement(Outcome.WRONG, False, found.text[:EXTRACTED], f"cannot be compared: {last[:EXTRACTED]}")
    if result.problem:
        return Judgement(Outcome.ERROR, False, found.text[:EXTRACTED], result.detail)
    return _judgement(found, candidates, result.value, asked)


def _judgement(found: FinalAnswer, candidates: list[str], right: str | None, asked: How) -> Judgement:
    if right is None:
        return Judgement(Outcome.WRONG, False, found.text[:EXTRACTED])
    return Judgement(
        Outcome.CORRECT, found.how == asked and right == candidates[0] and not found.listed, right[:EXTRACTED]
    )
