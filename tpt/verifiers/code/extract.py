"""Finds the program in a completion: step-by-step reasoning, then one fenced block of Python.

*Strict* asks for exactly that: one fenced block in the whole completion, marked ``python``, closed, and nothing behind it.
The lenient reading takes, in this order:

- the last complete fenced block marked as Python; when none is marked, the last complete unmarked one. Blocks of another
  language (text, json, bash, ...) are never programs. For function tests, blocks that define the function go first, so
  that an example of its use at the end is not taken for the answer.
- the block that the end of the completion cut off;
- what stands in ``[PYTHON]`` tags;
- without any fence, for function tests, the definition of the function with its imports and helpers, or an indented body
  that continues the prompt; for whole programs, a completion that is Python from its first to its last line.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from tpt.verifiers.code.fences import Block, blocks_of
from tpt.verifiers.completion import program_part

PROGRAM_FORMAT = (
    "code/2: reasoning, then the program in the only fenced block of the completion's final part, opened by "
    "'```python' on a line of its own "
    "and closed by '```', with nothing but blanks behind it."
)

_START = re.compile(r"(?:def|class|import|from|async def)\s|@\w", re.MULTILINE)
_TAGS = ("[PYTHON]", "[/PYTHON]")
_LONGEST_UNFENCED = 50_000
_STARTS = 20
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Extracted:
    """The program of a completion."""

    program: str | None
    strict: bool
    detail: str
    """Where the program was found, or why there is none."""


def extract_program(completion: str, *, entry_point: str | None = None) -> Extracted:
    """Return the program of a completion; ``entry_point`` is the function that tests call, if they call one."""
    text = program_part(completion)
    blocks = blocks_of(text)
    complete = [block for block in blocks if block.closed]
    chosen = _choose(complete, entry_point)
    if chosen is not None:
        strict = len(blocks) == 1 and chosen.last and chosen.exact
        many = f"the last fitting one of {len(blocks)} fenced blocks" if len(blocks) > 1 else "a fenced block"
        return Extracted(chosen.program, strict, "the asked format" if strict else many)
    chosen = _choose([block for block in blocks if not block.closed], entry_point)
    if chosen is not None:
        return Extracted(chosen.program, False, "a fenced block that is never closed")
    if any(block.program.strip() for block in blocks):
        return Extracted(None, False, "no fenced block of Python")
    if (program := _tagged(text)) is not None:
        return Extracted(program, False, "a program in [PYTHON] tags")
    # A fence that nothing follows only closes what was never opened.
    program = _unfenced(text.rstrip().rstrip("`~") if blocks else text, entry_point)
    if program is None:
        return Extracted(None, False, "no fenced block and no program without one")
    return Extracted(program, False, "a program without a fence")


def _tagged(text: str) -> str | None:
    """Return what stands between the last ``[PYTHON]`` and ``[/PYTHON]``, as some models mark programs."""
    end = text.rfind(_TAGS[1])
    begin = text.rfind(_TAGS[0], 0, None if end < 0 else end)
    program = text[begin + len(_TAGS[0]) : None if end < begin else end].strip("\r\n") if begin >= 0 else ""
    return program + "\n" if program.strip() else None


def defines(program: str, name: str) -> bool:
    """Return whether a program seems to define this function, on its own or as a method of a class."""
    return (
        re.search(rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{re.escape(name)}\b|^{re.escape(name)}[ \t]*=", program, re.M)
        is not None
    )


def _choose(blocks: Sequence[Block], entry_point: str | None) -> Block | None:
    marked = [block for block in blocks if block.is_python]
    fitting = [block for block in marked or [block for block in blocks if not block.language] if block.program.strip()]
    if entry_point is not None:
        fitting = [block for block in fitting if defines(block.program, entry_point)] or fitting
    return fitting[-1] if fitting else None


def _unfenced(completion: str, entry_point: str | None) -> str | None:
    text = completion.strip("\r\n").rstrip()
    if not text or len(text) > _LONGEST_UNFENCED:
        return None
    if entry_point is None:
        return text + "\n" if _compiles(text) and not _is_prose(text) else None
    if not defines(text, entry_point):
        body = text[:1] in " \t" and _compiles(f"def {entry_point}():\n{text}")
        return text + "\n" if body else None
    for start in [match.start() for match in _START.finditer(text)][:_STARTS]:
        program = _longest_program(text[start:])
        if program is not None and defines(program, entry_point):
            return program
    return None


def _longest_program(text: str) -> str | None:
    """Drop lines from the first one that is no Python to the end."""
    lines = text.split("\n")
    for _ in range(_TRIES):
        program = "\n".join(lines) + "\n"
        wrong = _first_wrong_line(program)
        if wrong is None:
            return program if program.strip() else None
        lines = lines[: min(wrong, len(lines)) - 1]
    return None


def _is_prose(text: str) -> bool:
    """A lone word or number compiles too, and is an answer, not a program."""
    return re.search(r"[=(:]|\bimport\b", text) is None


def _compiles(source: str) -> bool:
    return _first_wrong_line(source) is None


def _first_wrong_line(source: str) -> int | None:
    """Return the number of the line at which a text is no Python; None when it is a program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the program's odd string escapes
            compile(source, "completion", "exec", dont_inherit=True)
    except SyntaxError as error:
        return max(1, error.lineno or 1)
    except (ValueError, RecursionError, MemoryError):
        return 1
    return None
