"""APPS: contest and practice problems as whole programs, functions, or methods of a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tpt.errors import ProblemError
from tpt.problems.code.rows import (
    ASK_PROGRAM,
    Item,
    allow_code_params,
    function_tests,
    json_cell,
    pairs,
    program,
    read_items,
    stdin_tests,
    text_cell,
    with_starter,
)
from tpt.problems.math.rows import Hub
from tpt.problems.rows import Row, cell_text
from tpt.problems.spec import Spec, int_param

HUB = Hub("codeparrot/apps", ("train", "test"), files="hf://datasets/codeparrot/apps/{split}.jsonl")


def apps(spec: Spec) -> Iterator[Item]:
    """Yield the problems of ``apps?split=train|test`` or ``apps:PATH``, the first ``max_tests`` of each (0: all).

    Problems without any tests are left out.
    """
    allow_code_params(spec, "max_tests")
    max_tests = int_param(spec, "max_tests", default=0, least=0)

    def make(row: Row, problem_id: str) -> Item | None:
        if "input_output" not in row.cells:
            raise ProblemError(f"{row.where}: no column 'input_output'; the columns are {', '.join(row.cells)}.")
        table = json_cell(row, "input_output", dict)
        cases = pairs(row, table, "inputs", "outputs")
        if not cases:
            return None
        question, starter = text_cell(row, "question").strip(), cell_text(row, "starter_code") or ""
        name = table.get("fn_name")
        if name:
            calls = [(each if isinstance(each, list) else [each], expected) for each, expected in _unwrapped(cases)]
            tests = function_tests(str(name), calls, in_class="class Solution" in starter)
            question = (
                with_starter(question, starter) if starter.strip() else f"{question}\n\nCall the function {name}."
            )
        else:
            tests = stdin_tests(cases, {})
            question = f"{question}\n\n{ASK_PROGRAM}"
        solutions = json_cell(row, "solutions", list)
        solution = str(solutions[0]) if solutions else None
        return program(problem_id, question, tests[: max_tests or None], solution=solution)

    return read_items(spec, HUB, make)


def _unwrapped(cases: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Take results out of the one-item lists that most of the source's results stand in.

    The source does not say which do; a function whose every result is a list of one item is read wrongly.
    """
    if all(isinstance(expected, list) and len(expected) == 1 for _, expected in cases):
        return [(given, expected[0]) for given, expected in cases]
    return list(cases)
