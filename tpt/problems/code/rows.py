"""What the sources of programming problems have in common: where their rows come from, and what a test looks like.

A test is a JSON object that needs nothing beside it: ``stdin`` (input, output), ``function`` (name, args, expected) or
``assert`` (code, entry_point), with ``compare``, ``time_limit_s`` and ``memory_mb``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tpt.errors import ProblemError
from tpt.problems.math.rows import Hub, iter_hub_rows
from tpt.problems.overlap import hash_split
from tpt.problems.rows import Row, cell_text, iter_rows, parse_json, plain
from tpt.problems.spec import TABLE_SUFFIXES, Spec, allow_params, choice_param, int_param
from tpt.records import Problem

ASK_PROGRAM = "Write a program that reads the input from standard input and writes the answer to standard output."


PLATFORM = """import bisect, collections, functools, heapq, itertools, math, operator, random, re, string
from typing import *
from collections import *
from itertools import *
from functools import *
from heapq import *
from bisect import *
from operator import *
from math import *
from builtins import *
"""
"""What the platform with ``class Solution`` imports for its users, on which their programs rely."""


@dataclass(frozen=True, slots=True)
class Item:
    """A problem, and programs known to be wrong that its tests must reject."""

    problem: Problem
    wrong_programs: tuple[str, ...] = ()


Make = Callable[[Row, str], Item | None]
"""Makes a row and its problem id a problem; None for one that cannot be used."""


def allow_code_params(spec: Spec, *own: str) -> None:
    """Raise ProblemError for a parameter that is neither the source's own nor one of all sources of programs."""
    allow_params(spec, ["split", *own, "time_limit_s"])


def read_items(spec: Spec, hub: Hub | None, make: Make, *, time_limit_s: int = 0) -> Iterator[Item]:
    """Yield the problems of a source, one row at a time: the files are larger than memory.

    From the Hub, or from a folder with files named by split, ``split`` is the data set's own. One file is all of it,
    or with ``split=train`` or ``split=heldout`` one side of ``hash_split``. Ids are ``SOURCE/SPLIT/00042``, with the
    file's name in place of the split for one file. The parameter ``time_limit_s`` gives every test that much processor
    time; without it those have ``time_limit_s`` that name none of their own (0: the verifier's usual limit).
    """
    given = int_param(spec, "time_limit_s", default=0, least=1)
    for item in _items_of(spec, hub, make):
        yield _with_limit(item, given or time_limit_s, over_own=bool(given))


def _with_limit(item: Item, seconds: int, *, over_own: bool) -> Item:
    if not seconds:
        return item
    tests: list[Any] = item.problem.tests or []
    timed = [each if "time_limit_s" in each and not over_own else {**each, "time_limit_s": seconds} for each in tests]
    return Item(msgspec.structs.replace(item.problem, tests=timed), item.wrong_programs)


def _items_of(spec: Spec, hub: Hub | None, make: Make) -> Iterator[Item]:
    path = Path(spec.rest).expanduser() if spec.rest else None
    if path and not path.is_dir():
        side = choice_param(spec, "split", ["all", "train", "heldout"], default="all")
        for item in _made(iter_rows(path), make, f"{spec.name}/{path.stem}"):
            if side in ("all", hash_split(item.problem.question)):
                yield item
        return
    if hub is None:
        raise ProblemError(
            f"problem source {spec.text!r}: {spec.name} is read from your own copy. Write {spec.name}:FILE.jsonl."
        )
    split = choice_param(spec, "split", hub.splits)
    instead = f"use a copy of its files: {spec.name}:FOLDER?split={split} or {spec.name}:FILE."
    rows = _folder_rows(path, split) if path else iter_hub_rows(hub, split, instead=instead)
    yield from _made(rows, make, f"{spec.name}/{split}")


def program(
    problem_id: str, question: str, tests: list[Any], *, solution: str | None = None, wrong: Sequence[str] = ()
) -> Item:
    """Return a programming problem, whose id begins with its source's name, with programs known to be wrong."""
    source = problem_id.partition("/")[0]
    return Item(Problem(problem_id, question, "", "code", tests, solution, source), tuple(wrong))


