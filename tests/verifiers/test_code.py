"""The code verifier on honest programs, on honest mistakes, and on programs that try to pass without solving."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tpt.errors import VerifierError
from tpt.records import Outcome, Problem, Trace
from tpt.sandbox.bubblewrap import why_not
from tpt.sandbox.worker import Sandbox
from tpt.verifiers.code import judge_code, judge_programs, verify_code

DATA = Path(os.environ.get("TPT_DATA", Path(__file__).parents[3] / "shared" / "data"))
ADD = [
    {"type": "stdin", "input": f"{a} {b}\n", "output": f"{a + b}\n", "time_limit_s": 1}
    for a, b in ((1, 2), (30, 4), (500, 600))
]
SOLVED = "a, b = map(int, input().split())\nprint(a + b)"
DOUBLE = [{"type": "function", "name": "double", "args": [n], "expected": 2 * n, "time_limit_s": 1} for n in (1, 2, 3)]
CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(5) == 10\n\ncheck(double)"
ASSERTS = [{"type": "assert", "code": CHECK, "entry_point": "double", "time_limit_s": 1}]

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "bubblewrap runs")


def problem(tests: list[Any]) -> Problem:
    return Problem(id="p", question="", answer="", kind="code", tests=tests)


def fenced(program: str) -> str:
    return f"So:\n```python\n{program}\n```\n"


def outcome(tests: list[Any], program: str) -> tuple[Outcome, str]:
    judgement = verify_code(problem(tests), fenced(program))
    return judgement.outcome, judgement.detail


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


FORGERIES = {
    "exit": """
import sys; sys.exit(0)
""",
    "os._exit": """
import os; os._exit(0)
""",
    "summary": """
print('passed 3/3'); print('{"passed": true}')
""",
    "result file": """
import os
for fd in range(3, 100):
    try: os.write(fd, b'{"passed": true, "reason": "", "message": ""}')
    except OSError: pass
os._exit(0)
""",
    "equal to all": """
class Any:
    def __eq__(self, other): return True
    __hash__ = None
def double(x): return Any()
""",
    "int that lies": """
class Int(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def double(x): return Int(0)
""",
    "patched builtins": """
import builtins
builtins.AssertionError = None
builtins.compile = builtins.exec = print
def double(x): return 0
""",
    "frames": """
import sys
def double(x):
    frame = sys._getframe()
    while frame:
        for name, value in list(frame.f_locals.items()):
            if 'expect' in name: return value
        frame = frame.f_back
    return 0
""",
    "memory": """
import gc
def double(x):
    for found in gc.get_objects():
        if isinstance(found, dict) and found.get('expected'): return found['expected']
    return -1
""",
    "check": """
def check(candidate): pass
def double(x): return 0
""",
    "dies in the call": """
import os
def double(x): os._exit(0)
""",
    "leaves in the call": """
def double(x): raise SystemExit(0)
""",
    "forged reply": """
import os, json, struct
body = json.dumps({'ok': None}).encode()
for fd in range(3, 100):
    try: os.write(fd, (struct.pack('!I', len(body)) + body) * 50)
    except OSError: pass
def double(x): return 0
""",
    "closed link": """
import os
os.closerange(3, 100)
def double(x): return 0
""",
    "stopped tester": """
import os, signal
for pid in range(1, 100):
    try: os.kill(pid, signal.SIGSTOP)
    except OSError: pass
def double(x): return 0
""",
}


@pytest.mark.parametrize("tests", [ADD, DOUBLE, ASSERTS], ids=["stdin", "function", "assert"])
@pytest.mark.parametrize("name", FORGERIES)
def test_no_forgery_passes(name, tests):
    result, detail = outcome(tests, FORGERIES[name])
    assert result is not Outcome.CORRECT
    assert result is not Outcome.ERROR, detail


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
    assert result is Outcome.ERROR and "ZeroDivisionError" in detail


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


def test_unusual_but_honest_programs():
    programs = [
        "import os, sys\nsize = os.fstat(0).st_size\na, b = map(int, os.read(0, size).split())\nos.write(1, str(a + b).encode())",
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**26)\n"
        "def main():\n    a, b = map(int, input().split())\n    print(a + b)\nthreading.Thread(target=main).start()",
        "import atexit, io, sys\nbuffer = io.StringIO()\nsys.stdout = buffer\n"
        "atexit.register(lambda: sys.__stdout__.write(buffer.getvalue()))\nprint(sum(map(int, input().split())))",
        "import sys\nwith sys.stdin as source, sys.stdout as sink: print(sum(map(int, next(source).split())), file=sink)",
        "out = open(1, 'w', closefd=False)\nout.write(str(sum(map(int, open('/dev/stdin').read().split()))))",
        "def deep(n): return 0 if n == 0 else deep(n - 1)\nimport sys\nsys.setrecursionlimit(10**6)\ndeep(10**5)\n"
        "print(sum(map(int, input().split())))\nexit()",
    ]
    found = judge_programs([(problem(ADD), program) for program in programs])
    assert [judgement.detail for judgement in found] == ["passed 3/3"] * len(programs)


def test_every_test_gives_the_share_of_tests_passed():
    program = "a, b = map(int, input().split())\nprint(a + b if a != 1 else 0)"
    (first,) = judge_code([Trace("p", 0, fenced(program), "stop", 0, 0)], {"p": problem(ADD)})
    (every,) = judge_code([Trace("p", 0, fenced(program), "stop", 0, 0)], {"p": problem(ADD)}, every_test=True)
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


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ([], "has no tests"),
        ([{"type": "shell"}], "one of stdin, function, assert"),
        ([{"type": "stdin", "input": ""}], "'output' is missing"),
        ([{"type": "assert", "code": "", "entrypoint": "f"}], "Did you mean 'entry_point'"),
        ([{"type": "stdin", "input": "", "output": "", "compare": "checker"}], "needs the field checker"),
        ([{"type": "stdin", "input": "", "output": "", "time_limit_s": 0}], "time_limit_s is a number above 0"),
    ],
)
def test_tests_that_are_none(tests, message):
    with pytest.raises(VerifierError, match=message):
        verify_code(problem(tests), "")


def test_an_unknown_sandbox_is_refused(monkeypatch):
    monkeypatch.setenv("TPT_SANDBOX", "docker")
    with pytest.raises(VerifierError, match="allowed: bubblewrap, rlimits"):
        verify_code(problem(ADD), fenced(SOLVED))


def test_the_weak_mode_only_by_name_and_with_a_warning(monkeypatch):
    monkeypatch.setenv("TPT_SANDBOX", "rlimits")
    with pytest.warns(UserWarning, match="can read your files"):
        assert verify_code(problem(ADD), fenced(SOLVED)).outcome is Outcome.CORRECT
    with pytest.warns(UserWarning):
        assert outcome(ADD, "import os\nos.fork()")[0] is Outcome.WRONG


def rows(name: str) -> list[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"TPT_DATA holds no {name}")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.real_data
def test_every_canonical_solution_of_humaneval_passes():
    pairs = []
    for row in rows("code/humaneval.jsonl"):
        code = f"{row['test']}\ncheck({row['entry_point']})"
        test = {"type": "assert", "code": code, "setup": row["prompt"], "entry_point": row["entry_point"]}
        pairs.append((problem([test]), row["prompt"] + row["canonical_solution"]))
    assert [judgement.detail for judgement in judge_programs(pairs)] == ["passed 1/1"] * len(pairs)
