"""The pool: hostile items are killed, the others are untouched, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tpt.config import VerifyConfig
from tpt.errors import VerifierError
from tpt.records import Outcome, Problem, Trace
from tpt.verifiers.judge import judge
from tpt.verifiers.pool.pool import Pool

MATCHES = "tpt.verifiers.text:matches"
GOOD = ("a+b", ["aab"])
ENDLESS = ("(a+)+b", ["a" * 60])
HOSTILE = [
    "9**9**9",
    "9^{9^{9}}",
    "10!!!!",
    "\\frac{1}{(10^{10})!}",
    "{" * 900 + "5" + "}" * 900,
    "\\sqrt{" * 200 + "2" + "}" * 200,
    "(x+1)^{99999}",
    "\\sum_{n=1}^{10^9} n!",
    "\\begin{pmatrix}" + "\\\\".join(["1&2&3"] * 200) + "\\end{pmatrix}^{50}",
    "2^{2^{2^{2^{2^2}}}}",
]


@pytest.fixture
def pool() -> Iterator[Pool]:
    opened = Pool(MATCHES, VerifyConfig(timeout_s=1.0, workers=2))
    yield opened
    opened.close()


def test_results_come_in_order(pool: Pool) -> None:
    items = [(f"{n}", [f"{n - n % 2}"]) for n in range(50)]
    assert [result.value for result in pool.map(items)] == [0, -1] * 25


def test_a_killed_item_leaves_its_neighbours_alone(pool: Pool) -> None:
    began = time.monotonic()
    found = pool.map([GOOD, ENDLESS, GOOD, ENDLESS, GOOD, GOOD])
    assert [result.problem for result in found] == ["", "timeout", "", "timeout", "", ""]
    assert [result.value for result in found if not result.problem] == [0] * 4
    assert time.monotonic() - began < 30
    assert pool.map([GOOD])[0].value == 0


def test_nothing_is_left_behind(pool: Pool) -> None:
    mine = psutil.Process()
    before = mine.children(recursive=True)
    pool.map([GOOD, ENDLESS, GOOD])
    workers = [each for each in mine.children(recursive=True) if each not in before]
    assert len(workers) >= 2
    pool.close()
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert alive == []
    assert [each for each in mine.children() if each.status() == psutil.STATUS_ZOMBIE] == []


def test_two_threads_at_once(pool: Pool) -> None:
    found: dict[int, list[object]] = {}

    def work(name: int) -> None:
        found[name] = [result.value for result in pool.map([(str(name), [str(n)]) for n in range(20)])]

    threads = [threading.Thread(target=work, args=(name,)) for name in (3, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: [0 if n == name else -1 for n in range(20)] for name in (3, 7)}


def test_a_fork_of_this_process_has_workers_of_its_own(pool: Pool) -> None:
    pool.map([GOOD])
    ours = pool.child_pids()
    child = os.fork()
    if child == 0:
        right = pool.map([GOOD])[0].value == 0 and not set(pool.child_pids()) & set(ours)
        pool.close()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pool.map([GOOD])[0].value == 0
    assert pool.child_pids() == ours


def test_errors_come_back(pool: Pool) -> None:
    result = pool.map([("(", ["a"])])[0]
    assert result.problem == "error"
    assert "missing )" in result.detail


def test_large_items(pool: Pool) -> None:
    big = "a" * 5_000_000
    assert [result.value for result in pool.map([("a*", [big]), ("b", [big]), ("a*", [big])])] == [0, -1, 0]


def test_workers_that_cannot_start_are_explained(capfd: pytest.CaptureFixture[str]) -> None:
    broken = Pool("tpt.verifiers.no_such_module:f", VerifyConfig(workers=1))
    with pytest.raises(VerifierError, match="ended with exit code 1 while it started"):
        broken.map([GOOD])
    assert "no_such_module" in capfd.readouterr().err


# No guard around it: what spawns by importing the main module again would start it anew for ever.
PROGRAM = """
import sys
from tpt.config import VerifyConfig
from tpt.verifiers.pool.pool import Pool
pool = Pool("tpt.verifiers.text:matches", VerifyConfig(timeout_s=100, workers=1))
print(pool.map([("a+b", ["aab"])])[0].value, *pool.child_pids(), flush=True)
if sys.argv[1:]:
    pool.map([("(a+)+b", ["a" * 60])])
"""


def test_an_unguarded_main_module(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, env=_environment())
    assert done.stdout.startswith("0 "), done.stderr
    assert done.stderr == ""


def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(script), "hang"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment()) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline().split()[1]))
        worker = child.parent()
        assert worker is not None
        time.sleep(0.3)  # it is deep in the endless match by now
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _, alive = psutil.wait_procs([child, worker], timeout=5)
    assert alive == []


def test_hostile_answers_among_good_ones() -> None:
    assert_unharmed(hostile=HOSTILE, good=300, limits=VerifyConfig(timeout_s=1.0))


@pytest.mark.slow
def test_a_hundred_hostile_answers_among_ten_thousand_good_ones() -> None:
    assert_unharmed(
        hostile=[f"{each} + {n}" for n in range(10) for each in HOSTILE],
        good=10_000,
        limits=VerifyConfig(timeout_s=2.0),
    )


def assert_unharmed(*, hostile: list[str], good: int, limits: VerifyConfig) -> None:
    """Every good answer is judged as it would be alone, hostile ones are never right, and the time is bounded."""
    forms = [r"\frac{%d}{7}", r"%d\sqrt{2}", r"(%d, 3)", r"%d", r"x^2 + %d", r"\sqrt{%d} + 1"]
    problems, traces = {}, []
    every = good // len(hostile)
    for n in range(good):
        value = forms[n % len(forms)] % (n + 2)
        answer = value if n % 3 else forms[n % len(forms)] % (n + 3)
        problems[str(n)] = Problem(str(n), "", value, "math")
        traces.append(Trace(str(n), 0, f"so $\\boxed{{{answer}}}$", "stop", 0, 0))
        if n % every == 0 and n // every < len(hostile):
            problems[f"h{n}"] = Problem(f"h{n}", "", "x^2 + 7\\sqrt{3}", "math")
            traces.append(Trace(f"h{n}", 0, f"\\boxed{{{hostile[n // every]}}}", "stop", 0, 0))
    began = time.monotonic()
    verdicts = judge(traces, problems, limits=limits)
    wall_s = time.monotonic() - began
    for verdict in verdicts:
        if verdict.problem_id.startswith("h"):
            assert verdict.outcome in (Outcome.WRONG, Outcome.TIMEOUT, Outcome.ERROR), verdict
        else:
            right = int(verdict.problem_id) % 3 != 0
            assert verdict.outcome is (Outcome.CORRECT if right else Outcome.WRONG), verdict
    assert wall_s < 30 + len(hostile) * (limits.timeout_s + 1) + good / 50


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(["", *filter(None, sys.path)])}
