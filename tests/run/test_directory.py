"""What counts as done, and one writer for a run. The locks are taken by real processes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tpt.errors import RunError, RunLockedError, StaleStageError
from tpt.run.directory import RoundDir, RunDir, log_event, log_failure, set_aside, stage_of
from tpt.run.lock import holder_of, lock
from tpt.run.manifest import (
    changed_files,
    finished_stages,
    read_manifest,
    require_output,
    require_unchanged,
    versions,
    write_manifest,
)
from tpt.run.outputs import FileChange, fingerprint
from tpt.run.sealed import digest_of


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


@pytest.fixture
def round_dir(run: RunDir) -> RoundDir:
    round_dir = run.round(1)
    round_dir.path.mkdir(parents=True)
    round_dir.examples.write_text("one\n")
    write_manifest(
        round_dir,
        "prune",
        inputs={"traces": "a" * 64},
        outputs={"examples": round_dir.examples},
        settings={"seed": 0},
        counts={"examples": 1},
    )
    return round_dir


def test_rounds_are_found_in_the_order_of_their_numbers(run: RunDir) -> None:
    for name in ("round-10", "round-2", "round-0", "round-x", "round-²", "round-02", "round-", "roundabout"):
        (run.path / name).mkdir(parents=True)
    (run.path / "round-3").write_text("no folder")
    assert [round_dir.index for round_dir in run.rounds()] == [0, 2, 10]


LAYOUT = {
    **{name: f"{name}.jsonl" for name in ("problems", "heldout")},
    **{
        "config": "config.toml",
        "base": "base.json",
        "rehearsal": "rehearsal.json",
        "frozen": "frozen.json",
        "best": "best",
    },
    **{"report": "report.md", "logs": "logs", "progress": "logs/progress.json", "events": "logs/events.jsonl"},
    **{"log": "logs/run.log", "lock": "lock"},
}
SCORED = {
    **{"traces": "traces.jsonl", "verdicts": "verdicts.jsonl"},
    **{"greedy_traces": "greedy/traces.jsonl", "greedy_verdicts": "greedy/verdicts.jsonl"},
}
OF_STAGES = {
    "think": {"traces": "traces.jsonl", "verdicts": "verdicts.jsonl"},
    "prune": {"examples": "examples.jsonl"},
    "train": {"checkpoint": "checkpoint"},
    "evaluate": {
        **{name: f"evaluate/{path}" for name, path in SCORED.items()},
        **{name: f"evaluate/{name}.jsonl" for name in ("diversity", "variety")},
    },
    "also-other": {name: f"also-other/{path}" for name, path in SCORED.items()},
}


def test_every_file_has_its_place(run: RunDir) -> None:
    """Files are the interface: whoever reads runs relies on these names."""
    assert {name: path.relative_to(run.path).as_posix() for name, path in vars(run).items() if name != "path"} == LAYOUT
    assert run.also("also-other") == run.path / "also" / "also-other.jsonl"
    one = run.round(1)
    assert (one.record.name, one.surplus.name, one.manifest("think").name) == (
        "round.json",
        "surplus.jsonl",
        "think.json",
    )
    for stage, files in OF_STAGES.items():
        assert {name: path.relative_to(one.path).as_posix() for name, path in one.outputs(stage).items()} == files
    assert run.round(0).stages == ("evaluate",) and one.stages == ("think", "prune", "train", "evaluate")
    assert one.evaluate_diversity.name == "diversity.jsonl"
    frozen = {stage: one.frozen_inputs(stage) for stage in OF_STAGES}
    assert frozen["think"] == frozen["prune"] == {"problems": run.problems} and frozen["train"] == {}
    assert frozen["evaluate"] == {"heldout problems": run.heldout}
    assert frozen["also-other"] == {"problems": run.also("also-other")}


def test_the_stage_of_a_file_is_read_from_its_place(run: RunDir) -> None:
    one = run.round(3)
    for path, stage in (
        *((one.traces, "think"), (one.scored.verdicts, "evaluate"), (one.scored.greedy_traces, "evaluate")),
        (one.also("also-other").greedy_verdicts, "also-other"),
    ):
        found = stage_of(path)
        assert found is not None and (found[0].path, found[0].index, found[1]) == (one.path.resolve(), 3, stage)
    assert stage_of(run.path / "traces.jsonl") is None


def test_a_round_that_finished_nothing_is_set_aside_with_its_samples(run: RunDir) -> None:
    for number in (1, 2, 3):
        (run.round(1).path / "evaluate").mkdir(parents=True)
        run.round(1).traces.write_text("" if number == 3 else "one\n")
        set_aside(run.round(1))
        assert run.rounds() == []
    assert sorted(path.name for path in run.path.iterdir()) == ["round-1.other-config-1", "round-1.other-config-2"]


def test_what_ended_a_run_stands_in_its_logs(run: RunDir) -> None:
    log_failure(run, ValueError("before"))
    assert not run.logs.exists(), "there is no run yet"
    run.path.mkdir()
    run.config.touch()
    for error in (ValueError("one\ntwo"), KeyboardInterrupt(), GeneratorExit()):
        log_failure(run, error)
    log_event(run, "told", text="in words", stage="think")
    events = [json.loads(line) for line in run.events.read_text().splitlines()]
    for event in events:
        event.pop("time")
    assert events == [
        {"event": "failed", "error": "ValueError", "message": "one\ntwo"},
        {"event": "interrupted"},
        {"event": "told", "stage": "think"},
    ]
    lines = [line.partition(" ")[2] for line in run.log.read_text().splitlines()]
    assert lines == ["failed error=ValueError message=one", "   two", "interrupted", "told stage=think in words"]


def test_another_folder_is_no_run(run: RunDir) -> None:
    with pytest.raises(RunError, match=r"run: not a run directory \(no config.toml\). Start one with: tpt run"):
        run.require()


def test_a_manifest_says_what_a_stage_did(round_dir: RoundDir) -> None:
    manifest = read_manifest(round_dir, "prune", {"traces": "a" * 64})
    assert manifest is not None
    assert manifest["outputs"] == {"examples": fingerprint(round_dir.examples)}
    assert (manifest["stage"], manifest["round"], manifest["counts"]) == ("prune", 1, {"examples": 1})
    assert manifest["versions"] == versions() and {"python", "torch", "numpy"} <= manifest["versions"].keys()
    assert read_manifest(round_dir, "train", {}) is None


@pytest.mark.parametrize("name", ["traces", "model"])
def test_a_stage_made_from_something_else_is_stale(round_dir: RoundDir, name: str) -> None:
    with pytest.raises(StaleStageError) as caught:
        read_manifest(round_dir, "prune", {name: "b" * 64})
    then = "a" * 12 if name == "traces" else "None"
    assert f"prune was made from another {name} than the one there now ({then} then, {'b' * 12} now)" in str(
        caught.value
    )
    assert f"To make it again, delete {round_dir.manifest('prune')}" in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"inputs": [], "outputs": {}, "counts": {}}', "null", "3"])
def test_a_damaged_manifest_is_told_with_what_to_do(round_dir: RoundDir, content: str) -> None:
    round_dir.manifest("prune").write_text(content)
    message = r"prune.json: damaged: .* Delete it to have it made again"
    with pytest.raises(RunError, match=message):
        read_manifest(round_dir, "prune", {"traces": "a" * 64})
    with pytest.raises(RunError, match=message):
        require_output(round_dir.manifest("prune"), "examples", round_dir.examples)


def test_an_output_must_still_be_what_the_stage_wrote(round_dir: RoundDir) -> None:
    manifest = round_dir.manifest("prune")
    assert require_output(manifest, "examples", round_dir.examples) == fingerprint(round_dir.examples)
    round_dir.examples.write_text("two\n")
    with pytest.raises(
        StaleStageError, match=r"examples.jsonl: changed since .*prune.json was written .* Put it back, or"
    ):
        require_output(manifest, "examples", round_dir.examples)
    round_dir.examples.unlink()
    with pytest.raises(RunError, match=r"examples.jsonl: missing, though .*prune.json says it was written. Delete"):
        require_output(manifest, "examples", round_dir.examples)
    with pytest.raises(RunError, match=r"train.json: no such file"):
        require_output(round_dir.manifest("train"), "checkpoint", round_dir.checkpoint)


def test_a_folder_s_fingerprint_is_its_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> str:
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return fingerprint(tmp_path / name)

    same = [folder("a", {"x": "1", "sub/y": "2"}), folder("b", {"sub/y": "2", "x": "1"})]
    others = [folder("c", {"x": "2", "sub/y": "1"}), folder("d", {"x": "1", "y": "2"}), folder("e", {"x": "1"})]
    assert same[0] == same[1] and len({same[0], *others}) == 4


def test_changed_files_of_a_stage_are_named(round_dir: RoundDir) -> None:
    assert changed_files(round_dir, "prune") == [] and finished_stages(round_dir) == ["prune"]
    require_unchanged(round_dir, "think", "prune")
    round_dir.examples.write_text("two\n")
    os.utime(round_dir.examples, ns=(1, 1))
    assert changed_files(round_dir, "prune") == [FileChange(round_dir.examples, "changed")]
    with pytest.raises(
        StaleStageError, match=r"round-1/examples.jsonl, of the prune stage of round 1: changed\nPut them"
    ):
        require_unchanged(round_dir, "think", "prune")


def test_settings_have_one_digest_whatever_their_order() -> None:
    assert digest_of({"a": 1, "b": "é"}) == digest_of({"b": "é", "a": 1}) != digest_of({"a": 1, "b": "e"})
    # Finished runs hold such digests.
    assert digest_of({"b": "é", "a": 1}) == hashlib.sha256(b'{"a": 1, "b": "\\u00e9"}').hexdigest()


def test_events_are_lines_with_their_time(run: RunDir) -> None:
    log_event(run, "begin", stage="think", round=1)
    log_event(run, "end")
    events = [json.loads(line) for line in (run.logs / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["begin", "end"]
    assert events[0]["stage"] == "think" and events[0]["time"].endswith("Z")


HOLD = """
import subprocess, sys, time
from tpt.run.directory import RunDir
from tpt.run.lock import holder_of, lock
with lock(RunDir(sys.argv[1])) as held:
    if sys.argv[2:] == ["child"]:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[held.descriptor])
        print(child.pid, flush=True)
    else:
        print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held_elsewhere(run: RunDir, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds the run's lock, and the line it printed then."""
    command = [sys.executable, "-c", HOLD, str(run.path), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_second_process_is_told_who_holds_the_run(run: RunDir) -> None:
    with held_elsewhere(run) as (process, _), pytest.raises(RunLockedError) as caught, lock(run, wait_s=0):
        pass
    assert f"another process is writing this run: process {process.pid} on {os.uname().nodename}" in str(caught.value)
    assert "use another directory with --out" in str(caught.value)


def test_the_lock_of_a_killed_process_is_taken_over_and_told(run: RunDir) -> None:
    with held_elsewhere(run) as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait()
        with lock(run, wait_s=0) as held:
            assert held.left_by == f"process {process.pid} on {os.uname().nodename}"
    with lock(run, wait_s=0) as again:
        assert again.left_by == "", "it was given back this time"


def test_a_lock_is_waited_for(run: RunDir) -> None:
    with held_elsewhere(run) as (process, _):
        begun = time.monotonic()
        stopper = subprocess.Popen(["sh", "-c", f"sleep 0.4; kill -KILL {process.pid}"])
        with lock(run, wait_s=20):
            assert 0.2 < time.monotonic() - begun < 15
        stopper.wait()


def test_a_child_that_inherited_the_lock_keeps_it(run: RunDir) -> None:
    with held_elsewhere(run, "child") as (process, child):
        process.kill()
        process.wait()
        with pytest.raises(RunLockedError) as caught, lock(run, wait_s=0):
            pass
        assert "a stage of a run that was killed, which is about to end" in str(caught.value)
        assert f"process {process.pid}" not in str(caught.value), "nobody can stop a dead process"
        os.kill(int(child), signal.SIGKILL)
        with lock(run, wait_s=10) as held:
            assert held.left_by == f"process {process.pid} on {os.uname().nodename}"


def test_who_is_at_a_run_is_told_without_waiting(run: RunDir) -> None:
    assert holder_of(run) == ("", False), "there is no run yet"
    run.path.mkdir()
    run.lock.touch()
    assert holder_of(run) == ("", False)
    name = f"process {os.getpid()} on {os.uname().nodename}"
    with lock(run):
        assert holder_of(run) == (name, True)
        os.truncate(run.lock, 0)
        assert holder_of(run) == ("unknown", True)
        with pytest.raises(
            RunLockedError, match=r"is writing this run: unknown\. Wait for it, stop it, or use another dir"
        ):
            lock(run, wait_s=0).__enter__()
    run.lock.write_text("process 1 on a host")
    assert holder_of(run) == ("process 1 on a host", False)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(run: RunDir, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", fails)
    with pytest.raises(
        RunError, match=r"lock: cannot be locked on this file system \(.+\), so two .*Use one with locks"
    ):
        lock(run, wait_s=0).__enter__()
    assert holder_of(run) == ("", False)
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output"):
        lock(run, wait_s=0).__enter__()


def test_an_error_under_the_lock_gives_it_back(run: RunDir) -> None:
    with pytest.raises(ValueError, match="mine"), lock(run):
        raise ValueError("mine")
    with lock(run, wait_s=0) as held:
        assert held.left_by == ""
