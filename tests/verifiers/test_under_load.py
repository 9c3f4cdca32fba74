"""A busy machine changes no verdict."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tpt.config import VerifyConfig
from tpt.records import Outcome, Problem, Trace
from tpt.verifiers.judge import judge
from tpt.verifiers.pool.pool import Pool, close_pools

BUSY_PER_CORE = 4


def right_answers(count: int) -> tuple[list[Trace], dict[str, Problem]]:
    problems = {str(n): Problem(str(n), "", rf"{n}\sqrt{{3}}", "math") for n in range(2, count + 2)}
    traces = [Trace(key, 0, rf"So $\boxed{{\sqrt{{{3 * int(key) ** 2}}}}}$.", "stop", 0, 0) for key in problems]
    return traces, problems


@pytest.mark.slow
def test_verdicts_beside_busy_processes() -> None:
    cores = len(os.sched_getaffinity(0))
    traces, problems = right_answers(100)
    limits = VerifyConfig(timeout_s=2.0)
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(BUSY_PER_CORE * cores)]
    try:
        found = [verdict.outcome for verdict in judge(traces, problems, limits=limits)]
    finally:
        close_pools()
        for loop in loops:
            loop.kill()
            loop.wait()
    assert found == [Outcome.CORRECT] * 100


def test_time_asleep_counts_late_and_time_at_work_at_once() -> None:
    pool = Pool("tpt.verifiers.text:matches", VerifyConfig(timeout_s=0.3, workers=1))
    found = pool.map([("(a+)+b", ["a" * 60]), ("a+b", ["aab"])])
    pool.close()
    assert [each.problem for each in found] == ["timeout", ""]
    assert "0.3 s of processor time" in found[0].detail
