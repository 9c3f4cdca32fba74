"""Runs that are killed: nothing is lost, doubled or different. Real stages on the embedded model, real SIGKILLs."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import pytest
from command_line import ENTRY, QUICKSTART, sets

from tpt.config import RunConfig, load_config
from tpt.errors import RunError
from tpt.evidence.best_round import BestRound
from tpt.records import Estimate, EvalReport, RoundRecord
from tpt.rounds import Run, best_round, stop_reason
from tpt.run.directory import STAGES, RunDir
from tpt.run.lock import lock
from tpt.run.manifest import load_manifest, write_manifest
from tpt.stage_process import StageServer
from tpt.system.jsonl import read_json

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
RECORDS = (
    "traces.jsonl",
    "verdicts.jsonl",
    "examples.jsonl",
    "evaluate/traces.jsonl",
    "evaluate/verdicts.jsonl",
    "evaluate/greedy/traces.jsonl",
    "evaluate/greedy/verdicts.jsonl",
)


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
        for folder in (run.round(index).path, run.round(index).evaluate, run.round(index).evaluate_greedy):
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
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def do_with_kills(run: RunDir, server: StageServer, stage: str, index: int, moments: Random, longest: float) -> int:
    """Do a stage that is killed at random moments, then let it finish; return how many kills struck.

    ``longest`` is how many seconds it took undisturbed, on a machine that may have been busier then.
    """
    struck, kills = 0, 10 if stage == "prune" else 4
    for tried in range(20):
        if tried >= kills and struck:
            break
        before = whole_lines(run)
        killer = threading.Thread(target=kill_after, args=(server, moments.uniform(0, 0.9 * longest)))
        killer.start()
        try:
            server.do(stage, index)
        except RunError as error:
            assert "killed by signal 9" in str(error)
            struck += 1
        else:
            longest /= 2
        killer.join()
        assert before <= whole_lines(run)
        if stage == "prune" or not struck:
            # It was done before the blow fell; then it is to do again.
            run.round(index).manifest(stage).unlink(missing_ok=True)
    server.do(stage, index)
    return struck


@pytest.mark.parametrize("batch_invariant", [True, False])
def test_killed_in_every_stage_and_gone_on(
    tmp_path: Path, undisturbed: dict[bool, Undisturbed], batch_invariant: bool
) -> None:
    run = prepared(tmp_path / "run", small_config(batch_invariant=batch_invariant))
    moments = Random(7)
    struck: dict[str, int] = dict.fromkeys(STAGES, 0)
    with lock(run) as held, StageServer(run.path, lock_descriptor=held.descriptor, progress=False) as server:
        for stage, index in PLAN:
            longest = undisturbed[batch_invariant].seconds[stage, index]
            struck[stage] += do_with_kills(run, server, stage, index, moments, longest)
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


def record(index: int) -> RoundRecord:
    report = EvalReport(
        problems=10,
        samples=1,
        outcomes={},
        pass_at_k={1: Estimate(0.5, 0.1)},
        pass_at_k_lenient={1: Estimate(0.5, 0.1)},
        maj_at_k={},
        diversity={},
        lengths={},
    )
    return RoundRecord(index=index, model="m", evaluate=report)


def test_rounds_stop_after_patience_without_a_new_best_or_highest_score() -> None:
    config = load_config(QUICKSTART, ["rounds=9", "stop.patience=2"])
    records = [record(index) for index in range(10)]
    assert stop_reason(records[:3], config, BestRound(0, 1, False)) == ""
    assert stop_reason(records[:4], config, BestRound(1, 1, False)) == (
        "no new best and no new highest held-out score after round 1 in 2 rounds (stop.patience = 2)"
    )
    # A climb too slow to be significant is no reason to stop.
    assert stop_reason(records[:4], config, BestRound(0, 3, False)) == ""
    assert stop_reason(records[:4], load_config(QUICKSTART, ["stop.patience=0"]), BestRound(0, 0, False)) == ""
    assert stop_reason(records, config, BestRound(9, 9, False)) == "all 9 rounds are done"


ROLLED_BACK = [
    *SMALL,
    "stop.rollback=true",
    "train.learning_rate=10.0",
    "evaluate.choose_share=1.0",
    "evaluate.samples=4",
]
"""Training at this rate ruins the model."""


@pytest.mark.slow
def test_after_a_loss_the_next_round_starts_from_the_best_one(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", load_config(QUICKSTART, ROLLED_BACK))
    records = list(run.rounds())
    assert [each.evaluate.pass_at_k[1].mean for each in records[1:]] == [0.0, 0.0]
    assert best_round(run.dir, records).index == 0 and run.dir.best.read_text() == "round-0\n"
    manifests = [load_manifest(run.dir.round(index).manifest("train")) for index in (1, 2)]
    assert [manifest["counts"]["start_round"] for manifest in manifests] == [0, 0]
    base = read_json(run.dir.base)["digest"]
    assert [manifest["inputs"]["model"] for manifest in manifests] == [base, base]
    assert load_manifest(run.dir.round(2).manifest("think"))["inputs"]["model"] == base
    # Gone on with, it finds every stage made from what it would choose now.
    assert [each.index for each in Run(run.dir.path).rounds()] == [0, 1, 2]
    with pytest.raises(RunError, match=r"another config:\n  stop\.alpha"):
        Run(run.dir.path, load_config(QUICKSTART, [*ROLLED_BACK, "stop.alpha=0.1"])).prepare()


def test_what_chooses_the_best_round_may_change_where_nothing_depends_on_it(tmp_path: Path) -> None:
    run = prepared(tmp_path / "run", small_config(batch_invariant=True))
    write_manifest(run.round(0), "evaluate", inputs={}, outputs={}, settings={}, counts={})
    other = load_config(QUICKSTART, [*SMALL, "engine.batch_invariant=true", "stop.rule=maximum", "stop.alpha=0.01"])
    Run(run.path, other).prepare()
    assert load_config(run.config).stop.rule == "maximum"
    with pytest.raises(RunError, match="stop\\.rollback"):
        Run(run.path, load_config(QUICKSTART, [*SMALL, "engine.batch_invariant=true", "stop.rollback=true"])).prepare()


def test_how_to_train_may_change_until_a_round_is_trained(tmp_path: Path) -> None:
    """As after a training that did not fit into memory: what was sampled with the old keys is not lost."""
    run = prepared(tmp_path / "run", small_config(batch_invariant=True))
    for index, stage in ((0, "evaluate"), (1, "think"), (1, "prune")):
        write_manifest(run.round(index), stage, inputs={}, outputs={}, settings={}, counts={})
    smaller = load_config(QUICKSTART, [*SMALL, "engine.batch_invariant=true", "train.micro_batch_size=1"])
    Run(run.path, smaller).prepare()
    assert load_config(run.config).train.micro_batch_size == 1
    write_manifest(run.round(1), "train", inputs={}, outputs={}, settings={}, counts={})
    with pytest.raises(RunError, match=r"train\.micro_batch_size: 1 there"):
        Run(run.path, small_config(batch_invariant=True)).prepare()
