"""Judging on clusters of several nodes on this machine; with Ray itself, so only where it is installed."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from code_cases import ADD, SOLVED, fenced, needs_bubblewrap
from ray_cluster import NEEDS_RAY, NODE, cluster_of

from tpt.cluster.judges import RayJudges, open_judges
from tpt.config import EngineConfig, VerifyConfig, parse_config
from tpt.errors import ClusterError, OwnCodeError, VerifierError
from tpt.records import Problem, Trace
from tpt.run.directory import RunDir
from tpt.run.journal import Journal
from tpt.run.stage import StageContext
from tpt.think import take_traces
from tpt.verifiers.judge import judge

pytestmark = NEEDS_RAY
LIMITS = VerifyConfig(timeout_s=10, workers=2)
"""Wide enough for a busy machine: a time-out is the one verdict that depends on it."""
NODE_NAME = rf"node {socket.gethostname()} \([\d.]+\)"
ANSWERS = [r"\frac{1}{2}", "0.5", r"\sqrt{12}", r"2\sqrt{3}", "x^2+2x+1", "(x+1)^2", "no idea", r"\{1, 2\}"]
PROGRAMS = [SOLVED, "print(input())", "import os\nos.fork()", "print(1 / 0)", "syntax error", ""]
SLOW = "import time\n\n\ndef same(problem, completion):\n    time.sleep(0.2)\n    return completion == problem.answer\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with cluster_of(2, modules=tmp_path_factory.mktemp("modules")) as found:
        yield found


@pytest.fixture
def open_on(cluster: Any) -> Iterator[Callable[..., RayJudges]]:
    opened = []

    def open_it(*kinds: str, limits: VerifyConfig = LIMITS, every_test: bool = False) -> RayJudges:
        engine = EngineConfig(ray_address=cluster.address, timeout_s=60)
        judges = open_judges(limits, engine, set(kinds), every_test=every_test)
        opened.append(judges)
        return judges

    yield open_it
    for judges in reversed(opened):
        judges.close()


def mixed() -> tuple[list[Trace], dict[str, Problem]]:
    """Some hundred traces of three kinds, in no order."""
    problems = [Problem(f"n{number}", "", str(number), "number") for number in range(20)]
    problems += [Problem(f"m{number}", "", gold, "math") for number, gold in enumerate(ANSWERS)]
    problems += [Problem(f"c{number}", "", "", "code", tests=ADD[: number + 1]) for number in range(3)]
    said = {
        "n": [f"so\n#### {number}" for number in range(10)] + ["It is 5.", ""],
        "m": [rf"\boxed{{{answer}}}" for answer in ANSWERS],
        "c": [fenced(program) for program in PROGRAMS],
    }
    traces = [
        Trace(problem.id, sample, completion, "stop", 0, 0)
        for problem in problems
        for sample, completion in enumerate(said[problem.id[0]])
    ]
    return sorted(traces, key=lambda trace: (trace.sample, trace.problem_id)), {each.id: each for each in problems}


def own_traces(folder: Path, count: int) -> tuple[str, list[Trace], dict[str, Problem]]:
    """Traces whose judging takes a fifth of a second each."""
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    kind = f"{folder / 'slow.py'}:same"
    problem = Problem("p", "", "3", kind)
    return kind, [Trace("p", number, str(number % 5), "stop", 0, 0) for number in range(count)], {"p": problem}


@needs_bubblewrap
def test_nodes_judge_as_this_machine_does_and_in_the_order_asked(open_on: Callable[..., RayJudges]) -> None:
    traces, problems = mixed()
    judges = open_on("number", "math", "code")
    assert judges.judge([], problems) == []
    found = judges.judge(traces, problems)
    assert found == judge(traces, problems, limits=LIMITS)
    assert [(each.problem_id, each.sample) for each in found] == [(each.problem_id, each.sample) for each in traces]
    assert len({each.outcome for each in found}) >= 3
    assert judges.judge(traces[:5], problems) == found[:5]
    assert sum(judges.judged.values()) == len(traces) + 5 > 300
    with_all_tests = open_on("code", every_test=True)
    of_code = [trace for trace in traces if trace.problem_id == "c2"]
    assert with_all_tests.judge(of_code, problems) == judge(of_code, problems, limits=LIMITS, every_test=True)


def test_a_stage_judges_on_the_nodes_that_its_config_names(
    cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    problems = {str(n): Problem(str(n), "?", str(n), solution=f"so\n#### {n}") for n in range(20)}
    found = []
    for where in ("here", "ray"):
        run = RunDir(tmp_path / where)
        table = {"model": "embedded", "problems": {"train": "a.jsonl", "heldout": "b.jsonl"}}
        settings = [f"verify.where={where}", f"engine.ray_address={cluster.address}", "verify.node_cpus=1"]
        config = parse_config(table, ["preset=human", *settings])
        work = StageContext(run, run.round(1), config, progress=False)
        assert take_traces(work, problems) == {"traces": 20}
        found.append([verdict for _, verdict in Journal(work.round_dir.traces, work.round_dir.verdicts)])
    assert found[0] == found[1] and all(verdict.strict for verdict in found[1])
    assert capfd.readouterr().err == ""


def test_a_problem_that_is_none_is_the_same_error_as_here(open_on: Callable[..., RayJudges]) -> None:
    judges = open_on("code")
    bad = {"p": Problem("p", "", "", "code", tests=[{"type": "shell"}])}
    with pytest.raises(VerifierError, match=rf"one of stdin, function, assert.* \({NODE_NAME}\)"):
        judges.judge([Trace("p", 0, "", "stop", 0, 0)], bad)


def test_no_node_has_so_many_cpus(open_on: Callable[..., RayJudges]) -> None:
    with pytest.raises(ClusterError, match=r"no node of the cluster has the 3 CPUs .*verify\.node_cpus"):
        open_on("number", limits=VerifyConfig(node_cpus=3))


def judging_processes() -> list[psutil.Process]:
    """Return the processes that Ray calls a judge."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "ray::NodeJudge" in " ".join(process.info["cmdline"] or [])
    ]


