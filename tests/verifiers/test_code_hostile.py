"""Programs that try to pass without solving."""

from __future__ import annotations

import pytest
from code_cases import ADD, ASSERTS, DOUBLE, needs_bubblewrap, outcome

from tpt.records import Outcome

pytestmark = needs_bubblewrap


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


@pytest.mark.parametrize(
    ("program", "detail"),
    [
        ("import sys\nprint(sum(map(int, input().split())))\nsys.exit(3)", "exit code 3"),
        ("class A:\n    def __del__(self): import os; os._exit(0)\na = A()\nprint(1)", "wrong answer"),
        ("import atexit, os\natexit.register(os._exit, 0)\n1 / 0", "wrong answer"),
        ("import sys\nsys.modules.clear()\nprint(3)", "runtime error"),
        ("import sys\nsys.modules['__main__'] = 3\nprint(3)", "runtime error"),
        ("class A:\n    def __del__(self):\n        while True: pass\na = A()\nprint(3)", "time limit"),
    ],
)
def test_the_end_of_a_program_is_no_way_out(program, detail):
    result, found = outcome(ADD, program)
    assert result in (Outcome.WRONG, Outcome.TIMEOUT) and detail in found


@pytest.mark.parametrize(
    ("program", "detail"),
    [
        (
            "def double(x):\n    found = x\n    for _ in range(10**5): found = [found]\n    return found",
            "not plain data",
        ),
        ("def double(x): return 'x' * (17 << 20)", "output limit"),
        (
            "def double(x):\n    import os; return sorted(name for name in os.listdir('/proc') if name.isdigit())",
            "['1']",
        ),
        ("def double(x): raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_values_that_are_meant_to_break_the_tester(program, detail):
    result, found = outcome(DOUBLE, program)
    assert result is Outcome.WRONG and detail in found.replace('"', "'")
