"""One test of a programming problem: the jobs it needs in a sandbox, and what their ends say of the program.

What is compared where: a program's standard output is compared here, in the parent. Everything that would have to read
structured data of the program's making (returned values, a problem's own checker) runs in the sandbox, in another process
than the program, and comes back as a yes or no.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from tpt.errors import VerifierError, did_you_mean
from tpt.records import Problem
from tpt.sandbox import Ended, Limits, Task
from tpt.sandbox.inside.compare import MODES, TOLERANCE, same_output
from tpt.sandbox.worker import SandboxDiedError
from tpt.verifiers.code.extract import defines

TIME_LIMIT_S = 6.0
MEMORY_MB = 1024
_BRIEF = 80
_LONGEST_HERE = 200_000
"""Longer output is compared in the sandbox, in characters."""
_KEYS = {
    "stdin": ({"input", "output"}, {"checker"}),
    "function": ({"name", "args", "expected"}, {"checker", "setup"}),
    "assert": ({"code"}, {"setup", "entry_point"}),
}
"""Type of a test to its required and its optional fields, beside those that all have."""
_COMMON = {"type", "compare", "tolerance", "time_limit_s", "memory_mb"}

_DECIMAL = re.compile(r"(?<![\w.])[-+]?\d*\.\d+(?:[eE][-+]?\d+)?(?![\w.])")
_OUT_OF_MEMORY = re.compile(r"[\w.]*MemoryError\b|OpenBLAS error: Memory allocation")

Jobs = Generator[list[Task], list[Ended], "TestResult"]
"""Yields jobs, is sent what became of them (or thrown SandboxDiedError), returns the mark."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """What one test says: nothing when it passed."""

    reason: str = ""
    """wrong answer, runtime error, time limit, memory limit, output limit or sandbox error."""
    message: str = ""


PASSED = TestResult()


@dataclass(frozen=True, slots=True)
class Test:
    """A checked test with every default filled in."""

    __test__ = False  # not one of pytest's

    fields: dict[str, Any]
    limits: Limits

    @property
    def cost(self) -> int:
        """Characters of the test: the cheap ones come first."""
        return len(str(self.fields.get("input") or self.fields.get("args") or self.fields.get("code")))


def tests_of(problem: Problem) -> list[Test]:
    """Return the tests of a problem; VerifierError says which of its tests is none."""
    if not problem.tests:
        raise VerifierError(
            f"problem {problem.id} of kind 'code' has no tests, so no program can be judged. Give it a list of tests "
            f"of type {', '.join(_KEYS)}, or leave it out"
        )
    return [_test(each, f"test {number} of problem {problem.id}") for number, each in enumerate(problem.tests, 1)]


def _test(each: Any, where: str) -> Test:
    kind = each.get("type") if isinstance(each, dict) else None
    if kind not in _KEYS:
        raise VerifierError(
            f"{where}: want a JSON object whose type is one of {', '.join(_KEYS)}, got {str(each)[:200]}"
        )
    required, optional = _KEYS[kind]
    # Parquet gives every test of a column the fields of all of them; those of other types are null.
    each = {key: value for key, value in each.items() if value is not None or key in required}
    for key in sorted(required - each.keys()):
        raise VerifierError(f"{where}: a {kind} test needs {', '.join(sorted(required))}; {key!r} is missing")
    for key in sorted(each.keys() - required - optional - _COMMON):
        known = required | optional | _COMMON
        raise VerifierError(
            f"{where}: unknown field {key!r}, allowed: {', '.join(sorted(known))}.{did_you_mean(key, known)}"
        )
    mode = each.get("compare") or _default_comparison(kind, each)
    if mode not in MODES or (mode == "checker" and not each.get("checker")):
        raise VerifierError(
            f"{where}: compare is one of {', '.join(MODES)} (checker needs the field checker), got {mode!r}"
        )
    limits = Limits(
        _positive(each, "time_limit_s", TIME_LIMIT_S, where), int(_positive(each, "memory_mb", MEMORY_MB, where))
    )
    return Test({**each, "compare": mode, "tolerance": each.get("tolerance") or TOLERANCE}, limits)


def _default_comparison(kind: str, each: dict[str, Any]) -> str:
    """Return how a test compares that does not say it: decimal numbers within the tolerance, all else exactly."""
    if kind == "stdin":
        return "float" if _DECIMAL.search(str(each["output"])) else "tokens"
    return "float" if kind == "function" and _holds_float(each["expected"]) else "exact"


def _holds_float(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, float) or any(map(_holds_float, inside))


def _positive(each: dict[str, Any], key: str, default: float, where: str) -> float:
    value = each.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
        raise VerifierError(f"{where}: {key} is a number above 0, got {value!r}")
    return float(value)


def result_of(test: Test, program: str) -> Jobs:
    """Run one test of a program."""
    try:
        if test.fields["type"] == "stdin":
            return (yield from _run_stdin(test, program))
        return (yield from _run_linked(test, program))
    except SandboxDiedError as error:
        return TestResult("sandbox error", str(error))
    except Exception as error:
        # Whatever one program breaks is its own error; the batch goes on.
        return TestResult("sandbox error", f"{type(error).__name__}: {str(error)[:200]}")


def _run_stdin(test: Test, program: str) -> Jobs:
    fields = test.fields
    task = Task({"role": "whole", "program": program}, test.limits, fields["input"].encode(errors="surrogatepass"))
    (ended,) = yield [task]
    mark = _how_it_ended(ended, test.limits)
    if mark != PASSED:
        return mark
    got = ended.stdout.decode(errors="replace")
    if fields["compare"] == "checker":
        return (yield from _ask_checker(test, got))
    if len(got) > _LONGEST_HERE:
        return (yield from _compare_inside(test, got))
    if same_output(fields["output"], got, fields["compare"], fields["tolerance"]):
        return PASSED
    return TestResult("wrong answer", f"expected {_brief(fields['output'])}, got {_brief(got)}")


def _compare_inside(test: Test, got: str) -> Jobs:
    """Compare a long output in the sandbox, where time and memory have limits."""
    fields = test.fields
    spec = {"role": "compare", "expected": fields["output"], "got": got}
    spec |= {key: fields[key] for key in ("compare", "tolerance")}
    (ended,) = yield [Task(spec, _tester_limits(test.limits))]
    if ended.stopped or not ended.result:
        return TestResult("wrong answer", f"{len(got)} characters, too many to compare")
    return _mark_of(_verdict_of(ended))


def _verdict_of(ended: Ended) -> dict[str, Any]:
    """Return what a tester wrote; it is no more to be trusted than the values that it saw."""
    try:
        found = json.loads(ended.result)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not {"passed", "reason", "message"} <= found.keys():
        return {"passed": False, "reason": "sandbox error", "message": "the tester's answer cannot be read"}
    return found


def _ask_checker(test: Test, got: str) -> Jobs:
    fields = test.fields
    spec = {"role": "checker", "checker": fields["checker"], "input": fields["input"], "expected": fields["output"]}
    (ended,) = yield [Task({**spec, "got": got}, _tester_limits(test.limits))]
    if ended.stopped or not ended.result:
        return TestResult("sandbox error", f"the checker did not finish ({ended.stopped or _last_line(ended)})")
    return _mark_of(_verdict_of(ended))


def _run_linked(test: Test, program: str) -> Jobs:
    """Run the program and its tester in two linked processes."""
    fields = test.fields
    setup = fields.get("setup") or ""
    called = fields.get("entry_point") or fields.get("name")
    if setup and called and not defines(program, called) and defines(setup, called):
        program = f"{setup}\n{program}"  # the completion goes on where the prompt ends
    spec: dict[str, Any] = {"role": fields["type"], "setup": setup}
    if fields["type"] == "assert":
        spec |= {"code": fields["code"], "entry_point": fields.get("entry_point")}
    else:
        spec |= {key: fields.get(key) for key in ("name", "args", "expected", "compare", "tolerance", "checker")}
    program_task = Task({"role": "calls", "program": program, "setup": setup}, test.limits)
    ended, tester = yield [program_task, Task(spec, _tester_limits(test.limits))]
    if tester.stopped and not ended.stopped and fields.get("checker"):
        return TestResult("sandbox error", f"the checker did not finish ({tester.stopped})")
    return _mark_of_linked(ended, tester, test.limits)


def _tester_limits(limits: Limits) -> Limits:
    """A tester computes little, but waits for its program and holds the values that come from it."""
    return Limits(limits.cpu_s + 10, max(MEMORY_MB, 2 * limits.memory_mb), may_wait=True)


def _mark_of_linked(ended: Ended, tester: Ended, limits: Limits) -> TestResult:
    if ended.stopped or ended.output_limit:
        return _how_it_ended(ended, limits)
    if tester.stopped:
        return TestResult("time limit", "the test code did not finish with the values that the program returned")
    if not tester.result:
        return TestResult(
            "runtime error", f"the test code failed on a value that the program returned: {_last_line(tester)}"
        )
    verdict = _verdict_of(tester)
    if verdict["reason"] == "gone":
        mark = _how_it_ended(ended, limits)
        return mark if mark != PASSED else TestResult("runtime error", verdict["message"])
    return _mark_of(verdict)


def _mark_of(verdict: dict[str, Any]) -> TestResult:
    if verdict["passed"] is True:
        return PASSED
    reason, message = verdict["reason"], str(verdict["message"])[:300]
    return TestResult("memory limit" if _OUT_OF_MEMORY.match(message) else reason, message)


def _how_it_ended(ended: Ended, limits: Limits) -> TestResult:
    """Return PASSED when a program ended by itself and well."""
    if ended.stopped == "threads":
        return TestResult("runtime error", "too many threads")
    if ended.stopped == "wall":
        return TestResult("time limit", f"asleep or blocked for too long, limit {limits.cpu_s:g} s")
    if ended.stopped == "cpu":
        return TestResult("time limit", f"more than {limits.cpu_s:g} s")
    if ended.output_limit:
        return TestResult("output limit", f"more than {limits.output_bytes >> 20} MB")
    if ended.signal == signal.SIGKILL:  # neither the program nor the sandbox sends it
        return TestResult("sandbox error", "killed by the kernel; is the machine out of memory?")
    if ended.signal is not None:
        return TestResult("runtime error", f"killed by {signal.Signals(ended.signal).name}")
    last = _last_line(ended)
    if ended.exit_code and _OUT_OF_MEMORY.match(last):
        return TestResult("memory limit", f"more than {limits.memory_mb} MB")
    if ended.exit_code:
        return TestResult("runtime error", last or f"exit code {ended.exit_code}")
    return PASSED


def _last_line(ended: Ended) -> str:
    lines = ended.error.strip().splitlines()
    return lines[-1][:300] if lines else ""


def _brief(text: str) -> str:
    shown = text if len(text) <= _BRIEF else text[: _BRIEF - 3] + "..."
    return repr(shown)
