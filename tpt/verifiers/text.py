"""Checks answers that are texts: kinds ``exact`` (the same text) and ``regex`` (the gold answer is a pattern)."""

from __future__ import annotations

import re
import unicodedata

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.completion import final_part, without_chatter
from tpt.verifiers.math.final_answer import final_answer
from tpt.verifiers.pool.call import PoolCall, PoolResult
from tpt.verifiers.typography import BLANKS, INVISIBLE

EXACT_FORMAT = (
    "exact/2: '#### TEXT', the last '####' of the completion's final part; TEXT, to the end of its line or of the "
    "completion, is the "
    "answer, apart from case and white space."
)
REGEX_FORMAT = (
    "regex/2: '#### TEXT', the last '####' of the completion's final part; TEXT, to the end of its line, is the "
    "answer, without white "
    "space around it."
)
TARGET = "tpt.verifiers.text:matches"
LONGEST = 10_000
"""Longest answer that is compared, in characters."""
EXTRACTED = 200
"""Longest answer kept in a verdict, in characters."""


_END_LIKE = re.compile(r"<[^<>]*>|\[/?INST\]")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|textit|mathrm|mbox|textrm|texttt)\s?\{([^{}]*)\}")
_BOLD = re.compile(r"(?<![\w*])\*\*([^*\s](?:[^*\n]*[^*\s])?)\*\*(?![\w*])")
"""Not a**b, which is a power."""
_SAME = {
    **dict.fromkeys(map(ord, "‘’‚‛′"), "'"),
    **dict.fromkeys(map(ord, "“”„‟″«»"), '"'),
    **dict.fromkeys(map(ord, "‐‑‒–—−"), "-"),
    **dict.fromkeys(map(ord, BLANKS), " "),
    **dict.fromkeys(map(ord, INVISIBLE)),
}


def verify_exact(problem: Problem, completion: str) -> Judgement:
    """Judge a completion against a text, apart from case and white space."""
    gold = normalise(problem.answer)
    if not gold:
        return Judgement(Outcome.ERROR, False, None, f"the gold answer of problem {problem.id} is empty")
    # A gold answer may itself be a tag or an end marker.
    completion = completion if _END_LIKE.search(problem.answer) else final_part(completion)
    text, marked = text_answer(completion)
    rest = completion.rpartition("####")[2][-LONGEST:]
    if marked and gold in (normalise(text), normalise(rest)):
        return Judgement(Outcome.CORRECT, True, text[:EXTRACTED])
    if not text:
        return Judgement(Outcome.NO_ANSWER, False, None)
    right = gold in {normalise(each) for each in _readings(text, completion)} or _bare(gold) == _bare(normalise(text))
    return Judgement(Outcome.CORRECT if right else Outcome.WRONG, False, text[:EXTRACTED])


def verify_regex(problem: Problem, completion: str) -> Judgement | PoolCall:
    """Judge a completion by whether its answer as a whole matches the pattern in ``problem.answer``."""
    completion = final_part(completion)
    text, marked = text_answer(completion)
    if not text:
        return Judgement(Outcome.NO_ANSWER, False, None)
    readings = list(dict.fromkeys([text, *_readings(text, completion)]))
    return PoolCall(
        TARGET, (problem.answer, readings), lambda result: _to_judgement(result, text, marked=marked, problem=problem)
    )


def matches(pattern: str, texts: list[str]) -> int:
    """Return the index of the first text that matches as a whole, -1 when none does; called in the pool's workers."""
    compiled = re.compile(pattern)
    return next((index for index, text in enumerate(texts) if compiled.fullmatch(text)), -1)


def text_answer(completion: str) -> tuple[str, bool]:
    """Return the answer text and whether it stood behind a ``####``; else it is the last line."""
    before, mark, after = completion.rpartition("####")
    line = after.strip().partition("\n")[0].strip() if mark else ""
    if line:
        return line[:LONGEST], True
    lines = without_chatter(before if mark else completion).rstrip().rpartition("\n")
    return lines[2].strip()[-LONGEST:], False


def normalise(text: str) -> str:
    """Return a text in lower case with single blanks, and one form of every accent, quote, dash and hard blank."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).translate(_SAME)
    return " ".join(text.casefold().split())


def _readings(text: str, completion: str) -> list[str]:
    """Return what else the answer can be: without Markdown, quotes and full stop, or what "the answer is" points at."""
    found = final_answer(completion)
    marked = [found.text] if found is not None and found.how in ("boxed", "phrase") else []
    marked += [whole[1] for each in marked if (whole := _TEXT_COMMAND.fullmatch(each))]
    return [each for each in (_bare(text), *marked, *map(_bare, marked)) if each]


def _bare(text: str) -> str:
    return _BOLD.sub(r"\1", text).strip().strip("\"'`“”‘’").rstrip(".").strip("\"'`“”‘’ ")


def _to_judgement(result: PoolResult, text: str, *, marked: bool, problem: Problem) -> Judgement:
    if result.problem == "timeout":
        return Judgement(Outcome.TIMEOUT, False, text[:EXTRACTED], result.detail)
    if result.problem == "error":
        last = result.detail.strip().rpartition("\n")[2]
        detail = f"the pattern {problem.answer[:EXTRACTED]!r} of problem {problem.id} is no regular expression: {last}"
        return Judgement(Outcome.ERROR, False, text[:EXTRACTED], detail)
    if result.problem:
        return Judgement(Outcome.ERROR, False, text[:EXTRACTED], result.detail)
    if result.value < 0:
        return Judgement(Outcome.WRONG, False, text[:EXTRACTED])
    return Judgement(Outcome.CORRECT, marked and result.value == 0, text[:EXTRACTED])
