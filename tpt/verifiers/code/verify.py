"""Checks a program by running it on the problem's tests, in a sandbox.

A completion is CORRECT when its program passes every test. Tests run from the cheapest to the dearest, in an order that is
the problem's own, and stop at the first that fails, unless ``every_test`` asks for the share of tests passed. Only
processor time counts against the time limit, so that a busy machine changes no verdict.

``Judgement.detail`` names the first failure and how far the program came:
``wrong answer: test 3 of 10; expected '5', got '6'; passed 2/10``.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import warnings
from collections import deque
from collections.abc import Generator, Sequence

from tpt.config import VerifyConfig
from tpt.records import Outcome, Problem
from tpt.sandbox import Ended, Mode, Task
from tpt.sandbox.worker import Sandbox, SandboxDiedError
from tpt.system.parent import wait_readable
from tpt.verifiers import Judgement
from tpt.verifiers.code.extract import PROGRAM_FORMAT, Extracted, extract_program
from tpt.verifiers.code.tests import PASSED, Test, TestResult, result_of, tests_of

CODE_FORMAT = PROGRAM_FORMAT

_OUTCOMES = {"time limit": Outcome.TIMEOUT, "sandbox error": Outcome.ERROR}

_Case = Generator[list[Task], list[Ended], Judgement]


def verify_code(problem: Problem, completion: str) -> Judgement:
    """Judge one completion of one programming problem."""
    return judge_completions([(problem, completion)])[0]


def judge_completions(
    pairs: Sequence[tuple[Problem, str]],
    *,
    limits: VerifyConfig = VerifyConfig(),  # noqa: B008  (immutable)
    every_test: bool = False,
) -> list[Judgement]:
    """Judge completions on all processors; judgements come in the order of the pairs.

    Raises:
        VerifierError: a problem's tests are not tests, or there is no sandbox.
    """
    cases = [_judge_case(problem, completion, every_test=every_test) for problem, completion in pairs]
    return _judge_cases(cases, limits)


def _judge_case(problem: Problem, completion: str, *, every_test: bool) -> _Case:
    """Check the problem now; the returned generator runs its tests."""
    tests = tests_of(problem)
    names = [test.fields.get("entry_point") or test.fields.get("name") for test in tests]
    found = extract_program(completion, entry_point=next((name for name in names if name), None))
    return _run_case(tests, found, every_test)


def _run_case(tests: list[Test], found: Extracted, every_test: bool) -> _Case:
    if found.program is None:
        return Judgement(Outcome.NO_ANSWER, False, None, found.detail)
    failed: list[tuple[int, TestResult]] = []
    passed = 0
    for number in sorted(range(len(tests)), key=lambda number: (tests[number].cost, number)):
        mark = yield from result_of(tests[number], found.program)
        if mark == PASSED:
            passed += 1
            continue
        failed.append((number + 1, mark))
        if not every_test:
            break
    total = len(tests)
    if not failed:
        return Judgement(Outcome.CORRECT, found.strict, found.program, f"passed {passed}/{total}", passed, total)
    number, mark = failed[0]
    detail = f"{mark.reason}: test {number} of {total}; {mark.message}; passed {passed}/{total}"
    return Judgement(_OUTCOMES.get(mark.reason, Outcome.WRONG), False, found.program, detail, passed, total)


def _judge_cases(cases: list[_Case], limits: VerifyConfig) -> list[Judgement]:
    """Run the cases, each in one sandbox at a time, as many at once as there are sandboxes."""
    judged: dict[int, Judgement] = {}
    waiting = deque(enumerate(cases))
    idle = _sandboxes(limits.sandbox, min(limits.workers or len(os.sched_getaffinity(0)), len(cases)))
    busy: dict[int, tuple[Sandbox, _Running]] = {}
    try:
        while waiting or busy:
            while idle and waiting:
                sandbox = idle.pop()
                running = _Running(*waiting.popleft())
                if running.advance(sandbox, judged):
                    busy[sandbox.fileno()] = (sandbox, running)
                else:
                    idle.append(sandbox)
            for file in _ended(busy) if busy else []:
                sandbox, running = busy.pop(file)
                if running.advance(sandbox, judged):
                    busy[sandbox.fileno()] = (sandbox, running)
                else:
                    idle.append(sandbox)
    finally:
        for sandbox, _ in busy.values():  # an interrupt: what runs is of no use any more
            sandbox.close()
    return [judged[index] for index in range(len(cases))]


def _ended(busy: dict[int, tuple[Sandbox, _Running]]) -> list[int]:
    """Wait until some of the sandboxes have done their job or are lost, and return their files."""

    def lost() -> list[int]:
        return [file for file, (sandbox, _) in busy.items() if sandbox.is_lost()]

    return wait_readable(list(busy), lambda: bool(lost())) or lost()


class _Running:
    """A case on its way through one sandbox; a job that the sandbox died under gets one more try."""

    def __init__(self, index: int, case: _Case) -> None:
        self._index = index
        self._case = case
        self._job: list[Task] = []
        self._tries = 0

    def advance(self, sandbox: Sandbox, judged: dict[int, Judgement]) -> bool:
        """Take the finished job's end, if there is one, and start the next; False when the case is judged."""
        try:
            self._job = self._next_job(sandbox)
        except StopIteration as end:
            judged[self._index] = end.value
            return False
        self._tries += 1
        sandbox.start(self._job)
        return True

    def _next_job(self, sandbox: Sandbox) -> list[Task]:
        if not self._job:
            return next(self._case)
        try:
            ended = sandbox.finish()
        except SandboxDiedError as error:
            if self._tries < 2:
                return self._job
            self._tries = 0
            return self._case.throw(error)
        self._tries = 0
        return self._case.send(ended)


def warn_of_rlimits() -> None:
    """Say what programs can do where nothing but resource limits confines them."""
    warnings.warn(
        'sandbox = "rlimits": programs written by a model run with resource limits alone; they can read your files and '
        'see your processes. Install bubblewrap and take sandbox = "bubblewrap" to confine them',
        stacklevel=3,
    )


def _sandboxes(mode: Mode, count: int) -> list[Sandbox]:
    """Return that many warm sandboxes; they stay for the batches to come."""
    if mode == "rlimits" and count:
        warn_of_rlimits()
    kept = _kept_sandboxes(mode, os.getpid(), threading.get_ident())
    while len(kept) < count:
        sandbox = Sandbox(mode)
        atexit.register(sandbox.close)
        kept.append(sandbox)
    return kept[:count]


@functools.cache
def _kept_sandboxes(mode: Mode, pid: int, thread: int) -> list[Sandbox]:
    """Return the list that keeps a thread's sandboxes: a forked child or another thread must not share them."""
    return []
