"""Finds the fenced blocks of a completion, in one pass over its lines."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<lead>[-*+>][ \t]+)?(?P<mark>`{3,}|~{3,})(?P<info>[^`\r\n]*)\r?")
# "Here it is: ```python", and a closing fence behind the last line of code.
_BEHIND_PROSE = re.compile(r"[^`]*[^`\s][ \t]*(?P<mark>`{3,})(?P<info>[^`\r\n]{0,40})\r?")
_ON_ONE_LINE = re.compile(r"[ \t]*(?P<mark>`{3,})(?:py(?:thon)?[0-9.]*[ \t]+)?(?P<code>[^`\r\n]+)(?P=mark)\r?")
_LANGUAGE = re.compile(r"[A-Za-z+#]+")
_PYTHON = re.compile(r"(?:i?python|pypy|py)[0-9.]*")
_STRING = re.compile(r"\"\"\"|'''|#|\"(?:\\.?|[^\"\\])*\"?|'(?:\\.?|[^'\\])*'?")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    program: str
    closed: bool
    last: bool
    """Whether only blanks follow."""
    exact: bool
    """Whether it was opened by exactly ```python."""

    @property
    def is_python(self) -> bool:
        """Whether it is marked as Python, of whatever version."""
        return _PYTHON.fullmatch(self.language) is not None


@dataclass(slots=True)
class _Open:
    """The block that a line stands in."""

    start: int
    mark: str
    info: str
    indent: str
    quoted: bool
    exact: bool
    string: str = ""
    """The triple quote of the string that the line stands in, empty outside of one."""


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks in order; a fence inside a program's string is a part of the program."""
    found, complete = _blocks(text, mind_strings=True)
    return found if complete else _blocks(text, mind_strings=False)[0]


def _blocks(text: str, *, mind_strings: bool) -> tuple[list[Block], bool]:
    """Return the blocks, and whether none of them is open for a string that never ends."""
    lines = text.split("\n")
    end = max((number for number, line in enumerate(lines) if line.strip()), default=-1)
    found: list[Block] = []
    opened: _Open | None = None
    for number, line in enumerate(lines):
        if opened is None:
            one = _ON_ONE_LINE.fullmatch(line) if line.endswith(("```", "```\r")) else None
            if one is not None:
                found.append(Block("", one["code"].strip() + "\n", True, number == end, False))
            else:
                opened = _opening(line, number)
            continue
        fence = _FENCE.fullmatch(line) if "```" in line or "~~~" in line else None
        if fence is not None and not (mind_strings and opened.string):
            info = fence["info"].strip()
            if fence["mark"].startswith(opened.mark) and not info:
                found.append(_block(opened, lines[opened.start : number], closed=True, last=number >= end))
                opened = None
                continue
            if _is_python(info):
                found.append(_block(opened, lines[opened.start : number], closed=False, last=False))
                opened = _opening(line, number)
                continue
        elif line.rstrip().endswith(opened.mark) and _is_end_of_code(line, opened, mind_strings=mind_strings):
            code = line.rstrip().removesuffix(opened.mark)
            found.append(_block(opened, [*lines[opened.start : number], code], closed=True, last=number >= end))
            opened = None
            continue
        if mind_strings:
            opened.string = _string_after(line, opened.string)
    if opened is not None:
        # A fence of another length or kind at the very end closes nothing, but is no line of the program either.
        rest = (
            lines[opened.start : end] if end >= opened.start and _FENCE.fullmatch(lines[end]) else lines[opened.start :]
        )
        found.append(_block(opened, rest, closed=False, last=True))
    return found, opened is None or not opened.string


def _opening(line: str, number: int) -> _Open | None:
    if "```" not in line and "~~~" not in line:
        return None
    fence = _FENCE.fullmatch(line)
    if fence is not None:
        info = fence["info"].strip()
        exact = line.rstrip() == "```python"
        lead = fence["lead"] or ""
        return _Open(number + 1, fence["mark"], info, fence["indent"] + lead, lead.startswith(">"), exact)
    behind = _BEHIND_PROSE.fullmatch(line)
    if behind is None or not (_is_python(behind["info"].strip()) or not behind["info"].strip()):
        return None
    return _Open(number + 1, behind["mark"], behind["info"].strip(), "", False, False)


def _is_end_of_code(line: str, opened: _Open, *, mind_strings: bool) -> bool:
    """Tell whether a line is code with the closing fence behind it, and not text that speaks of fences."""
    if opened.mark[0] != "`" or line.count("`") != len(opened.mark) or not line.strip().strip("`"):
        return False
    return not (mind_strings and _string_after(line.rstrip().rstrip("`"), opened.string)) and "#" not in line


def _is_python(info: str) -> bool:
    return _PYTHON.fullmatch(_language(info)) is not None


def _language(info: str) -> str:
    """Return the language that an info string begins with: python of "python3.11", "{.python}" and "python title=x"."""
    words = re.split(r"[\s:,=({}\[]+", info.strip("{}[]. "), maxsplit=1)
    return words[0].lower().strip(".") if words else ""


def _string_after(line: str, string: str) -> str:
    """Return the triple quote of the string that a line of Python ends in, given the one that it begins in."""
    position = 0
    while True:
        if string:
            end = line.find(string, position)
            if end < 0:
                return string
            position, string = end + 3, ""
        match = _STRING.search(line, position)
        if match is None or match[0] == "#":
            return ""
        position = match.end()
        if match[0] in ('"""', "'''"):
            string = match[0]


def _block(opened: _Open, lines: list[str], *, closed: bool, last: bool) -> Block:
    if opened.quoted:
        lines = [re.sub(r"\A[ \t]*>[ ]?", "", line) for line in lines]
    program = "\n".join(line.removesuffix("\r") for line in lines).removeprefix("\ufeff") + "\n"
    if opened.indent:
        program = textwrap.dedent(program)
    return Block(_language(opened.info), program, closed, last, opened.exact)
