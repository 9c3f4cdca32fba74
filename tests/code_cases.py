"""Tests of small programming problems, and what the tests of the code verifier ask of it."""

from __future__ import annotations

from typing import Any

import pytest

from tpt.config import VerifyConfig
from tpt.records import Outcome, Problem
from tpt.sandbox.bubblewrap import why_not
from tpt.verifiers import Judgement, gold
from tpt.verifiers.code.verify import judge_completions, verify_code

needs_bubblewrap = pytest.mark.skipif(bool(why_not()), reason=why_not() or "bubblewrap runs")
ADD = [
    {"type": "stdin", "input": f"{a} {b}\n", "output": f"{a + b}\n", "time_limit_s": 1}
    for a, b in ((1, 2), (30, 4), (500, 600))
]
SOLVED = "a, b = map(int, input().split())\nprint(a + b)"
DOUBLE = [{"type": "function", "name": "double", "args": [n], "expected": 2 * n, "time_limit_s": 1} for n in (1, 2, 3)]
CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(5) == 10\n\ncheck(double)"
ASSERTS = [{"type": "assert", "code": CHECK, "entry_point": "double", "time_limit_s": 1}]


def problem(tests: list[Any]) -> Problem:
    return Problem(id="p", question="", answer="", kind="code", tests=tests)


def fenced(program: str) -> str:
    return f"So:\n```python\n{program}\n```\n"


def outcome(tests: list[Any], program: str) -> tuple[Outcome, str]:
    judgement = verify_code(problem(tests), fenced(program))
    return judgement.outcome, judgement.detail


def judge_programs(pairs: list[tuple[Problem, str]], *, limits: VerifyConfig = VerifyConfig()) -> list[Judgement]:  # noqa: B008
    return judge_completions([(each, gold.fenced(program)) for each, program in pairs], limits=limits)
