"""tpt status of a run that is alive, that was killed, that is finished, and watched until it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import ENTRY, QUICKSTART, TINY, Finished, Tpt, sets, wait_for
from terminal import at_terminal

from tpt.report.status import clock_text, now_text, run_status, status_in_words
from tpt.run.directory import RunDir
from tpt.run.lock import holder_of, lock
from tpt.system.progress import Display


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A run that takes its time over scoring the base model."""
    run = tmp_path / "run"
    slow = [*TINY, "problems.max_heldout=200", "evaluate.samples=64", "engine.slots=2"]
    command = [*ENTRY, "run", str(QUICKSTART), "--out", str(run), *sets(*slow)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True) as process:
        try:
            wait_for(lambda: (run / "config.toml").exists())
            yield run, process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_a_live_run_says_what_it_is_doing_and_a_killed_one_that_it_is_not(
    alive: tuple[Path, subprocess.Popen[bytes]], tpt: Tpt
) -> None:
    run, process = alive
    status: dict[str, Any] = {}

    def is_at_work() -> bool:
        status.update(run_status(RunDir(run)))
        return bool(status["now"] and status["now"].get("left_s"))

    wait_for(is_at_work)
    assert status["state"] == "running" and f"process {process.pid} on " in status["process"]
    now = status["now"]
    assert now["title"] == "round 0 base model's score" and 0 < now["done"] < now["total"] == 200 * 65
    assert now["per_s"] > 0 and now["left_s"] == pytest.approx((now["total"] - now["done"]) / now["per_s"], rel=0.2)
    assert 0 <= now["age_s"] < 30 and status["disk"]["used"] > 10_000 and status["disk"]["free"] > 0
    out = tpt("status", run).out
    assert re.search(
        r"now: round 0 base model's score: [\d,]+/13,000, [\d.]+ a (second|minute), \d+:\d\d:\d\d left", out
    )
    assert f"state: running, process {process.pid}" in out and "go on with" not in out
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: run_status(RunDir(run))["state"] == "not running", 20)
    out = tpt("status", run).out
    assert f"state: not running: process {process.pid}" in out and "ended without saying so" in out
    assert f"go on with: tpt run {run}" in out and "now:" not in out


def test_watching_ends_with_the_run(alive: tuple[Path, subprocess.Popen[bytes]]) -> None:
    run, process = alive
    command = [*ENTRY, "status", str(run), "--watch", "--every", "0.2"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (run / "logs" / "progress.json").exists())
    time.sleep(3)
    assert watching.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0 and err == ""
    lines = out.splitlines()
    assert any("round 0 base model's score: " in line for line in lines)
    assert lines[-1].startswith("not running; go on with: tpt run")


def test_a_finished_run_is_watched_once(finished: Finished, tpt: Tpt) -> None:
    status = json.loads(tpt("status", finished.path, "--watch", "--format", "json").out)
    assert status["state"] == "finished" and status["now"] is None and status["process"] is None
    code, lines = at_terminal(80, "status", finished.path, "--watch")
    assert code == 0 and "state: finished" in lines


def test_the_lock_tells_who_is_at_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert holder_of(run) == ("", False)
    with lock(run):
        who, is_running = holder_of(run)
        assert is_running and who.startswith(f"process {os.getpid()} on ")
        # Looking does not take the lock away.
        assert holder_of(run)[1]
    assert holder_of(run) == ("", False)


def test_news_of_an_earlier_process_is_no_news(finished_copy: Path) -> None:
    run = RunDir(finished_copy)
    old = {"title": "round 9 think", "done": 3, "total": 4, "time": 0, "per_s": None, "left_s": None, "note": ""}
    run.progress.write_text(json.dumps(old))
    os.utime(run.progress, (1, 1))
    with lock(run):
        assert run_status(run)["now"] == {"title": "finishing"}
        (finished_copy / "round-1" / "evaluate.json").unlink()
        (finished_copy / "round-1" / "round.json").unlink()
        assert run_status(run)["now"] == {"title": "round 1 evaluate"}
        run.progress.write_text("{torn")
        assert run_status(run)["now"] == {"title": "round 1 evaluate"}
        run.progress.write_text(json.dumps({**old, "time": time.time() - 600}))
        assert status_in_words(run_status(run))["now"] == "round 9 think: 3/4, no news for 10 minutes"


def test_the_pace_is_this_processes_own(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "progress.json"
    with Display("round 1 think", total=320, enabled=False, file=file) as display:
        assert json.loads(file.read_text())["done"] == 0
        display.update(70)
        time.sleep(1.1)
        display.update(74, note="5 correct")
        told = json.loads(file.read_text())
        assert (told["done"], told["total"], told["note"], told["pid"]) == (74, 320, "5 correct", os.getpid())
        # 70 were there before.
        assert 1 < told["per_s"] < 4 and told["left_s"] == pytest.approx(246 / told["per_s"])
    assert not file.exists() and not list(file.parent.iterdir())


def test_a_display_that_cannot_write_its_file_goes_on(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    with Display("round 1 think", total=2, enabled=False, file=tmp_path / "logs" / "progress.json") as display:
        display.update(1)


def test_words() -> None:
    now = {"title": "round 1 train", "done": 3, "total": 1200, "per_s": 0.05, "left_s": 86_399.6, "note": "loss 0.2"}
    assert now_text({**now, "age_s": 3}) == "round 1 train: 3/1,200, 3.0 a minute, 24:00:00 left, loss 0.2"
    assert clock_text(59.4) == "0:00:59"
