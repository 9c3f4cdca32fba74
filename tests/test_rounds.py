"""Runs that are killed: nothing is lost, doubled or different. Real stages on the embedded model, real SIGKILLs."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from command_line import ENTRY, QUICKSTART, sets

from tpt.config import RunConfig, load_config
from tpt.errors import RunError
from tpt.records import Estimate, EvalReport, RoundRecord
from tpt.rounds import Run, best_round, stop_reason
from tpt.run_dir import STAGES, RunDir, lock
from tpt.stage_server import StageServer

SMALL = [
    "rounds=2",
    "problems.max_train=40",
    "problems.max_heldout=12",
    "think.samples=3",
    "prune.size=12",
    "evaluate.samples=2",
    "engine.slots=16",
    "threads=1",
]
PLAN = [("evaluate", 0), *[(stage, index) for index in (1, 2) for stage in STAGES]]
RECORDS = ("traces.jsonl", "verdicts.jsonl", "examples.jsonl", "evaluate/traces.jsonl", "evaluate/verdicts.jsonl")


def small_config(*, batch_invariant: bool) -> RunConfig:
    return load_config(QUICKSTART, [*SMALL, f"engine.batch_invariant={str(batch_invariant).lower()}"])


def prepared(path: Path, config: RunConfig) -> RunDir:
    Run(path, config).prepare()
    return RunDir(path)


def result_files(run: RunDir) -> dict[str, bytes]:
    names = [*RECORDS, "checkpoint/model.safetensors"]
    paths = {f"{index}/{name}": run.round(index).path / name for index in range(3) for name in names}
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def whole_lines(run: RunDir) -> set[tuple[str, bytes]]:
    """Every finished trace on disk, with the file it belongs to."""
    lines: set[tuple[str, bytes]] = set()
    for index in range(3):
        for folder in (run.round(index).path, run.round(index).evaluate):
            for name in ("traces.jsonl", "surplus.jsonl"):
                content = (folder / name).read_bytes() if (folder / name).exists() else b""
                lines |= {(str(folder), line) for line in content.splitlines(keepends=True) if line.endswith(b"\n")}
    return lines


@dataclass(frozen=True)
class Undisturbed:
    files: dict[str, bytes]
    seconds: dict[tuple[str, int], float]
    """How long each stage of each round took."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Undisturbed]:
    """Runs that nobody killed, by whether the engine was batch-invariant."""
    results = {}
    for batch_invariant in (True, False):
        run = prepared(tmp_path_factory.mktemp("undisturbed") / "run", small_config(batch_invariant=batch_invariant))
        with lock(run) as held, StageServer(run.path, lock_descriptor=held.descriptor, progress=False) as server:
            seconds = {}
            for stage, index in PLAN:
                begun = time.monotonic()
                server.do(stage, index)
                seconds[stage, index] = time.monotonic() - begun
        results[batch_invariant] = Undisturbed(result_files(run), seconds)
    return results


def kill_after(server: StageServer, delay_s: float) -> None:
    """Kill the stage that is at work, if it still is."""
    time.sleep(delay_s)
    for child in psutil.Process(server.pid).children():
        child.kill()


def do_with_kills(run: RunDir, server: StageServer, stage: str, index: int, delays: Iterator[float]) -> int:
    """Do a stage that is killed after each of the delays, then let it finish; return how many kills struck."""
    struck = 0
    for delay_s in delays:
        before = whole_lines(run)
        killer = threading.Thread(target=kill_after, args=(server, delay_s))
        killer.start()
        try:
            server.do(stage, index)
        except RunError as error:
            assert "killed by signal 9" in str(error)
            struck += 1
        killer.join()
        assert before <= whole_lines(run)
        if stage == "prune":
            # It takes so little time that it may be done before the blow falls; then it is to do again.
            run.round(index).manifest(stage).unlink(missing_ok=True)
    server.do(stage, index)
    return struck


@pytest.mark.parametrize("batch_invariant", [True, False])
def test_killed_in_every_stage_and_gone_on(
    tmp_path: Path, undisturbed: dict[bool, Undisturbed], batch_invariant: bool
) -> None:
    run = prepared(tmp_path / "run", small_config(batch_invariant=batch_invariant))
    moments = random.Random(7)
    struck: dict[str, int] = dict.fromkeys(STAGES, 0)
    with lock(run) as held, StageServer(run.path, lock_descriptor=held.descriptor, progress=False) as server:
        for stage, index in PLAN:
            longest = undisturbed[batch_invariant].seconds[stage, index]
            delays = (moments.uniform(0, 0.9 * longest) for _ in range(10 if stage == "prune" else 4))
            struck[stage] += do_with_kills(run, server, stage, index, delays)
    assert all(struck.values()), struck
    wanted, got = undisturbed[batch_invariant].files, result_files(run)
    assert wanted.keys() == got.keys()
    if batch_invariant:
        assert [name for name in wanted if wanted[name] != got[name]] == []
    for name in wanted:
        if name.endswith(".jsonl"):
            assert len(set(got[name].splitlines())) == len(got[name].splitlines())
    # Round 0 depends on nothing that came before, so its keys are the same in any mode.
    assert keys_of(wanted["0/evaluate/traces.jsonl"]) == keys_of(got["0/evaluate/traces.jsonl"])


def keys_of(content: bytes) -> list[bytes]:
    return [line.split(b'"completion"')[0] for line in content.splitlines()]


def test_the_whole_command_killed_leaves_no_process_and_goes_on(
    tmp_path: Path, undisturbed: dict[bool, Undisturbed]
) -> None:
    run = RunDir(tmp_path / "run")
    command = [*ENTRY, "run", str(QUICKSTART), "--out", str(run.path), *sets(*SMALL)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: run.round(1).path.exists(), 60)
    family = psutil.Process(first.pid).children(recursive=True)
    assert len(family) >= 2
    first.send_signal(signal.SIGKILL)
    first.wait()
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    assert "ended without finishing; going on from there" in again.stderr
    assert not any(process.is_running() and process.status() != "zombie" for process in family)
    assert "round" in again.stdout
    wanted, got = undisturbed[True].files, result_files(run)
    assert [name for name in wanted if wanted[name] != got.get(name)] == []


def wait_for(happened: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def record(index: int, score: float) -> RoundRecord:
    report = EvalReport(
        problems=10,
        samples=1,
        outcomes={},
        pass_at_k={1: Estimate(score, 0.1)},
        pass_at_k_lenient={1: Estimate(score, 0.1)},
        maj_at_k={},
        diversity={},
        lengths={},
    )
    return RoundRecord(index=index, model="m", evaluate=report)


def test_the_best_round_is_the_earliest_of_the_highest() -> None:
    assert best_round([record(0, 0.3), record(1, 0.5), record(2, 0.5), record(3, 0.4)]).index == 1


def test_rounds_stop_after_patience_without_a_gain() -> None:
    config = load_config(QUICKSTART, ["rounds=9", "stop.patience=2"])
    records = [record(0, 0.3), record(1, 0.5), record(2, 0.45)]
    assert stop_reason(records, config) == ""
    assert stop_reason([*records, record(3, 0.5)], config) == (
        "no held-out gain over round 1 in 2 rounds (stop.patience = 2)"
    )
    assert stop_reason([record(index, 0.1 * index) for index in range(10)], config) == "all 9 rounds are done"
