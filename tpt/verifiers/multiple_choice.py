r"""Checks a multiple-choice answer (kind ``choice``): the option's letter, or the option's text.

The gold answer is a letter (or the text of an option). The options are read from the question, where they stand as
``A) ...``, ``(A) ...``, ``A. ...`` or ``A: ...``, in order from A. A letter counts before a text: ``B) 21`` is B.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.math.final_answer import final_answer
from tpt.verifiers.math.latex import MAX_ANSWER, as_words, canonical, compare_exactly

CHOICE_FORMAT = (
    "choice/1: '#### L', the last '####' of the completion. L is the letter of an option, a capital without brackets; no "
    "letter or digit right behind it. Words and lines that follow do not matter."
)
EXTRACTED = 200
"""Longest answer kept in a verdict, in characters."""
_LONGEST_QUESTION = 20_000
_LETTERS = "ABCDEFGHIJ"
_STRICT = re.compile(r"####[ \t]*([A-J])(?![0-9A-Za-z_'’])")
_MARKUP = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|textit|mbox|rm|bf)(?![a-zA-Z])\s*|[{}$*_`]|\\[()\[\],;!: ]|\\boxed"
)
# Behind a capital that is an option's letter and not the article "A" or the first of a word.
_CHOSEN = re.compile(
    r"[\s\"'(\[]*(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)s?\s*(?:is\s*)?:?\s*)?[(\[]?([A-Ja-j])"
    r"(?:[)\]]|(?=\s*(?:$|[.:,;\n=\-–—]|\(|because|since|as\b|which|and\b|with\b)))",
    re.IGNORECASE,
)
_MEASURE = re.compile(r"[$€£]?\s?(-?[0-9][0-9.,/]*|-?\\[dt]?frac\{\d+\}\{\d+\})\s?([A-Za-z°%/.²³^0-9 ]*)")
_SAID = re.compile(
    r"(?:option|choice|answer)\s+[(\[]?([A-J])\b(?!')|\(([A-J])\)|(?:^|\n)[ \t*]*([A-J])[.)]?[ \t*]*(?:\n|$)"
)


def verify_choice(problem: Problem, completion: str) -> Judgement:
    """Judge a completion against the letter of the right option."""
    options = options_of(problem.question)
    gold = _gold_letter(problem.answer, options)
    if gold is None:
        detail = (
            f"the gold answer {problem.answer[:EXTRACTED]!r} of problem {problem.id} is no letter and no option's text"
        )
        return Judgement(Outcome.ERROR, False, None, detail)
    start = completion.rfind("####")
    strict = _STRICT.match(completion, start) if start >= 0 else None
    if strict is not None:
        right = strict[1] == gold
        return Judgement(Outcome.CORRECT if right else Outcome.WRONG, right, strict[1])
    chosen, text = _chosen(completion, options)
    if not chosen:
        return Judgement(Outcome.WRONG, False, text[:EXTRACTED], "no option") if text else _no_answer()
    return Judgement(Outcome.CORRECT if gold in chosen else Outcome.WRONG, False, gold if gold in chosen else chosen[0])


@lru_cache(maxsize=16_384)
def options_of(question: str) -> dict[str, str]:
    """Return letter to text of the options in a question; empty when there are none."""
    question = question[-_LONGEST_QUESTION:]
    found: dict[str, str] = {}
    marks = list(re.finditer(r"(?:^|(?<=[\s\[,;'\"]))\(?([A-J])[).:](?=\s?\S)", question))
    begins = [index for index, mark in enumerate(marks) if mark[1] == "A"]
    for begin in begins[-3:]:
        run: list[re.Match[str]] = []
        for mark in marks[begin:]:
            if len(run) < len(_LETTERS) and mark[1] == _LETTERS[len(run)]:
                run.append(mark)
        if len(run) >= 2:
            ends = [mark.start() for mark in run[1:]] + [len(question)]
            found = {
                mark[1]: question[mark.end() : end].strip(" \t\n,;'\"[]") for mark, end in zip(run, ends, strict=True)
            }
    if found:
        # Whatever follows the last option in a paragraph of its own is an instruction.
        last = max(found)
        found[last] = re.split(r"\n\s*\n|\n(?=[A-Z])", found[last], maxsplit=1)[0].strip()
    return found


def _no_answer() -> Judgement:
    return Judgement(Outcome.NO_ANSWER, False, None)


def _gold_letter(answer: str, options: dict[str, str]) -> str | None:
    plain = _MARKUP.sub("", answer).strip().strip("().:").strip()
    if len(plain) == 1 and plain.upper() in _LETTERS:
        return plain.upper()
    letters = _matching(answer, options)
    return letters[0] if letters else None


def _chosen(completion: str, options: dict[str, str]) -> tuple[list[str], str]:
    """Return the letters that the final answer can mean, and the text it was read from."""
    found = final_answer(completion)
    if found is not None and found.text.strip() and len(found.text) <= MAX_ANSWER:
        letters = _letters(found.text, options) if found.how in ("boxed", "####", "phrase") else []
        if letters or found.how in ("boxed", "####"):
            return letters, found.text
    said = list(_SAID.finditer(completion[-2_000:]))
    letter = next((group for group in said[-1].groups() if group), "") if said else _of_last_line(completion)
    if letter:
        return ([letter] if not options or letter in options else []), letter
    if found is None or len(found.text) > MAX_ANSWER:
        return [], ""
    return _letters(found.text, options), found.text if found.how == "phrase" else ""


def _of_last_line(completion: str) -> str:
    match = _CHOSEN.match(_MARKUP.sub("", completion.rstrip()[-MAX_ANSWER:].rpartition("\n")[2]).strip())
    return match[1] if match and match[1].isupper() else ""


def _letters(text: str, options: dict[str, str]) -> list[str]:
    plain = _MARKUP.sub("", text).strip()
    match = _CHOSEN.match(plain)
    if match and (match[1].isupper() or len(plain.strip("()[]. ")) == 1):
        letter = match[1].upper()
        return [letter] if not options or letter in options else []
    return _matching(text, options)


def _matching(text: str, options: dict[str, str]) -> list[str]:
    """Return the letters of the options that have this text or value."""
    same = [letter for letter, option in options.items() if option and _same(option, text)]
    return same or _measured(text, options)


def _measured(text: str, options: dict[str, str]) -> list[str]:
    """Return the letter of the option with this number, if one of the two lacks the unit and no other option has it."""
    number = _MEASURE.fullmatch(text.strip())
    if number is None:
        return []
    having = [
        (letter, match[2])
        for letter, option in options.items()
        if (match := _MEASURE.fullmatch(option)) and compare_exactly(match[1], number[1])
    ]
    return [having[0][0]] if len(having) == 1 and not (number[2] and having[0][1]) else []


def _same(option: str, text: str) -> bool:
    if canonical(option[:MAX_ANSWER]).casefold() == canonical(text[:MAX_ANSWER]).casefold():
        return True
    words = as_words(option)
    if words is not None and words == as_words(text):
        return True
    return compare_exactly(option, text) is True
