"""Runs that end before they are done: what is kept of the reason, who holds the lock, and where nothing can be written."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import ENTRY, QUICKSTART, TINY, Tpt, sets

from tpt.run.directory import RunDir
from tpt.run.lock import lock

LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000,) * 2); from tpt.cli.app import main; main()"
)
"""No file may be larger: weights are, records are not."""


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "logs" / "events.jsonl").read_text(encoding="utf-8").splitlines()]


def forget(run: Path, *names: str) -> None:
    for name in names:
        path = run / "round-1" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_the_error_that_ended_a_run_is_kept(finished_copy: Path, fails: Callable[..., str]) -> None:
    (finished_copy / "problems.jsonl").write_text("[]\n", encoding="utf-8")
    forget(finished_copy, "think.json", "prune.json", "train.json", "evaluate.json", "round.json")
    told = fails("run", finished_copy)
    last = events(finished_copy)[-1]
    assert last["event"] == "failed" and last["error"] == "StaleStageError" and last["message"] in told
    line = (finished_copy / "logs" / "run.log").read_text(encoding="utf-8").splitlines()[-1]
    assert line.startswith(last["time"]) and "failed error=StaleStageError message=" in line and last["message"] in line


def test_a_stage_alone_keeps_it_too(finished_copy: Path, fails: Callable[..., str]) -> None:
    forget(finished_copy, "examples.jsonl")
    told = fails("train", finished_copy, "--round", "1")
    assert events(finished_copy)[-1]["event"] == "failed" and events(finished_copy)[-1]["message"] in told


def test_a_run_that_is_refused_leaves_no_log(tmp_path: Path, fails: Callable[..., str]) -> None:
    fails("run", QUICKSTART, "--out", tmp_path / "run", *sets(*TINY, "problems.train=none.jsonl"))
    assert not (tmp_path / "run" / "logs").exists()


@pytest.mark.parametrize(
    "arguments",
    [["think", "--round", "1"], ["evaluate", "--round", "0"], ["show", "--round", "0"], ["audit", "--n", "2"]],
    ids=lambda arguments: arguments[0],
)
def test_a_run_killed_before_its_problems_were_there_says_how_it_goes_on(
    arguments: list[str], tmp_path: Path, fails: Callable[..., str]
) -> None:
    shutil.copy(QUICKSTART, tmp_path / "config.toml")
    told = fails(arguments[0], tmp_path, *arguments[1:])
    assert told == f"error: {tmp_path}: its problems were not read to the end yet. Go on with: tpt run {tmp_path}\n"
    assert "no round is finished yet" in fails("score", tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("arguments", [["run"], ["train", "--round", "1"]], ids=["run", "train"])
@pytest.mark.parametrize("settings", [[], ["train.save_every_steps=1"]], ids=["at the end", "under way"])
def test_a_disk_that_is_full_in_training_is_one_sentence(
    arguments: list[str], settings: list[str], finished_copy: Path
) -> None:
    forget(finished_copy, "train.json", "evaluate.json", "round.json", "checkpoint")
    if settings:
        text = (finished_copy / "config.toml").read_text(encoding="utf-8")
        line = next(line for line in text.splitlines() if line.startswith("save_every_steps = "))
        changed = text.replace(line, "save_every_steps = 1").replace('gate = "stop"', 'gate = "off"')
        (finished_copy / "config.toml").write_text(changed, encoding="utf-8")
    command = [sys.executable, "-c", LIMITED, arguments[0], str(finished_copy), *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "error: the train stage of round 1 could not go on: " in done.stderr
    assert "Finished records are kept; put that right and run the same command again" in done.stderr
    assert not (finished_copy / "round-1" / "checkpoint").exists()
    assert events(finished_copy)[-1]["event"] == "failed"


def read_only(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command where a folder is mounted for reading alone; skips where this user may not mount."""
    script = f'mount --bind "{folder}" "{folder}" && mount -o remount,ro,bind "{folder}" || exit 77; exec "$@"'
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    whole = ["unshare", "-rm", "sh", "-c", script, "sh", *command]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    return done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report"], "Report: not kept, "),
        (["report", "--format", "json"], '"headline"'),
        (["status"], "the one round is done"),
        (["show", "--round", "1"], "correct"),
        (["verify-run"], "as it was written"),
    ],
    ids=" ".join,
)
def test_a_run_on_a_read_only_mount_is_read(arguments: list[str], said: str, finished_copy: Path, tpt: Tpt) -> None:
    for path in finished_copy.rglob("*"):
        # All times are new, as in a copy, so that there is something to be remembered.
        if path.is_file():
            shutil.copyfile(path, path.with_suffix(".copy"))
            path.with_suffix(".copy").replace(path)
    done = read_only(finished_copy, *ENTRY, arguments[0], str(finished_copy), *arguments[1:])
    assert done.returncode == 0, done.stderr
    assert said in done.stdout and "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux")
@pytest.mark.parametrize("wait_s", [0.0, 0.3, 1.5])
def test_the_lock_of_a_killed_run_is_free_within_a_second(wait_s: float, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [*ENTRY, "run", str(QUICKSTART), "--out", str(run), *sets(*TINY, "evaluate.samples=400")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (children := psutil.Process(process.pid).children(recursive=True)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    with lock(RunDir(run), wait_s=10):
        assert time.monotonic() - killed < 1
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
