"""A program in the sandbox runs as the interpreter would run its file."""

from __future__ import annotations

import pytest
from code_cases import ADD, DOUBLE, SOLVED, judge_programs, needs_bubblewrap, outcome, problem

from tpt.config import VerifyConfig
from tpt.records import Outcome
from tpt.sandbox import Limits, Task
from tpt.sandbox.worker import Sandbox

pytestmark = needs_bubblewrap


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


WRITES_AT_THE_END = {
    "flush in the end of an object": """
import io, os
class Out(io.IOBase):
    def __init__(self): self.text = ''
    def write(self, text): self.text += text
    def flush(self): put(1, self.text.encode()); self.text = ''
put = os.write
out = Out()
a, b = map(int, input().split())
out.write(str(a + b))
""",
    "and what it needs comes later": """
import sys
from sys import stdout
class Out:
    def __del__(self): write(str(self.sum))
stdout = Out()
from os import write as put
def write(text): put(1, text.encode())
stdout.sum = sum(map(int, input().split()))
""",
    "held by a cycle": """
class Out:
    def __init__(self): self.me = [self]
    def __del__(self): print(answer)
out = Out()
answer = sum(map(int, input().split()))
""",
    "held by a cache of the library": """
from typing import List
from os import write
class Out:
    def __del__(self): write(1, b'%d' % answer)
answer = sum(map(int, input().split()))
def f(x: List[Out]): pass
out = [Out()]
out = out[0]
""",
    "held by a patched builtin": """
import builtins
class Out:
    def __init__(self): self.text = ''
    def put(self, text): self.text += str(text)
    def __del__(self): os.write(1, self.text.encode())
import os
out = Out()
builtins.print = out.put
print(sum(map(int, input().split())))
""",
    "own buffer, never closed": """
out = open(1, 'w', closefd=False)
out.write(str(sum(map(int, input().split()))))
""",
    "swapped standard output": """
import io, os, sys
class Out(io.StringIO):
    def __del__(self): os.write(1, self.getvalue().encode())
sys.stdout = Out()
print(sum(map(int, input().split())))
""",
    "thread and exit handler": """
import atexit, threading, time
def later():
    time.sleep(0.01)
    found.append(sum(map(int, input().split())))
found = []
atexit.register(lambda: print(found[0]))
threading.Thread(target=later).start()
""",
}


@pytest.mark.parametrize("program", WRITES_AT_THE_END.values(), ids=WRITES_AT_THE_END)
def test_what_a_program_writes_when_it_ends_counts(program):
    assert outcome(ADD, program)[1] == "passed 3/3"


def test_a_program_is_compiled_as_a_file_of_its_own():
    """No ``from __future__`` import of the sandbox's own code reaches it."""
    assert "NameError: name 'List' is not defined" in outcome(DOUBLE, "def double(x: List[int]): return 2 * x")[1]
    program = "def f(x: int): pass\nassert f.__annotations__['x'] is int\ndef double(x): return 2 * x"
    assert outcome(DOUBLE, program)[0] is Outcome.CORRECT


def test_sets_are_walked_in_the_same_order_as_without_the_sandbox():
    made = ("{12, 13, 14, 15, 16}", "set(range(12, 17))", "frozenset({1, 2, 16})")
    code = "\n".join(f"assert f({each}) == tuple({each})" for each in made)
    assert outcome([{"type": "assert", "code": code}], "def f(s): return tuple(s)")[1] == "passed 1/1"
    literal = "assert f({12, 13, 14, 15, 16}) == (12, 13, 14, 15, 16)"
    assert outcome([{"type": "assert", "code": literal}], "def f(s): return tuple(s)")[0] is Outcome.WRONG


NUMPY = "import numpy\nx = numpy.arange(10000.0).reshape(100, 100)\nassert (x @ x).shape == (100, 100)\n"


@pytest.mark.parametrize("sandbox", ["bubblewrap", "rlimits"])
@pytest.mark.filterwarnings("ignore:sandbox = .rlimits")
def test_numpy_runs_within_the_limits(sandbox):
    pytest.importorskip("numpy")
    small = [{**test, "memory_mb": 48} for test in ADD]
    pairs = [
        (problem(ADD), NUMPY + SOLVED),
        (problem(ADD), NUMPY + "import os\nassert len(os.listdir('/proc/self/task')) == 1\n" + SOLVED),
        (problem(ADD), NUMPY + "numpy.zeros(10**10)"),
        (problem(small), NUMPY + SOLVED),
    ]
    found = [judgement.detail for judgement in judge_programs(pairs, limits=VerifyConfig(sandbox=sandbox))]
    assert found[:2] == ["passed 3/3"] * 2
    assert all(detail.startswith("memory limit") for detail in found[2:]), found


def test_a_package_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr("tpt.sandbox.bubblewrap._PACKAGES", ())
    sandbox = Sandbox("bubblewrap")
    (ended,) = sandbox.run(Task({"role": "whole", "program": "import numpy"}, Limits(1, 256)))
    sandbox.close()
    assert ended.error.endswith("ModuleNotFoundError: No module named 'numpy'\n")
