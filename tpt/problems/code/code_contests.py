"""CodeContests: contest problems, standard input to standard output, with known right and known wrong programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tpt.errors import ProblemError
from tpt.problems.code.rows import (
    ASK_PROGRAM,
    Item,
    allow_code_params,
    json_cell,
    pairs,
    program,
    read_items,
    stdin_tests,
    text_cell,
)
from tpt.problems.math.rows import Hub
from tpt.problems.rows import Row
from tpt.problems.spec import Spec, choice_param, int_param

HUB = Hub("deepmind/code_contests", ("train", "valid", "test"))

_IMAGE = "<image>"
_PYTHON3 = (3, "PYTHON3")
"""The language as the Hub's class label and by its name."""
_TEST_COLUMNS = ("public_tests", "private_tests", "generated_tests")
_TIME_LIMIT_S = 2
"""Where the source names none; most contests give 1 to 3 s."""
_TIME_FACTOR = 3
"""The limits were set for compiled languages."""
_MEMORY_MB = 1024


def code_contests(spec: Spec) -> Iterator[Item]:
    """Yield the problems of ``code_contests?split=train|valid|test`` or ``code_contests:PATH``.

    PATH is a file or folder in the official column layout. Tests come in the order public, private, generated, the
    first ``max_tests`` of them (0: all). The time limit is the source's times ``time_factor``. ``images=skip``, the
    default, leaves out statements that show an image; problems that read from a named file are always left out.
    """
    allow_code_params(spec, "max_tests", "time_factor", "images")
    max_tests = int_param(spec, "max_tests", default=0, least=0)
    factor = int_param(spec, "time_factor", default=_TIME_FACTOR, least=1)
    skip_images = choice_param(spec, "images", ["skip", "keep"], default="skip") == "skip"

    def make(row: Row, problem_id: str) -> Item | None:
        statement = text_cell(row, "description")
        if (skip_images and _IMAGE in statement) or row.cells.get("input_file"):
            return None
        cases = [
            case for column in _TEST_COLUMNS for case in pairs(row, json_cell(row, column, dict), "input", "output")
        ]
        tests = stdin_tests(cases[: max_tests or None], _limits(row, factor))
        if not tests:
            raise ProblemError(f"{row.where}: no tests in {', '.join(_TEST_COLUMNS)}; is this the official layout?")
        solutions = _python3(row, "solutions")
        question, wrong = f"{statement.strip()}\n\n{ASK_PROGRAM}", _python3(row, "incorrect_solutions")
        return program(problem_id, question, tests, solution=next(iter(solutions), None), wrong=wrong)

    return read_items(spec, HUB, make)


def _python3(row: Row, column: str) -> list[str]:
    programs = pairs(row, json_cell(row, column, dict), "language", "solution")
    return [str(program) for language, program in programs if language in _PYTHON3]


def _limits(row: Row, factor: int) -> dict[str, Any]:
    time_limit = json_cell(row, "time_limit", dict)
    seconds = time_limit.get("seconds", 0) + time_limit.get("nanos", 0) / 1e9
    memory = int(str(row.cells.get("memory_limit_bytes") or 0))
    return {
        "time_limit_s": round((seconds or _TIME_LIMIT_S) * factor, 3),
        "memory_mb": memory >> 20 if memory > 0 else _MEMORY_MB,
    }
