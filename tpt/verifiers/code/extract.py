"""Finds the program in a completion: step-by-step reasoning, then one fenced block of Python.

*Strict* asks for exactly that: one fenced block in the whole completion, marked ``python``, closed, and nothing behind it.
The lenient reading takes, in this order:

- the last complete fenced block marked as Python; when none is marked, the last complete unmarked one. Blocks of another
  language (text, json, bash, ...) are never programs. For function tests, blocks that define the function go first, so
  that an example of its use at the end is not taken for the answer.
- the block that the end of the completion cut off;
- without any fence, for function tests, the definition of the function with its imports and helpers, or an indented body
  that continues the prompt; for whole programs, a completion that is Python from its first to its last line.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

PROGRAM_FORMAT = (
    "code/1: reasoning, then the program in the completion's only fenced block, opened by '```python' on a line of its own "
    "and closed by '```', with nothing but blanks behind it."
)

_FENCE = re.compile(r"(?P<indent>[ \t]*)(?:[-*+>][ \t]+)?(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^`\r\n]*?)[ \t]*\r?")
_PYTHON = {"python", "python3", "py", "py3", "python2", "pypy", "pypy3"}
_START = re.compile(r"(?:def|class|import|from|async def)\s|@\w", re.MULTILINE)
_LONGEST_UNFENCED = 50_000
_LINES_TRIED = 60


@dataclass(frozen=True, slots=True)
class Extracted:
    """The program of a completion."""

    program: str | None
    strict: bool
    detail: str
    """Where the program was found, or why there is none."""


@dataclass(frozen=True, slots=True)
class _Block:
    language: str
    program: str
    closed: bool
    last: bool
    """Whether only blanks follow."""
    exact: bool
    """Whether it was opened by exactly ```python."""


def extract_program(completion: str, *, entry_point: str | None = None) -> Extracted:
    """Return the program of a completion; ``entry_point`` is the function that tests call, if they call one."""
    blocks = _blocks(completion)
    complete = [block for block in blocks if block.closed]
    chosen = _choose(complete, entry_point)
    if chosen is not None:
        strict = len(blocks) == 1 and chosen.last and chosen.exact
        many = f"the last fitting one of {len(blocks)} fenced blocks" if len(blocks) > 1 else "a fenced block"
        return Extracted(chosen.program, strict, "the asked format" if strict else many)
    chosen = _choose([block for block in blocks if not block.closed], entry_point)
    if chosen is not None:
        return Extracted(chosen.program, False, "a fenced block that is never closed")
    if blocks:
        return Extracted(None, False, "no fenced block of Python")
    program = _unfenced(completion, entry_point)
    if program is None:
        return Extracted(None, False, "no fenced block and no program without one")
    return Extracted(program, False, "a program without a fence")


def defines(program: str, name: str) -> bool:
    """Return whether a program seems to define this function, on its own or as a method of a class."""
    return (
        re.search(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b|^{re.escape(name)}[ \t]*=", program, re.M)
        is not None
    )


def _choose(blocks: Sequence[_Block], entry_point: str | None) -> _Block | None:
    marked = [block for block in blocks if block.language in _PYTHON]
    fitting = [block for block in marked or [block for block in blocks if not block.language] if block.program.strip()]
    if entry_point is not None:
        fitting = [block for block in fitting if defines(block.program, entry_point)] or fitting
    return fitting[-1] if fitting else None


def _blocks(completion: str) -> list[_Block]:
    """Return the fenced blocks in order; a marked fence inside an open block begins a new one."""
    lines = completion.split("\n")
    blocks: list[_Block] = []
    start, opening = 0, None
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if fence is None:
            continue
        if opening is None:
            start, opening = number + 1, fence
        elif fence["mark"].startswith(opening["mark"]) and not fence["info"]:
            rest = "".join(lines[number + 1 :])
            blocks.append(_block(opening, lines[start:number], closed=True, last=not rest.strip()))
            opening = None
        elif fence["info"].lower() in _PYTHON and fence["mark"] == opening["mark"]:
            blocks.append(_block(opening, lines[start:number], closed=False, last=False))
            start, opening = number + 1, fence
    if opening is not None:
        blocks.append(_block(opening, lines[start:], closed=False, last=True))
    return blocks


def _block(opening: re.Match[str], lines: list[str], *, closed: bool, last: bool) -> _Block:
    program = "\n".join(line.removesuffix("\r") for line in lines) + "\n"
    if opening["indent"]:
        program = textwrap.dedent(program)
    info = opening["info"].strip("{}. ").split()
    language = info[0].lower() if info else ""
    exact = opening[0].rstrip() == "```python"
    return _Block(language, program, closed, last, exact)


def _unfenced(completion: str, entry_point: str | None) -> str | None:
    text = completion.strip("\r\n").rstrip()
    if not text or len(text) > _LONGEST_UNFENCED:
        return None
    if entry_point is None:
        return text + "\n" if _compiles(text) and not _is_prose(text) else None
    if not defines(text, entry_point):
        body = text[:1] in " \t" and _compiles(f"def {entry_point}():\n{text}")
        return text + "\n" if body else None
    for start in [match.start() for match in _START.finditer(text)][:_LINES_TRIED]:
        program = _longest_program(text[start:])
        if program is not None and defines(program, entry_point):
            return program
    return None


def _longest_program(text: str) -> str | None:
    """Drop lines from the end until the rest is Python."""
    lines = text.split("\n")
    for end in range(len(lines), max(0, len(lines) - _LINES_TRIED), -1):
        program = "\n".join(lines[:end]) + "\n"
        if _compiles(program):
            return program
    return None


def _is_prose(text: str) -> bool:
    """A lone word or number compiles too, and is an answer, not a program."""
    return re.search(r"[=(:]|\bimport\b", text) is None


def _compiles(source: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the program's odd string escapes
            compile(source, "completion", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