@pytest.mark.slow
def test_a_trace_that_processes_die_of_is_named(open_on: Callable[..., RayJudges], tmp_path: Path) -> None:
    """The verifier kills the process that asks, as running out of memory would."""
    (tmp_path / "fatal.py").write_text(
        "import psutil\n\n\ndef fatal(problem, completion):\n"
        "    if completion == 'fatal':\n"
        "        [each.kill() for each in psutil.Process().parents() if 'ray::NodeJudge' in ' '.join(each.cmdline())]\n"
        "    return True\n",
        encoding="utf-8",
    )
    kind = f"{tmp_path / 'fatal.py'}:fatal"
    judges = open_on(kind)
    traces = [Trace("p", number, "fatal" if number == 11 else "", "stop", 0, 0) for number in range(30)]
    with pytest.raises(VerifierError, match=r"problem 'p', sample 11: 3 processes ended .* nothing else to do"):
        judges.judge(traces, {"p": Problem("p", "", "", kind)})


def test_nodes_may_be_lost_in_the_middle_of_a_batch_and_others_may_join(
    cluster: Any, open_on: Callable[..., RayJudges], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kind, traces, problems = own_traces(tmp_path, 24)
    judges = open_on(kind, limits=VerifyConfig(timeout_s=10, workers=1))
    judges.judge(traces[:8], problems)
    await_processes(judges, traces[:1], problems)
    lost = cluster.worker_nodes.copy().pop()
    losing = threading.Timer(0.5, lambda: cluster.remove_node(lost, allow_graceful=False))
    losing.start()
    found = judges.judge(traces, problems)
    losing.join()
    assert [(each.sample, each.outcome == "CORRECT") for each in found] == [(n, n % 5 == 3) for n in range(24)]
    assert re.search(rf"{NODE_NAME} judges no more, its \d+ answers are judged again", capfd.readouterr().err)
    cluster.add_node(**NODE)
    await_processes(judges, traces[:1], problems)


def await_processes(judges: RayJudges, traces: list[Trace], problems: dict[str, Problem]) -> None:
    """Judge until both nodes have a process to do it."""
    until = time.monotonic() + 60
    while len(judging_processes()) < 2:
        judges.judge(traces, problems)
        assert time.monotonic() < until


def test_a_node_that_lacks_something_is_named(
    cluster: Any, open_on: Callable[..., RayJudges], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OwnCodeError, match=r"gone\.py cannot be read"):
        open_on(f"{tmp_path / 'gone.py'}:same")
    judges = open_on("number", "code")
    problems = {"p": Problem("p", "", "3", "number")}
    # A search path without bubblewrap.
    (tmp_path / "bin").mkdir()
    bare = cluster.add_node(**NODE, env_vars={"PATH": str(tmp_path / "bin")})
    with pytest.raises(ClusterError, match=rf"{NODE_NAME} cannot judge: bubblewrap, .*, is not installed: install it"):
        open_on("number", "code")
    open_on("number").judge([Trace("p", 0, "#### 3", "stop", 0, 0)], problems)
    said, until = "", time.monotonic() + 60
    while "cannot judge and is left out: bubblewrap" not in said:
        assert judges.judge([Trace("p", 0, "#### 3", "stop", 0, 0)], problems)[0].strict
        assert time.monotonic() < until
        said += capfd.readouterr().err
    cluster.remove_node(bare)


@pytest.mark.slow
def test_a_killed_process_is_replaced_and_nothing_it_started_lives_on(
    open_on: Callable[..., RayJudges], tmp_path: Path
) -> None:
    kind, traces, problems = own_traces(tmp_path, 40)
    judges = open_on(kind, limits=VerifyConfig(timeout_s=10, workers=1))
    judges.judge(traces[:8], problems)
    victim = judging_processes()[0]
    started = victim.children(recursive=True)
    assert started
    killing = threading.Timer(0.5, lambda: os.kill(victim.pid, signal.SIGKILL))
    killing.start()
    found = judges.judge(traces, problems)
    assert [(each.sample, each.outcome == "CORRECT") for each in found] == [(n, n % 5 == 3) for n in range(40)]
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive
