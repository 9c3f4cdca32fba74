r"""Finds the final answer in a completion: ``\boxed{...}``, ``#### ...``, "the answer is ...", else its last formula.

Everything here is linear in the length of the text, for completions are hostile input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tpt.verifiers.boxes import SPAN, Box, boxes, is_one_of_several, strip_boxes, with_surroundings
from tpt.verifiers.number.verify import last_number

TAIL = 20_000
"""Characters from the end of a completion that are looked at."""
_NEAR = 80
"""Characters between two boxes of one sentence."""
_ADJACENT = 10
"""Characters between two boxes that belong together without a comma or an "and"."""

How = Literal["boxed", "open box", "####", "phrase", "formula", "number"]


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """An answer as written, and how it was marked."""

    text: str
    how: How
    earlier: tuple[str, ...] = ()
    """Boxes of the same sentence before the last one, in order."""
    alone: str = ""
    """What stands in the last box, without what stands around it."""
    listed: bool = False
    """Whether nothing but a comma, "and" or "or" joins the last box to the one before, which is another one."""


_SENTENCE_END = re.compile(r"[.!?]\s+[A-Z]|\n\s*\n")
_LISTED = re.compile(r"[,;]|\b(?:and|or)\b")
_ANSWER = re.compile(
    r"answer|solution set|final result|antwort|respuesta|réponse|risposta|resposta|jawaban|ответ|答案|答え|정답|الجواب|उत्तर",
    re.IGNORECASE,
)
# How an answer phrase goes on before the answer; anything else and "answer" was just a word.
_PHRASE = re.compile(
    r"s?(?:\(s\))?[\"'*_`)}\s]{0,4}(?:\s(?:to|of|for|choice|option|in)\b[^\n.:=]{0,120}?)?"
    r"(?:[:=>：]+|是|为|為|は|\s(?:is|are|was|equals|will be|would be|should be|must be|ist|lautet|es|est|è|é|adalah|هو)"
    r"(?![A-Za-z])[ \t]*:?|\n)[*_`\s：:]*",
    re.IGNORECASE,
)
_FORMULA = re.compile(
    r"\$\$(?P<display>[^$]+)\$\$|(?<!\\)\$(?P<inline>(?:[^$\\]|\\.)+)\$"
    r"|\\\((?P<round>(?:[^\\]|\\(?!\)))+)\\\)|\\\[(?P<square>(?:[^\\]|\\(?!\]))+)\\\]",
    re.DOTALL,
)
_DELIMITER = re.compile(r"\$\$|(?<!\\)\$|\\[()\[\]]|\n\s*\n")
_CLOSERS = {"$$": "$$", "$": "$", "\\(": "\\)", "\\[": "\\]"}
_VERB = re.compile(
    r"(?<![A-Za-z])(?:is|are|was|equals|be)(?:\s+(?:equal\s+to|exactly|approximately|about|only|just))?:?\s+",
    re.IGNORECASE,
)
_LATEX = re.compile(r"\\[a-zA-Z]+|[\^_]")
_JOIN = re.compile(r"\s*(?:,|;)?\s*(?:and|or|,|;)?\s*", re.IGNORECASE)
_LINE_END = re.compile(r"\n|。|\.\s+(?=[A-Z])|\.\s*$|(?<=[^.])\s+I hope it is correct|<\||</s>")
_NOT_BUT = re.compile(
    r"not\s[^.;\n]{1,60}?(?:\bbut\s+(?:rather\s+)?|[,;]\s(?:but\s)?it(?:['’]s|\s+is)\s+(?=[-$€£]?[0-9.\\]))",
    re.IGNORECASE,
)
# Behind an answer, why it is one, or what it is not.
_REASON = re.compile(
    r"(?<=\w)[^\w\s]*\s+(?:(?:because|since|instead\s+of|rather\s+than)\b|not\s(?=[-$]?[0-9])).*", re.I
)
# "7 when x is 8" is not 8, but "3 * 4, which is 12" is 12.
_BEGINS_WITH_NUMBER = re.compile(r"[-−+$€£(]*[0-9]")
_POINTS_BACK = re.compile(r"\b(?:which|that|this|it)\s*\Z", re.IGNORECASE)
_BULLET = r"(?:[-+*•–‣◦→▪●▸>]|{}[.)])[ \t]+"
_ITEM = re.compile(rf"{_BULLET.format(1)}(?=\S)(?P<more>[^\n]*\n[ \t]*{_BULLET.format(2)})?")
_LEAD = re.compile(
    r"(?:\s*(?:about|approximately|exactly|simply|just|therefore|thus|option|choice)\b\s*,?|[\s:*_`])+", re.I
)
_ANSWER_LETTER = re.compile(r"\A\s*(?:A|Ans)[:.]\s+")
_HASHES = re.compile(r"####[ \t]*([^\n]{1,2000})")
_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.^:])(?:\d+(?::\d+)+"
    r"|[-−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|,\d+)?(?<=\d)(?:\s?/\s?\d+)?(?:\s?\\?%)?)(?![A-Za-z0-9_^:])"
)
# A time, a ratio, a decimal comma: no number to others, but one answer.
_APART = re.compile(r"[-−]?\d+(?::\d+)+|[-−]?\d+,(?!\d{3}\Z)\d+")


def final_answer(completion: str) -> FinalAnswer | None:
    """Return the final answer of a completion; None when nothing in it can be one."""
    text = completion[-TAIL:]
    closed, open_box = boxes(text)
    if open_box is not None and (not closed or closed[-1].end < open_box.start):
        return FinalAnswer(open_box.content, "open box")
    filled = [box for box in closed if box.content.strip()]
    if filled:
        return _of_boxes(text, filled)
    return _marked(text) or _unmarked(text)


def answer_behind_hashes(completion: str) -> FinalAnswer | None:
    """Return the answer in the line behind the last ``####``; None when there is none."""
    _, mark, after = completion[-TAIL:].rpartition("####")
    found = final_answer(f"{mark} {after.lstrip().partition(chr(10))[0]}") if mark else None
    if found is None or found.how not in ("boxed", "####"):
        return None
    return FinalAnswer(found.text, "####", found.earlier)


def _formulas(text: str) -> list[tuple[int, int, str]]:
    """Return the formulas of a text: where they start and end with their delimiters, and what is between."""
    found: list[tuple[int, int, str]] = []
    opened: re.Match[str] | None = None
    for mark in _DELIMITER.finditer(text):
        token = mark.group()
        if opened is not None and token == _CLOSERS[opened.group()]:
            found.append((opened.start(), mark.end(), text[opened.end() : mark.start()].strip().rstrip(".,")))
            opened = None
        elif token in _CLOSERS and (opened is None or token != "$"):
            opened = mark
        elif token.isspace() and opened is not None and opened.group() == "$":
            opened = None  # a lone dollar sign
    return found


def _of_boxes(text: str, found: list[Box]) -> FinalAnswer:
    r"""Return the last box, with those before it in the same sentence: ``\boxed{2} and \boxed{3}``."""
    earlier: list[str] = []
    after = found[-1]
    for box in reversed(found[:-1]):
        between = text[box.end : after.start]
        listed = len(between) < _ADJACENT or _LISTED.search(between)
        if len(between) > _NEAR or not listed or _SENTENCE_END.search(between):
            break
        earlier.insert(0, _content(text, box))
        after = box
    alone = strip_boxes(found[-1].content)
    one_of_several = bool(earlier) and is_one_of_several(text, found[-1].start, found[-1].content)
    return FinalAnswer(with_surroundings(text, found[-1], alone), "boxed", tuple(earlier), alone, one_of_several)


def _content(text: str, box: Box) -> str:
    return with_surroundings(text, box, strip_boxes(box.content))


def _marked(text: str) -> FinalAnswer | None:
    """Return what the last answer mark points at."""
    hashes = text.rfind("####")
    match = _HASHES.match(text, hashes) if hashes >= 0 else None
    if match is not None and not re.match(r"\d{1,2}[.)]\s+[A-Z]", match[1]) and re.search(r"\w", match[1]):
        return FinalAnswer(_plain(match[1]), "####")
    for start in _last_marks(text):
        phrase = _PHRASE.match(text[start : start + SPAN])
        if phrase is None:
            continue
        rest = text[start + phrase.end() : start + SPAN]
        item = _ITEM.match(rest) if "\n" in phrase.group() else None
        if item and item["more"]:
            return FinalAnswer(item["more"].strip(), "phrase")  # several items, several answers
        found = _of_phrase(rest[item.end() :] if item else rest)
        if found:
            return FinalAnswer(found, "phrase")
    return None


def _last_marks(text: str) -> Iterator[int]:
    """Yield where the last few answer words end, the last first."""
    ends = [match.end() for match in _ANSWER.finditer(text)]
    yield from reversed(ends[-6:])


