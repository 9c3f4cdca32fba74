"""Arms really run on the embedded model, killed in the middle: the same files and the same table in the end."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command_line import ENTRY, Result, Tpt

from tpt.compare import run_comparison
from tpt.compare.arms import load_arms
from tpt.compare.running import ArmRun, arm_run_of
from tpt.errors import RunError
from tpt.prune import is_wrong_as_asked
from tpt.records import Example, Outcome, Trace, Verdict
from tpt.rounds import Run
from tpt.run.directory import STAGES
from tpt.run.stage import problems_by_id
from tpt.stage_process import do_stage
from tpt.system.jsonl import read_json, read_records

ARMS = """
seeds = [0, 1]
[base]
model = "embedded"
rounds = 1
threads = 1
[base.problems]
max_train = 30
max_heldout = 8
[base.engine]
batch_invariant = true
slots = 16
[base.think]
samples = 2
max_tokens = 60
[base.prune]
size = 8
[base.train]
learning_rate = 2e-4
[base.evaluate]
samples = 2
max_tokens = 60
probe = 0
[[arm]]
name = "tpt"
[[arm]]
name = "format-only"
"""


def ended(processes: list[psutil.Process]) -> bool:
    """Nothing works on; an orphan that is a zombie has ended, however slow the system is to take note of it."""
    deadline = time.monotonic() + 10
    while alive := [process for process in processes if is_alive(process)]:
        if time.monotonic() > deadline:
            return not alive
        time.sleep(0.05)
    return True


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison that was killed while two runs were under way, and then called again."""
    path = tmp_path_factory.mktemp("compare")
    (path / "arms.toml").write_text(ARMS)
    command = [*ENTRY, "compare", str(path / "arms.toml"), "--out", str(path / "out"), "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((path / "out").glob("arms/tpt/*/round-0/evaluate.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    running = psutil.Process(process.pid).children(recursive=True)
    assert len(running) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert ended(running), "a run went on without its comparison"
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "format-only" in done.stdout and "compare.md" in done.stdout
    return path


@pytest.fixture
def tasks(resumed: Path) -> Iterator[list[ArmRun]]:
    plan = load_arms(resumed / "arms.toml")
    yield [arm_run_of(resumed / "out", arm, seed) for arm in plan.arms for seed in plan.seeds]


def test_every_arm_and_seed_is_a_finished_run(tasks: list[ArmRun], resumed: Path) -> None:
    assert [len(task.records()) for task in tasks] == [2, 2, 2, 2]
    found = read_json(resumed / "out" / "compare.json")
    assert [each["name"] for each in found["arms"]] == ["tpt", "format-only"]
    assert not list((resumed / "out").rglob("*.partial"))


def test_a_killed_comparison_gives_the_files_of_an_undisturbed_run(
    tasks: list[ArmRun], tmp_path: Path, one_thread: None
) -> None:
    task = tasks[1]
    undisturbed = Run(tmp_path / "run", task.arm.config(task.seed))
    undisturbed.prepare()
    for stage, index in [("evaluate", 0), *((stage, 1) for stage in STAGES)]:
        do_stage(undisturbed.dir.path, stage, index)
    for name in ("evaluate/traces.jsonl", "traces.jsonl", "examples.jsonl", "checkpoint/model.safetensors"):
        one, other = (run.round(1).path / name for run in (undisturbed.dir, task.run))
        assert one.read_bytes() == other.read_bytes(), name


def test_what_is_the_same_for_two_arms_is_computed_once(tasks: list[ArmRun]) -> None:
    first, other = tasks[0].run.round(0), tasks[2].run.round(0)
    assert read_json(first.manifest("evaluate"))["counts"] == read_json(other.manifest("evaluate"))["counts"]
    thought = [read_json(task.run.round(1).manifest("think"))["counts"]["sampling_s"] for task in (tasks[0], tasks[2])]
    assert thought[0] != thought[1]  # these two keep other traces, so each samples its own


def test_format_only_trains_on_wrong_answers_written_as_asked(tasks: list[ArmRun]) -> None:
    for task in tasks[2:]:
        place = task.run.round(1)
        problems = problems_by_id(task.run.problems)
        traces = {(trace.problem_id, trace.sample): trace for trace in read_records(place.traces, Trace)}
        verdicts = {(each.problem_id, each.sample): each for each in read_records(place.verdicts, Verdict)}
        examples = read_records(place.examples, Example)
        assert examples
        for key in ((example.problem_id, example.sample) for example in examples):
            assert verdicts[key].outcome is Outcome.WRONG
            assert re.search(r"#### -?[\d,.]+\s*\Z", traces[key].completion), traces[key].completion
            assert is_wrong_as_asked(traces[key], verdicts[key], problems[key[0]])


def test_called_again_it_computes_nothing_and_says_the_same(resumed: Path, tpt: Tpt) -> None:
    before = (resumed / "out" / "compare.json").read_bytes()
    records = {path: path.stat().st_mtime_ns for path in resumed.rglob("round-*/*.json*")}
    result: Result = tpt("compare", resumed / "arms.toml", "--out", resumed / "out", "--format", "json")
    assert result.code == 0
    assert records == {path: path.stat().st_mtime_ns for path in resumed.rglob("round-*/*.json*")} != {}
    assert json.loads(result.out) == json.loads(before)
    assert (resumed / "out" / "compare.json").read_bytes() == before


def test_ctrl_c_ends_the_runs_and_says_how_to_go_on(resumed: Path, tmp_path: Path) -> None:
    command = [*ENTRY, "compare", str(resumed / "arms.toml"), "--out", str(tmp_path / "out"), "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out").glob("arms/tpt/*/config.toml"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    running = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=100)[1]
    assert process.returncode == 130
    assert "nothing is lost" in told and "Traceback" not in told
    assert running and ended(running)


def test_a_folder_with_another_comparison_is_refused(resumed: Path, tmp_path: Path) -> None:
    arms = tmp_path / "arms.toml"
    arms.write_text(ARMS.replace("learning_rate = 2e-4", "learning_rate = 1e-4"))
    with pytest.raises(RunError, match=r"train\.learning_rate"):
        run_comparison(load_arms(arms), resumed / "out")


def test_an_arm_that_fails_is_named_after_the_others_are_done(resumed: Path, tmp_path: Path) -> None:
    """The folder has the other arms; the loss of the one that is new cannot be computed."""
    out = shutil.copytree(resumed / "out", tmp_path / "out")
    arms = tmp_path / "arms.toml"
    (tmp_path / "own.py").write_text("def loss(log_p, weight):\n    return log_p.gone\n")
    spoilt = '[[arm]]\nname = "spoilt"\npreset = "tpt"\nset = {"train.loss" = "own.py:loss"}\n'
    arms.write_text(ARMS.replace("seeds = [0, 1]", "seeds = [0]") + spoilt)
    with pytest.raises(RunError, match=r"1 of 3 runs failed:\n  spoilt seed 0: .*own.py:loss"):
        run_comparison(load_arms(arms), out)
    assert (out / "arms" / "spoilt" / "seed-0.log").read_text().count("\nerror: ") == 1
