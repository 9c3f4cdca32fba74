"""One hostile item harms only itself: what programs and data files have tried on the judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from code_cases import needs_bubblewrap

from tpt.errors import ProblemError, VerifierError
from tpt.problems import load_problems
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.sandbox import Limits, Task, bubblewrap
from tpt.sandbox.worker import Sandbox
from tpt.verifiers import judge as judging
from tpt.verifiers.judge import judge


def verdicts(tests: list[dict[str, Any]], programs: list[str]) -> list[Verdict]:
    problem = Problem("p", "", "", "code", tests=tests)
    traces = [Trace("p", n, f"```python\n{each}\n```", "stop", 0, 0) for n, each in enumerate(programs)]
    return judge(traces, {"p": problem})


FUNCTION = {"type": "function", "name": "f", "args": [1], "expected": 1}
ENDLESS_NAMES = [
    "def f(x):\n    raise type('E' * 16777180, (Exception,), {})",
    "def f(x):\n    raise ValueError('\\ud800' * 5_000_000)",
    "def f(x):\n    return 'x' * 15_000_000",
    "def f(x):\n    return [[]] * 1_000_000",
    "class E(Exception):\n    def __str__(self): raise RuntimeError\ndef f(x):\n    raise E",
    "class M(type):\n    __name__ = property(lambda c: 1 / 0)\nclass E(Exception, metaclass=M): pass\ndef f(x):\n    raise E",
]


@needs_bubblewrap
def test_programs_do_not_shape_what_the_judge_writes() -> None:
    found = verdicts([FUNCTION], [*ENDLESS_NAMES, "def f(x): return x"])
    assert Outcome.CORRECT not in [each.outcome for each in found[:-1]]
    assert found[-1].outcome is Outcome.CORRECT
    assert max(len(each.detail) for each in found) < 1_000


TWO_OF_SUM = "def check(given, expected, got):\n    return len(got) == 2 and sum(got) == expected"
CHANGING = """class Two:
    calls = 0
    def __len__(self): return 2
    def __iter__(self):
        Two.calls += 1
        return iter([1, 2] if Two.calls < 2 else [3, 4])
def f(x): return Two()"""
LYING = "class I(int):\n    def __add__(self, other): return 7\n    __radd__ = __add__\ndef f(x): return [I(1), I(2)]"


@needs_bubblewrap
def test_a_checker_sees_plain_data() -> None:
    tests = [{**FUNCTION, "expected": 7, "compare": "checker", "checker": TWO_OF_SUM}]
    right = ["def f(x): return [3, 4]", "def f(x): return (3, 4)", "def f(x): return (y for y in (3, 4))"]
    wrong = [CHANGING, LYING, "def f(x): return object()", "def f(x): return f"]
    found = [each.outcome for each in verdicts(tests, [*right, *wrong])]
    assert found == [Outcome.CORRECT] * len(right) + [Outcome.WRONG] * len(wrong)


OWN_JUDGES = """class Counter:
    def __init__(self, *args): pass
    def __eq__(self, other): return True
def isclose(*args): return True
class np:
    allclose = staticmethod(lambda *args: True)
def f(x): return [5, 6]"""


@needs_bubblewrap
@pytest.mark.parametrize(
    "code",
    ["assert Counter(f(1)) == Counter([1, 2])", "assert isclose(f(1)[0], 1.0)", "assert math.isclose(f(1)[0], 1)"],
)
def test_what_a_test_compares_with_is_not_the_programs(code: str) -> None:
    found = verdicts([{"type": "assert", "code": code}], [OWN_JUDGES, "def f(x): return [1, 2]"])
    assert [each.outcome for each in found] == [Outcome.WRONG, Outcome.CORRECT]


@needs_bubblewrap
def test_a_function_may_have_a_known_name() -> None:
    tests = [{"type": "assert", "code": "assert product([2, 3]) == 6"}]
    assert verdicts(tests, ["def product(xs): return xs[0] * xs[1]"])[0].outcome is Outcome.CORRECT


@needs_bubblewrap
@pytest.mark.parametrize(
    ("checker", "outcome", "told"),
    [
        ("def check(a, b, c): return int(c) == 1", Outcome.CORRECT, "passed"),
        (
            "def check(a, b, c): return int(c.split()[1]) == 1",
            Outcome.WRONG,
            "the checker failed on this output: IndexError",
        ),
        ("def check(a, b, c):\n    while True: pass", Outcome.ERROR, "the checker did not finish"),
        ("def check(a, b, c) return 1", Outcome.ERROR, "the checker cannot be used: SyntaxError"),
        ("check = None\ndel check", Outcome.ERROR, "the checker cannot be used: KeyError"),
    ],
)
def test_checkers_that_raise_say_wrong_and_others_are_named(checker: str, outcome: Outcome, told: str) -> None:
    test = {"type": "stdin", "input": "", "output": "1", "compare": "checker", "checker": checker, "time_limit_s": 0.5}
    (found,) = verdicts([test], ["print(1)"])
    assert found.outcome is outcome
    assert told in found.detail


@needs_bubblewrap
@pytest.mark.parametrize("compare", ["any_order", "tokens", "float"])
def test_long_outputs_are_compared_in_the_sandbox(compare: str) -> None:
    tests = [{"type": "stdin", "input": "", "output": "1 2\n" * 100_000, "compare": compare}]
    found = verdicts(tests, ["print('1 2\\n' * 100_000)", "print('1 3\\n' * 100_000)"])
    assert [each.outcome for each in found] == [Outcome.CORRECT, Outcome.WRONG]


def test_what_a_completion_breaks_is_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(problem: Problem, completion: str) -> Any:
        if "boom" in completion:
            raise RecursionError("too deep")
        return judging.verify_number(problem, completion)

    monkeypatch.setitem(judging.OPENINGS, "number", breaks)
    traces = [Trace("p", n, text, "stop", 0, 0) for n, text in enumerate(["#### 18", "boom", "#### 18"])]
    found = judge(traces, {"p": Problem("p", "", "18", "number")})
    assert [each.outcome for each in found] == [Outcome.CORRECT, Outcome.ERROR, Outcome.CORRECT]
    assert "RecursionError: too deep" in found[1].detail


def test_a_data_file_runs_no_code(tmp_path: Path) -> None:
    evil, rows = tmp_path / "evil.py", tmp_path / "rows.jsonl"
    evil.write_text("raise SystemExit('ran')", encoding="utf-8")
    rows.write_text(json.dumps({"question": "q", "answer": "1", "kind": f"{evil}:f"}), encoding="utf-8")
    with pytest.raises(ProblemError, match="A data file runs no code by itself"):
        load_problems(str(rows))
    with pytest.raises(ProblemError, match=r"problems\.kind = "):
        load_problems(str(rows), kind="number")
    assert load_problems(str(rows), kind=f"{evil}:f")[0].kind == f"{evil}:f"


@needs_bubblewrap
def test_hidden_folders_are_empty_to_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = next(each for each in Path("/usr/share").iterdir() if each.is_dir() and any(each.iterdir()))
    monkeypatch.setattr(bubblewrap, "_HIDDEN", {folder})
    sandbox = Sandbox("bubblewrap")
    (ended,) = sandbox.run(
        Task({"role": "whole", "program": f"import os; print(os.listdir({str(folder)!r}))"}, Limits(5, 256))
    )
    sandbox.close()
    assert ended.stdout.decode().strip() == "[]"
    monkeypatch.setattr(bubblewrap, "_HIDDEN", {Path("/usr")})
    with pytest.raises(VerifierError, match="cannot be hidden from the programs"):
        bubblewrap.container()
