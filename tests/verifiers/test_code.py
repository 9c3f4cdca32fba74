"""The code verifier on right programs, honest mistakes, and every sort of test."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from code_cases import ADD, ASSERTS, DOUBLE, SOLVED, fenced, judge_programs, needs_bubblewrap, outcome, problem

from tpt.config import VerifyConfig
from tpt.errors import VerifierError
from tpt.records import Outcome, Trace
from tpt.sandbox.worker import Sandbox
from tpt.verifiers.code.verify import judge_completions, verify_code
from tpt.verifiers.judge import judge

pytestmark = needs_bubblewrap


def test_a_right_program():
    judgement = verify_code(problem(ADD), fenced(SOLVED))
    assert judgement.outcome is Outcome.CORRECT and judgement.strict
    assert judgement.detail == "passed 3/3" and judgement.extracted == SOLVED + "\n"
    assert not verify_code(problem(ADD), SOLVED).strict


FAILURES = [
    ("print(3)", Outcome.WRONG, "wrong answer: test 2 of 3; expected '34\\n', got '3\\n'; passed 1/3"),
    ("print(1 / 0)", Outcome.WRONG, "runtime error: test 1 of 3; ZeroDivisionError: division by zero; passed 0/3"),
    ("while True: pass", Outcome.TIMEOUT, "time limit: test 1 of 3; more than 1 s; passed 0/3"),
    ("x = [0] * 10**10", Outcome.WRONG, "memory limit: test 1 of 3; more than 1024 MB; passed 0/3"),
    ("while True: print('x' * 10**6)", Outcome.WRONG, "output limit: test 1 of 3; more than 16 MB; passed 0/3"),
    ("import sys; sys.exit('no')", Outcome.WRONG, "runtime error: test 1 of 3; no; passed 0/3"),
    ("print(", Outcome.WRONG, "runtime error: test 1 of 3; SyntaxError: '(' was never closed; passed 0/3"),
]


@pytest.mark.parametrize(("program", "expected", "detail"), FAILURES, ids=[program for program, *_ in FAILURES])
def test_failures_are_told_apart(program, expected, detail):
    assert outcome(ADD, program) == (expected, detail)


def test_no_program_is_no_answer():
    judgement = verify_code(problem(ADD), "I cannot solve this.")
    assert judgement.outcome is Outcome.NO_ANSWER and judgement.extracted is None


def test_function_tests():
    assert outcome(DOUBLE, "def double(x): return x + x")[0] is Outcome.CORRECT
    assert outcome(DOUBLE, "class Solution:\n    def double(self, x): return x + x")[0] is Outcome.CORRECT
    assert outcome(DOUBLE, "def double(x): return 2")[1] == "wrong answer: test 2 of 3; expected 4, got 2; passed 1/3"
    assert outcome(DOUBLE, "x = 1")[1].startswith("runtime error: test 1 of 3; NameError: name 'double' is not defined")


def function(expected: Any, compare: str, **more: Any) -> list[Any]:
    return [{"type": "function", "name": "f", "args": [], "expected": expected, "compare": compare, **more}]


@pytest.mark.parametrize(
    ("expected", "compare", "returned", "right"),
    [
        ([1, 2], "exact", "(1, 2)", True),
        ([1, 2], "exact", "[2, 1]", False),
        ([1, 2], "any_order", "[2, 1]", True),
        ([1, 2], "any_order", "{2, 1}", True),
        ([1, 1, 2], "any_order", "[1, 2, 2]", False),
        (0.1, "float", "0.1 + 1e-9", True),
        (0.1, "exact", "0.1 + 1e-9", False),
        ([[0.5, 1]], "float", "[(0.5000000001, 1.0)]", True),
        ({"1": "a"}, "exact", "{1: 'a'}", True),
        (None, "exact", "None", True),
        (10**50, "exact", "10**50", True),
        (1.0, "float", "float('nan')", False),
    ],
)
def test_comparisons_of_values(expected, compare, returned, right):
    result = outcome(function(expected, compare), f"def f(): return {returned}")[0]
    assert result is (Outcome.CORRECT if right else Outcome.WRONG)


@pytest.mark.parametrize(
    ("expected", "compare", "printed", "right"),
    [
        ("1 2\n3\n", "tokens", "1  2 3", True),
        ("1 2\n3\n", "exact", "1 2\\n3", True),
        ("1 2\n3\n", "exact", "1  2\\n3", False),
        ("0.5\n", "float", "0.50000000001", True),
        ("0.5 a\n", "float", "0.5 b", False),
        ("10\n", "float", "1_0", False),
        ("1000000000000000001\n", "float", "1000000000000000000", False),
        ("1\n", "float", "1.0", True),
        ("a b\nc\n", "any_order", "c\\na  b", True),
        ("a b\nc\n", "any_order", "b a\\nc", False),
        ("Yes\nno\n", "any_case", "YES No", True),
        ("Yes\n", "any_case", "No", False),
        ("Yes\n", "tokens", "YES", False),
    ],
)
def test_comparisons_of_output(expected, compare, printed, right):
    tests = [{"type": "stdin", "input": "", "output": expected, "compare": compare}]
    assert outcome(tests, f"print('{printed}')")[0] is (Outcome.CORRECT if right else Outcome.WRONG)


CHECKER = "def check(input, expected, got):\n    return sorted(got.split()) == sorted(expected.split())"


def test_a_checker_of_the_problems_own():
    tests = [{"type": "stdin", "input": "", "output": "1 2 3", "compare": "checker", "checker": CHECKER}]
    assert outcome(tests, "print(3, 1, 2)")[0] is Outcome.CORRECT
    assert outcome(tests, "print(3, 1)")[0] is Outcome.WRONG
    broken = [{**tests[0], "checker": "def check(input, expected, got): return 1 / 0"}]
    result, detail = outcome(broken, "print(3)")
    assert result is Outcome.WRONG and "ZeroDivisionError" in detail


def test_asserts_may_use_the_programs_own_objects_and_change_arguments():
    program = (
        "class Node:\n    def __init__(self, value): self.value, self.next = value, None\n"
        "def length(node): return 0 if node is None else 1 + length(node.next)\n"
        "def clear(items): items.clear()\ndef numbers():\n    yield from range(3)\n"
        "def kinds(items, kind): return [item for item in items if isinstance(item, kind)]\n"
        "def bad(): raise ValueError('bad')\ndef adder(n): return lambda x: x + n"
    )
    code = (
        "node = Node(1)\nnode.next = Node(2)\nassert length(node) == 2 and node.next.value == 2\n"
        "items = [1, 2]\nclear(items)\nassert items == []\nassert list(numbers()) == [0, 1, 2]\n"
        "assert kinds([1, 'a'], str) == ['a']\nassert adder(2)(3) == 5\nassert math.isclose(length(node), 2.0)\n"
        "try:\n    bad()\nexcept ValueError as error:\n    assert str(error) == 'bad'\nelse:\n    assert False"
    )
    assert outcome([{"type": "assert", "code": code}], program) == (Outcome.CORRECT, "passed 1/1")


def test_helpers_of_the_setup_are_the_tests_own():
    """A program cannot replace the function that its answer is measured with."""
    setup = "def measure(x):\n    return abs(x - 3)\n\ndef three():\n    pass\n"
    tests = [{"type": "assert", "code": "assert measure(three()) < 0.1", "setup": setup, "entry_point": "three"}]
    assert outcome(tests, "def three(): return 3")[0] is Outcome.CORRECT
    assert outcome(tests, "def measure(x): return 0\ndef three(): return 7")[0] is Outcome.WRONG
    assert verify_code(problem(tests), "    return 3\n").outcome is Outcome.CORRECT


def test_every_test_gives_the_share_of_tests_passed():
    program = "a, b = map(int, input().split())\nprint(a + b if a != 1 else 0)"
    (first,) = judge_completions([(problem(ADD), fenced(program))])
    (every,) = judge_completions([(problem(ADD), fenced(program))], every_test=True)
    assert first.detail.endswith("; passed 0/3") and every.detail.endswith("; passed 2/3")
    assert first.outcome is every.outcome is Outcome.WRONG


def test_a_batch_keeps_its_order_and_survives_a_dead_sandbox(monkeypatch):
    killed = []

    def finish(self: Sandbox) -> Any:
        if not killed:
            killed.append(self)
            assert self._process is not None
            self._process.kill()
        return original(self)

    original = Sandbox.finish
    monkeypatch.setattr(Sandbox, "finish", finish)
    programs = [f"a, b = map(int, input().split())\nprint(a + b + {number % 2})" for number in range(10)]
    found = judge_programs([(problem(ADD), program) for program in programs])
    assert [judgement.outcome is Outcome.CORRECT for judgement in found] == [True, False] * 5
    assert killed


def test_a_program_under_which_every_sandbox_dies_is_an_error_and_the_rest_are_judged(monkeypatch):
    """Twice is enough: it is not tried for ever, and nobody else pays for it."""
    killed = []

    def start(self: Sandbox, job: Any) -> None:
        original(self, job)
        if "deadly" in str(job):
            killed.append(self)
            assert self._process is not None
            self._process.kill()

    original = Sandbox.start
    monkeypatch.setattr(Sandbox, "start", start)
    deadly = f"import time  # deadly\ntime.sleep(9)\n{SOLVED}"
    pairs = [(problem(ADD), program) for program in (SOLVED, deadly, "print(3)", SOLVED)]
    found = judge_programs(pairs, limits=VerifyConfig(workers=1))
    assert [each.outcome for each in found] == [Outcome.CORRECT, Outcome.ERROR, Outcome.WRONG, Outcome.CORRECT]
    assert found[1].detail.startswith("sandbox error: test 1 of 3; ") and found[1].detail.endswith("; passed 0/3")
    assert len(killed) == 2


@pytest.mark.parametrize(
    ("printed", "result"),
    [
        ("' '.join(map(str, range(60000)))", "passed 1/1"),
        ("' '.join(map(str, range(60001)))", "wrong answer: test 1 of 1; "),
    ],
)
def test_long_output_is_compared_too(printed, result):
    """Longer than what is compared outside of the sandbox."""
    expected = " ".join(map(str, range(60000)))
    assert len(expected) > 200_000
    assert outcome([{"type": "stdin", "input": "", "output": expected}], f"print({printed})")[1].startswith(result)


@pytest.mark.parametrize(("compare", "right"), [("tokens", False), ("float", True), ("any_order", False)])
def test_long_output_is_compared_as_the_test_asks(compare, right):
    tests = [{"type": "stdin", "input": "", "output": "0.5\n" * 60_000, "compare": compare, "tolerance": 0.01}]
    assert (outcome(tests, "print('0.501\\n' * 60_000)")[0] is Outcome.CORRECT) is right
    assert outcome(tests, "print('0.7\\n' * 60_000)")[0] is Outcome.WRONG


def test_what_a_test_lacks_has_a_default():
    """A limit of its own counts; without one a program may take six seconds, and a gigabyte."""
    given = {"type": "stdin", "input": "", "output": "1"}
    assert outcome([{**given, "memory_mb": 300}], "x = bytearray(250 << 20)\nx = bytearray(2**29)")[1].startswith(
        "memory limit: test 1 of 1; more than 300 MB"
    )
    assert outcome([given], "x = bytearray(2**29)\nprint(1)")[0] is Outcome.CORRECT
    assert outcome([{**given, "compare": "float", "tolerance": 0.5}], "print(1.4)")[0] is Outcome.CORRECT
    assert outcome([{**given, "compare": "float"}], "print(1.4)")[0] is Outcome.WRONG


def test_the_cheapest_test_comes_first_and_is_named_by_its_place():
    tests = [{"type": "stdin", "input": "9" * each, "output": ""} for each in (50, 3, 20)]
    assert outcome(tests, "print(len(input()))")[1].startswith("wrong answer: test 2 of 3; expected '', got '3\\n'")


def test_what_went_wrong_is_told_in_short():
    assert outcome(ADD, f"print('{'x' * 200}')")[1] == (
        f"wrong answer: test 1 of 3; expected '3\\n', got '{'x' * 77}...'; passed 0/3"
    )
    assert outcome(ADD, "raise SystemExit(3)")[1] == "runtime error: test 1 of 3; exit code 3; passed 0/3"
    slept = outcome(ADD, "import threading\nthreading.Event().wait()")
    assert slept == (Outcome.TIMEOUT, "time limit: test 1 of 3; asleep or blocked for too long, limit 1 s; passed 0/3")


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ([], "has no tests"),
        ([{"type": "shell"}], "one of stdin, function, assert"),
        ([{"type": "stdin", "input": ""}], "'output' is missing"),
        ([{"type": "assert", "code": "", "entrypoint": "f"}], "Did you mean 'entry_point'"),
        ([{"type": "stdin", "input": "", "output": "", "compare": "checker"}], "needs the field checker"),
        ([{"type": "stdin", "input": "", "output": "", "time_limit_s": 0}], "time_limit_s is a number above 0"),
        ([{"type": "stdin", "input": "", "output": "", "time_limit_s": True}], "time_limit_s .*, got True"),
        ([{"type": "stdin", "input": "", "output": "", "memory_mb": "1"}], "memory_mb is a number above 0, got '1'"),
        ([{"type": "stdin", "input": "", "output": "", "memory_mb": 10**6}], "memory_mb is a number above 0"),
        ([{"type": "stdin", "input": "", "output": "", "compare": "fuzzy"}], "compare is one of .*, got 'fuzzy'"),
        ([ADD[0], {"type": "function", "name": "f", "args": []}], "test 2 of problem p: .*'expected' is missing"),
        (["print(1)"], "test 1 of problem p: want a JSON object .*, got print"),
    ],
)
def test_tests_that_are_none(tests, message):
    with pytest.raises(VerifierError, match=message):
        verify_code(problem(tests), "")


def test_the_weak_mode_only_by_name_and_with_a_warning():
    weak = VerifyConfig(sandbox="rlimits", workers=1)
    traces = [Trace("p", 0, fenced(SOLVED), "stop", 0, 0), Trace("p", 1, fenced("import os\nos.fork()"), "stop", 0, 0)]
    with pytest.warns(UserWarning, match="can read your files"):
        right, wrong = judge(traces, {"p": problem(ADD)}, limits=weak)
    assert (right.outcome, wrong.outcome) == (Outcome.CORRECT, Outcome.WRONG)
    assert judge(traces, {"p": problem(ADD)}, limits=VerifyConfig())[0].outcome is Outcome.CORRECT  # and does not warn


def test_verdicts_do_not_depend_on_what_else_the_machine_does():
    programs = [program for program, *_ in FAILURES] + [SOLVED, "import time\ntime.sleep(0.2)\n" + SOLVED]
    pairs = [(problem(ADD), program) for program in programs]
    pairs += [(problem(tests), "def double(x): return sum(x for _ in range(2))") for tests in (DOUBLE, ASSERTS)]
    calm = judge_programs(pairs)
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(4)]
    try:
        busy = judge_programs(pairs, limits=VerifyConfig(workers=4))
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
    assert busy == calm
