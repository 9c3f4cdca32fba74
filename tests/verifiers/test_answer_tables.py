"""Every kind of answer that graders are known to misjudge, judged as it should be; the rows stand beside it."""

from __future__ import annotations

import pytest
from answer_tables import CHOICE, EXACT, QUESTION, Row, boxed
from code_cases import needs_bubblewrap
from math_answers import MATH
from number_answers import NUMBER
from sibling_answers import BOTH, MATH_ONLY
from sibling_choices import CHOICES, CITIES, TEXTS
from spoilt_answers import AROUND, COUNTED, COUNTED_QUESTION, MATH_ALONE, MATH_QUESTIONS, NUMBER_ALONE
from spoilt_answers import CHOICE as SPOILT_CHOICE

from tpt.config import VerifyConfig
from tpt.records import Outcome, Problem, Trace
from tpt.verifiers.judge import judge

GROUPS = [
    *(("math", name, rows, "") for name, rows in MATH.items()),
    ("math", "counted", COUNTED, COUNTED_QUESTION),
    *(("number", name, rows, "") for name, rows in NUMBER.items()),
    *(("choice", name, rows, QUESTION) for name, rows in CHOICE.items()),
    ("exact", "texts", EXACT, ""),
    ("number", "around", [*AROUND, *NUMBER_ALONE], ""),
    ("math", "around", AROUND, ""),
    ("math", "alone", MATH_ALONE, ""),
    *(("math", f"asked {n}", boxed([row[1:]]), row[0]) for n, row in enumerate(MATH_QUESTIONS)),
    ("choice", "around", SPOILT_CHOICE, QUESTION),
    ("math", "siblings", [*BOTH, *MATH_ONLY], ""),
    ("number", "siblings", BOTH, ""),
    ("choice", "siblings", CHOICES, CITIES),
    ("exact", "siblings", TEXTS, ""),
]


@pytest.mark.parametrize(("kind", "name", "rows", "question"), GROUPS, ids=[f"{each[0]}-{each[1]}" for each in GROUPS])
def test_verdicts(kind: str, name: str, rows: list[Row], question: str) -> None:
    problems = {str(n): Problem(str(n), question, gold, kind) for n, (gold, _, _) in enumerate(rows)}
    traces = [Trace(str(n), 0, completion, "stop", 0, 0) for n, (_, completion, _) in enumerate(rows)]
    verdicts = judge(traces, problems, limits=VerifyConfig(timeout_s=20))
    wrong = [
        (row, verdict.outcome, verdict.extracted)
        for row, verdict in zip(rows, verdicts, strict=True)
        if (verdict.outcome is Outcome.CORRECT) != row[2] or verdict.outcome in (Outcome.ERROR, Outcome.TIMEOUT)
    ]
    assert wrong == []


def test_the_tables_are_long() -> None:
    assert sum(len(rows) for _, _, rows, _ in GROUPS) >= 1_500


def test_a_question_for_a_coefficient_wants_the_box_alone() -> None:
    problem = Problem("p", "What is the coefficient of $x^3$?", "14", "math")
    (verdict,) = judge([Trace("p", 0, r"The term is $\boxed{14}x^3$.", "stop", 0, 0)], {"p": problem})
    assert (verdict.outcome, verdict.extracted) == (Outcome.CORRECT, "14")