def _of_phrase(rest: str) -> str:
    """Return the answer that the text after an answer phrase begins with: its formulas, else its first sentence."""
    lead = _LEAD.match(rest)
    begin = lead.end() if lead else 0
    first = _FORMULA.search(rest)
    if first is not None:
        before = rest[begin : first.start()]
        if len(before) <= _NEAR and "\n\n" not in before.strip() and not re.search(r"\d|\.\s", before):
            sentence = _LINE_END.split(rest[first.end() :], maxsplit=1)[0]
            verb = _last_verb(sentence)
            # "The largest $n$ is 34"
            return _plain(sentence[verb.end() :]) if verb and before.strip() else _joined(rest, first)
    line = _LINE_END.split(rest[begin:].lstrip(), maxsplit=1)[0]
    return _plain(_end_of_sentence(_REASON.sub("", line)))


def _end_of_sentence(line: str) -> str:
    """Return what a sentence of several words comes to: what follows its verb, else its only number."""
    if but := _NOT_BUT.match(line):
        line = line[but.end() :]
    if len(re.findall(r"[A-Za-z]{2,}", line)) < 3 or _LATEX.search(line):
        return line
    verb = _last_verb(line)
    if verb and _BEGINS_WITH_NUMBER.match(line) and not _POINTS_BACK.search(line, 0, verb.start()):
        return line
    rest = line[verb.end() :] if verb else line
    numbers = _NUMBER.findall(rest)
    if len(numbers) != 1 or (verb and re.match(r"[^A-Za-z]*\d", rest)):
        return rest
    found = last_number(rest)
    return numbers[0].strip() if found is not None and found.value is not None else rest


def _last_verb(sentence: str) -> re.Match[str] | None:
    """Return the last "is", "are", "equals" of a sentence; None when there is none."""
    return max(_VERB.finditer(sentence), key=lambda match: match.end(), default=None)


def _joined(rest: str, first: re.Match[str]) -> str:
    """Return a formula together with those that follow it in a list: ``$1$, $2$ and $3$``."""
    parts, end = [_inside(first)], first.end()
    while joint := _JOIN.match(rest, end):
        following = _FORMULA.match(rest, joint.end())
        if following is None or not joint.group().strip():
            break
        parts.append(_inside(following))
        end = following.end()
    percent = re.match(r"\s*(?:\\?%|percent)", rest[end:])
    return ", ".join(parts) + ("%" if percent else "")


def _unmarked(text: str) -> FinalAnswer | None:
    """Return the last formula of the last paragraph, else the last number of the last lines."""
    text = text.rstrip()
    if text.count("\\begin{") > text.count("\\end{") or text.count("\\[") > text.count("\\]"):
        return None  # cut off in the middle of a formula
    text = _ANSWER_LETTER.sub("", text)
    lines = [line for line in text[-2 * SPAN :].split("\n") if line.strip()]
    last = _formulas(text)[-1:]
    if last and last[0][1] >= len(text) - SPAN // 2 and not re.search(r"\d", text[last[0][1] :]):
        return FinalAnswer(_right_side(last[0][2]), "formula")
    if len(lines) == 1 and (_LATEX.search(text) or not re.search(r"[A-Za-z]{3}", text)) and len(text) <= SPAN:
        return FinalAnswer(_plain(text), "formula")
    for line in reversed(lines[-3:]):
        numbers = _NUMBER.findall(line)
        if numbers:
            found = last_number(line)
            if found is None or (found.value is None and _APART.fullmatch(numbers[-1].strip())):
                return FinalAnswer(numbers[-1].strip(), "number")
            return FinalAnswer(_plain(line) if found.value is None else found.text, "number")
    if len(lines) == 1 and len(text) <= SPAN:
        return FinalAnswer(_plain(text), "formula")
    return None


def _right_side(formula: str) -> str:
    """Return what a chain of equations comes to; an equation of one step stays whole."""
    if re.search(r"[,;]|\\(?:text|begin)", formula):
        return formula
    depth, begin, signs = 0, 0, 0
    for match in re.finditer(r"[{}]|(?<![<>!\\])=", formula):
        if match.group() == "=":
            if depth == 0:
                begin, signs = match.end(), signs + 1
        else:
            depth += 1 if match.group() == "{" else -1
    return formula[begin:].strip() if signs > 1 else formula


def _inside(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None).strip().rstrip(".,")


def _plain(line: str) -> str:
    """Return a line without Markdown and the full stop at its end; one formula in it without its dollars."""
    line = re.sub(r"\*\*|__|`", "", line).strip()
    line = line.split("<|")[0].strip().rstrip(".").strip()
    whole = _FORMULA.fullmatch(line)
    return _inside(whole) if whole else line
