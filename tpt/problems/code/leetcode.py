"""LeetCode-style problems in LeetCodeDataset's layout: a method of ``class Solution``, called by tests.

What the tests are: the function ``check(candidate)`` or the ``assert`` lines in ``test``, as they stand, else the pairs of
``input_output``. The module's ``prompt`` (imports and helpers) is there for tests and programs alike.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from tpt.errors import ProblemError
from tpt.problems.code.rows import (
    PLATFORM,
    Item,
    allow_code_params,
    json_cell,
    program,
    read_items,
    text_cell,
    with_starter,
)
from tpt.problems.rows import Row, cell_text
from tpt.problems.spec import Spec

_ENTRY_POINT = re.compile(r"(?:Solution\(\)\.)?([A-Za-z_]\w*)")
_OWN_CLASSES = re.compile(r"\b(?:ListNode|TreeNode|list_node|tree_node)\b")
_WORDS = "true, false, null = True, False, None"
"""Pairs are written as in JSON or as in Python."""
_BRIEF = 80


def leetcode(spec: Spec) -> Iterator[Item]:
    """Yield the problems of ``leetcode:PATH``, those on linked lists and trees left out.

    Their arguments are objects of classes that the test code makes, and a sandbox hands nothing but plain data to a program.
    """
    allow_code_params(spec)

    def make(row: Row, problem_id: str) -> Item | None:
        name, question, test = _entry_point(row), _question(row), cell_text(row, "test") or ""
        if _OWN_CLASSES.search(f"{test}\n{question}"):
            return None
        codes = [_whole_test(row, test, name)] if test.strip() else _pair_tests(row, name)
        setup = cell_text(row, "prompt") or PLATFORM
        tests = [{"type": "assert", "code": code, "setup": setup, "entry_point": name} for code in codes]
        return program(problem_id, question, tests, solution=cell_text(row, "completion"))

    return read_items(spec, None, make)


def _entry_point(row: Row) -> str:
    text = text_cell(row, "entry_point").strip()
    match = _ENTRY_POINT.fullmatch(text)
    if match is None:
        raise _fault(row, "entry_point", "a function's name, or Solution().NAME", text)
    return match[1]


def _question(row: Row) -> str:
    """Return the description over the starter code, else the query, which holds both."""
    for column in ("problem_description", "query"):
        text = (cell_text(row, column) or "").strip()
        if text:
            starter = cell_text(row, "starter_code") or ""
            return with_starter(text, starter) if column != "query" and starter.strip() else text
    raise ProblemError(
        f"{row.where}: no text in column 'problem_description' or 'query', one of which is the question; the columns are "
        f"{', '.join(row.cells)}."
    )


def _whole_test(row: Row, test: str, name: str) -> str:
    """Return the test code as one test that calls the program."""
    try:
        body = ast.parse(test).body
    except (SyntaxError, ValueError) as error:
        raise _fault(row, "test", f"Python ({error})", test) from None
    if any(isinstance(each, ast.FunctionDef) and each.name == "check" for each in body):
        return f"{test.rstrip()}\n\ncheck({name})\n"
    if any(isinstance(each, ast.Assert) for each in body):
        return f"candidate = {name}\n{test.rstrip()}\n"
    raise _fault(row, "test", "a function check(candidate), or assert lines", test)


def _pair_tests(row: Row, name: str) -> list[str]:
    """Return a test for each pair of arguments and result."""
    pairs = json_cell(row, "input_output", list)
    if not pairs:
        raise ProblemError(
            f"{row.where}: no tests in column 'test' or 'input_output', one of which must hold some; the columns are "
            f"{', '.join(row.cells)}."
        )
    return [_pair_test(row, pair, f"input_output, pair {number}", name) for number, pair in enumerate(pairs, 1)]


def _pair_test(row: Row, pair: Any, where: str, name: str) -> str:
    texts = (pair.get("input"), pair.get("output")) if isinstance(pair, dict) else (None, None)
    given, expected = (str(each).strip() if isinstance(each, str | int | float) else None for each in texts)
    if given is None or expected is None:
        raise _fault(row, where, "an object with an input and an output", pair)
    if not all(map(_is_plain, _arguments(given))):
        raise _fault(row, f"{where}, input", "plain arguments such as nums = [1, 2], k = 3", given)
    if not _is_plain(_expression(expected)):
        raise _fault(row, f"{where}, output", "a plain value such as [1, 2]", expected)
    return f"{_WORDS}\ncandidate = {name}\nassert candidate({given}) == ({expected})\n"


def _arguments(text: str) -> list[ast.expr | None]:
    """Return the arguments of a call, positions and names; one that is None where the text is no list of arguments."""
    call = _expression(f"candidate({text})")
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return [None]
    return [*call.args, *(each.value for each in call.keywords)]


def _expression(text: str) -> ast.expr | None:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_plain(value: ast.expr | None) -> bool:
    """Return whether an expression is plain data: numbers, texts, true, null, and lists, tuples, sets and dicts of them."""
    plain = (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.UnaryOp, ast.USub, ast.UAdd, ast.Load)
    return value is not None and all(
        isinstance(each, plain) or (isinstance(each, ast.Name) and each.id in ("true", "false", "null"))
        for each in ast.walk(value)
    )


def _fault(row: Row, column: str, wanted: str, got: Any) -> ProblemError:
    shown = " ".join(str(got).split())
    brief = shown if len(shown) <= _BRIEF else f"{shown[: _BRIEF - 3]}..."
    return ProblemError(f"{row.where}: column {column!r} must hold {wanted}; got {brief!r}.")