ADD_ONE = "n = int(input())\nprint(n + 1)"
PROGRAMS = [
    f"```python\n{ADD_ONE}\n```<|endoftext|>",
    f"```python\n{ADD_ONE}\n```<|im_end|>\n<|im_start|>user\nMore",
    f"```python\n{ADD_ONE}\n<|im_end|>",
    f"{ADD_ONE}\n<|endoftext|>",
    f"{ADD_ONE}\n```",
    f"\ufeff```python\n{ADD_ONE}\n```",
    f"```python\n\ufeff{ADD_ONE}\n```",
    f"Here you go: ```python\n{ADD_ONE}\n```",
    f"```python3.12\n{ADD_ONE}\n```",
    f"```{{.python}}\n{ADD_ONE}\n```",
    f'```python title="add.py"\n{ADD_ONE}\n```',
    f"``` py\n{ADD_ONE}\n```",
    f"~~~python\n{ADD_ONE}\n~~~",
    "> ```python\n> " + ADD_ONE.replace("\n", "\n> ") + "\n> ```",
    "- ```python\n  " + ADD_ONE.replace("\n", "\n  ") + "\n  ```",
    "```n = int(input()); print(n + 1)```",
    "```python n = int(input()); print(n + 1)```",
    f"`````python\n# first\n```\n\nNow:\n\n````python\n{ADD_ONE}\n````",
    f"```python\n'''Use it so:\n\n```python\nf()\n```\n'''\n{ADD_ONE}\n```",
    f'```python\ntext = """\n```\n"""\n{ADD_ONE}\n```',
    f"```python\n# 'it's a comment\n{ADD_ONE}\n```",
    f'```python\ns = "\\""\n{ADD_ONE}\n```',
    f"<think>\n```python\nprint('draft')\n```\n</think>\n{ADD_ONE}",
    f"<think>\nFirst\n```python\nprint('draft')\n```\n</think>\n```python\n{ADD_ONE}\n```",
    f"```python\n{ADD_ONE}```",
    f"````python\n{ADD_ONE}\n```",
    f"```python\n{ADD_ONE}\n~~~",
    "```py n = int(input()); print(n + 1)```",
    f"[PYTHON]\n{ADD_ONE}\n[/PYTHON]",
    f"Read it, add one.\n[PYTHON]\nprint(0)\n[/PYTHON]\nBetter:\n[PYTHON]\n{ADD_ONE}\n[/PYTHON]\nDone.",
    f"[PYTHON]\n{ADD_ONE}",
    f"[PYTHON]\n```python\n{ADD_ONE}\n```\n[/PYTHON]",
    f"[PYTHON]\n```\n{ADD_ONE}\n```\n[/PYTHON]\n[TESTS]\nassert True\n[/TESTS]",
]
NO_PROGRAMS = [
    f"<thinking>\n```python\n{ADD_ONE}\n```\n</thinking>\nNo idea.",
    f"<think>\n```python\n{ADD_ONE}\n```",
    f"```text\n{ADD_ONE}\n```",
    f"```javascript\n{ADD_ONE}\n```",
]


@needs_bubblewrap
def test_programs_are_found() -> None:
    tests = [{"type": "stdin", "input": "3\n", "output": "4\n"}]
    problem = Problem("p", "Add one.", "", "code", tests=tests)
    completions = [*PROGRAMS, *NO_PROGRAMS]
    verdicts = judge([Trace("p", n, each, "stop", 0, 0) for n, each in enumerate(completions)], {"p": problem})
    wrong = [
        (completions[each.sample], each.detail)
        for each in verdicts[: len(PROGRAMS)]
        if each.outcome is not Outcome.CORRECT
    ]
    assert wrong == []
    assert {each.outcome for each in verdicts[len(PROGRAMS) :]} == {Outcome.NO_ANSWER}


@needs_bubblewrap
@pytest.mark.parametrize(
    ("expected", "returned", "right"),
    [
        (0.3, "0.1 + 0.2", True),
        ([0.3, 1.0], "[0.1 + 0.2, 1]", True),
        ({"a": 0.3}, "{'a': 0.1 + 0.2}", True),
        (0.3, "0.30001", False),
        (3, "3.0", True),
        (3, "3.0000001", False),
        (10**17, "10**17 + 1", False),
        ([10**17, 0.5], "[10**17 + 1, 0.5]", False),
    ],
)
def test_decimals_have_one_tolerance_and_whole_numbers_none(expected: object, returned: str, right: bool) -> None:
    tests = [{"type": "function", "name": "f", "args": [], "expected": expected}]
    problem = Problem("p", "", "", "code", tests=tests)
    (verdict,) = judge([Trace("p", 0, f"```python\ndef f(): return {returned}\n```", "stop", 0, 0)], {"p": problem})
    assert (verdict.outcome is Outcome.CORRECT) == right


@needs_bubblewrap
@pytest.mark.parametrize(
    ("output", "printed", "right"), [("0.5", "0.50000001", True), ("5", "5.0", False), ("a 0.5", "b 0.5", False)]
)
def test_standard_output_has_the_same_rule(output: str, printed: str, right: bool) -> None:
    problem = Problem("p", "", "", "code", tests=[{"type": "stdin", "input": "", "output": output}])
    (verdict,) = judge([Trace("p", 0, f"```python\nprint('{printed}')\n```", "stop", 0, 0)], {"p": problem})
    assert (verdict.outcome is Outcome.CORRECT) == right


@needs_bubblewrap
def test_fields_that_parquet_fills_with_null_count_as_absent() -> None:
    tests = [
        {"type": "stdin", "input": "", "output": "4", "name": None, "args": None, "expected": None, "code": None},
        {"type": "stdin", "input": "", "output": "4", "compare": None, "checker": None},
    ]
    (verdict,) = judge(
        [Trace("p", 0, "```python\nprint(4)\n```", "stop", 0, 0)], {"p": Problem("p", "", "", "code", tests=tests)}
    )
    assert verdict.outcome is Outcome.CORRECT