def text_cell(row: Row, column: str) -> str:
    """Return a cell's text with Unix line ends; ProblemError when there is none."""
    text = cell_text(row, column)
    if text is None:
        raise ProblemError(f"{row.where}: no column {column!r}; the columns are {', '.join(row.cells)}.")
    return text.replace("\r\n", "\n")


def json_cell(row: Row, column: str, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """Return an object or list that stands in a cell as it is or as JSON text; an empty one for null or "".

    Raises:
        ProblemError: the cell holds something else.
    """
    value = row.cells.get(column)
    if isinstance(value, str):
        value = parse_json(value, f"{row.where}, column {column!r}") if value.strip() else None
    if value is None:
        return kind()
    if not isinstance(value, kind):
        name = "an object" if kind is dict else "a list"
        raise ProblemError(f"{row.where}: column {column!r} must hold {name}, got {str(value)[:60]!r}.")
    try:
        return plain(value)
    except ValueError as error:
        raise ProblemError(f"{row.where}: column {column!r} holds a number too large: {error}") from None


def pairs(row: Row, table: Mapping[str, Any], inputs: str, outputs: str) -> list[tuple[Any, Any]]:
    """Return the inputs of a table of tests with their outputs."""
    first, second = table.get(inputs) or [], table.get(outputs) or []
    if not isinstance(first, list) or not isinstance(second, list) or len(first) != len(second):
        raise ProblemError(f"{row.where}: {inputs} and {outputs} of the tests must be lists of the same length.")
    return list(zip(first, second, strict=True))


def stdin_tests(cases: Iterable[tuple[Any, Any]], limits: Mapping[str, Any]) -> list[Any]:
    """Return tests of whole programs: compared token by token, fractions as numbers, yes and no in any case.

    Contests take YES, Yes and yes alike, and the accepted programs write all of them. Other words must be written as
    expected: where case is the task, comparing without it would make ``print(input())`` a solution.
    """
    texts = [(_as_text(given), _as_text(expected)) for given, expected in cases]
    how: dict[str, Any] = {"compare": "tokens"}
    if any(_is_fraction(token) for _, expected in texts for token in expected.split()):
        how = {"compare": "float", "tolerance": 1e-6}
    elif any(token.lower() in ("yes", "no") for _, expected in texts for token in expected.split()):
        how = {"compare": "any_case"}
    return [{"type": "stdin", "input": given, "output": expected, **how, **limits} for given, expected in texts]


def function_tests(name: str, cases: Sequence[tuple[list[Any], Any]], *, in_class: bool) -> list[Any]:
    """Return tests of a function, or of a method of ``class Solution``, called with plain JSON values."""
    setup = {"setup": PLATFORM} if in_class else {}
    return [
        {"type": "function", "name": name, "args": given, "expected": expected, **setup} for given, expected in cases
    ]


def with_starter(question: str, starter: str) -> str:
    """Put the code that a function must start from under a question."""
    return f"{question.rstrip()}\n\nStart from this code:\n\n```python\n{starter.strip()}\n```"


def _made(rows: Iterable[Row], make: Make, prefix: str) -> Iterator[Item]:
    for index, row in enumerate(rows):
        item = make(row, f"{prefix}/{index:05d}")
        if item is not None:
            yield item


def _folder_rows(folder: Path, split: str) -> Iterator[Row]:
    found = [path for suffix in TABLE_SUFFIXES for path in sorted(folder.rglob(f"{split}*{suffix}"))]
    if not found:
        there = ", ".join(sorted(each.name for each in folder.iterdir())[:20]) or "nothing"
        raise ProblemError(f"{folder}: no {split}*.parquet or {split}*.jsonl here. The folder holds: {there}.")
    for path in found:
        yield from iter_rows(path)


def _as_text(value: Any) -> str:
    """Inputs and outputs stand as text, or as a list of lines."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_as_text(each) for each in value)
    return json.dumps(value)


def _is_fraction(token: str) -> bool:
    whole, point, digits = token.removeprefix("-").partition(".")
    return bool(point) and whole.isdecimal() and digits.isdecimal()
