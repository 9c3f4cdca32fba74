"""Runs on a real S3 server over real sockets: killed, cut off, wiped, gone on with elsewhere."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ENTRY, QUICKSTART, Tpt, sets
from s3_control import Server

from tpt.config import load_config
from tpt.errors import RunError, RunLockedError
from tpt.rounds import Run
from tpt.run.directory import STAGES, RunDir
from tpt.run.lock import lock
from tpt.run.manifest import load_manifest, write_manifest
from tpt.run.outputs import fingerprint
from tpt.store import download_checkpoint, downloaded, synced, working_copy_of
from tpt.store.lease import Lease
from tpt.store.objects import Store, open_store
from tpt.store.working_copy import WorkingCopy
from tpt.system.jsonl import write_json, write_text

URL = "s3://runs/tests/run"


SMALL = [
    "rounds=2",
    "problems.max_train=8",
    "problems.max_heldout=6",
    "think.samples=2",
    "prune.size=all",
    "evaluate.samples=1",
    'evaluate.also=["word_problems?split=heldout&seed=9&size=6"]',
    "threads=1",
    # Sampling takes longer than the time between uploads.
    "engine.slots=2",
]


@pytest.fixture
def store(server: Server) -> Store:
    return open_store(URL, patience_s=5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of two finished rounds, its files as a run's in name and order but of arbitrary content."""
    run = RunDir(tmp_path_factory.mktemp("made") / "run")
    bits = random.Random(1)
    for path in (run.config, run.base, run.problems, run.heldout, run.best):
        write_text(path, f"{path.name}\n")
    for round_dir in map(run.round, range(2)):
        for stage in STAGES if round_dir.index else ("evaluate",):
            outputs = round_dir.outputs(stage)
            for path in outputs.values():
                for file in [path / "a.safetensors", path / "b.json"] if path.name == "checkpoint" else [path]:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(bits.randbytes(2000))
            write_manifest(round_dir, stage, inputs={}, outputs=outputs, settings={}, counts={})
        write_text(round_dir.record, "{}\n")
    return run.path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run on a local disk, undisturbed."""
    path = tmp_path_factory.mktemp("small") / "run"
    assert len(list(Run(path, load_config(QUICKSTART, SMALL)).rounds())) == 3
    return path


def files_of(run: Path) -> dict[str, bytes]:
    """Everything of a run that is the same however it came about."""
    names = ("jsonl", ".safetensors", "best", "config.toml", "tokenizer.json")
    found = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.name.endswith(names)}
    apart = ("logs/", "cache/")
    return {
        name: path.read_bytes()
        for name, path in sorted(found.items())
        # The log of a training has speeds in it.
        if not name.startswith(apart) and not name.endswith("train_log.jsonl")
    }


def wiped() -> None:
    """Leave this machine as one that has never seen the run."""
    shutil.rmtree(os.environ["TPT_CACHE"], ignore_errors=True)


def steal(thief: Lease) -> None:
    """Put another's claim over whatever is there."""
    thief.store.put("lease.json", thief._claim())


def held(store: Store) -> bool:
    """Whether anybody holds the lease; one that was given back is empty."""
    return json.loads(store.get("lease.json")) != {}


def uploader() -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).parent / "upload.py"), URL]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def check_what_is_there() -> int:
    """What a machine sees that comes now: every manifest finds its outputs; return how many there are."""
    wiped()
    run = RunDir(working_copy_of(URL))
    WorkingCopy(run, open_store(URL, patience_s=5)).download()
    manifests = 0
    for round_dir in run.rounds():
        download_checkpoint(run, round_dir.index)
        for stage in STAGES:
            if round_dir.manifest(stage).exists():
                manifests += 1
                said = load_manifest(round_dir.manifest(stage))["outputs"]
                outputs = round_dir.outputs(stage)
                assert {name: fingerprint(outputs[name]) for name in said} == said
    return manifests


def test_killed_while_uploading_nothing_is_half_visible(server: Server, made: Path) -> None:
    moments = random.Random(3)
    seen = []
    for _ in range(7):
        wiped()
        shutil.copytree(made, working_copy_of(URL))
        process = uploader()
        server.faults(kill=process.pid, at="", after=moments.randint(1, 90))
        process.communicate("go\n", timeout=60)
        assert process.returncode in (0, -signal.SIGKILL)
        server.faults()
        # The dead process is of a machine that is gone; its claim would end by itself.
        open_store(URL, patience_s=5).delete("lease.json")
        seen.append(check_what_is_there())
    assert seen == sorted(seen) and len(set(seen)) > 1, "what was there stayed, and kills struck at several points"
    shutil.rmtree(working_copy_of(URL))
    shutil.copytree(made, working_copy_of(URL))
    process = uploader()
    assert process.communicate("go\n", timeout=60) and process.returncode == 0
    assert check_what_is_there() == 5
    run = working_copy_of(URL)
    assert files_of(run) == files_of(made)
    assert not [name for name in open_store(URL, patience_s=5).list() if ".part-" in name]
    assert not held(open_store(URL, patience_s=5))


def kill_at(server: Server, name: str, after: int) -> str:
    """Begin the small run, or go on with it, until that write of an object of that name; return what it said."""
    command = [*ENTRY, "run", str(QUICKSTART), "--out", URL, *sets(*SMALL)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        server.faults(kill=process.pid, at=name, after=after)
        said = process.communicate(timeout=200)[1]
    server.faults()
    assert process.returncode == -signal.SIGKILL, said
    return said


@pytest.mark.timeout(600)
def test_killed_twice_and_gone_on_with_elsewhere(
    server: Server, store: Store, small: Path, tpt: Tpt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPT_STORE_UPLOAD_S", "0.05")
    said = kill_at(server, "round-1/verdicts.jsonl.part-", after=3)
    assert f"{URL}: working copy at {tmp_path}" in said
    wiped()
    status = tpt("status", URL).out
    assert f"go on with: tpt run {URL}" in status
    run = RunDir(working_copy_of(URL))
    sampled = run.round(1).traces.read_bytes().splitlines()
    assert sampled and not run.round(1).manifest("think").exists()

    wiped()
    # The first machine is gone; its claim would end by itself.
    store.delete("lease.json")
    kill_at(server, "round-2/checkpoint/", after=4)
    assert [name for name in store.list() if name.startswith("round-2/checkpoint/")]
    assert check_what_is_there() == 7
    resumed = load_manifest(run.round(1).manifest("think"))["counts"]["resumed_traces"]
    assert resumed == len(sampled)

    wiped()
    store.delete("lease.json")
    again = tpt("run", URL)
    assert again.code == 0, again.err
    assert files_of(run.path) == files_of(small)

    # And a fourth machine reads it all from the store.
    wiped()
    assert tpt("report", URL, "--format", "json").code == 0
    assert (run.round(1).checkpoint / "ELSEWHERE").exists() and (run.round(1).path / "train_log.jsonl").exists()
    assert tpt("export", URL, "--to", tmp_path / "model", "--round", "1").code == 0
    weights = small / "round-1" / "checkpoint" / "model.safetensors"
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights.read_bytes()
    assert "report.md" in store.list() and not held(store)
    assert not [name for name in store.list() if ".part-" in name]


def test_a_run_that_lost_its_lease_ends_its_stage(server: Server, store: Store, fails: Callable[..., str]) -> None:
    thief = Lease(store, "another copy", expires_s=60)

    def steal_amid() -> None:
        while not any(".part-" in name for name in store.list()):
            time.sleep(0.1)
        steal(thief)

    stealing = threading.Thread(target=steal_amid, daemon=True)
    stealing.start()
    # Long enough that it cannot end by itself.
    error = fails("run", QUICKSTART, "--out", URL, *sets("problems.max_train=8", "evaluate.samples=200"))
    stealing.join()
    assert "took over the writing of this run" in error
    assert not RunDir(working_copy_of(URL)).round(0).manifest("evaluate").exists()
    thief.check()


def test_a_stage_by_itself_that_lost_its_lease(server: Server, store: Store, made: Path) -> None:
    run = RunDir(shutil.copytree(made, working_copy_of(URL)))
    run.round(0).manifest("evaluate").unlink()
    with pytest.raises(RunLockedError, match="took over"), lock(run), synced(run) as sync:
        sync.before("evaluate", run.round(0))
        steal(Lease(store, "another copy", expires_s=60))
        for _ in range(300):
            time.sleep(0.1)
    assert not [name for name in store.list() if name.startswith(("round-0/evaluate/", "logs/"))]


def test_the_network_fails_for_a_while(server: Server, made: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = RunDir(shutil.copytree(made, working_copy_of(URL)))
    with lock(run), synced(run) as sync:
        sync.prepared()
        server.faults(down=True)
        # Longer than a failure goes untold.
        threading.Timer(8, server.faults).start()
        sync.after("evaluate", run.round(0))
    assert "just now; trying again" in capfd.readouterr().err
    assert check_what_is_there() == 1


def test_the_network_fails_for_good(server: Server, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPT_STORE_RETRY_S", "0.1")
    run = RunDir(shutil.copytree(made, working_copy_of(URL)))
    said = r"cannot .*did not answer as it should.*run the same command again"
    with pytest.raises(RunError, match=said), lock(run), synced(run) as sync:
        sync.prepared()
        server.faults(down=True)
        sync.after("evaluate", run.round(0))
    server.faults()
    assert check_what_is_there() == 0


def test_one_writer(server: Server, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = Lease(store, "another copy", expires_s=60)
    holder.take()
    run = RunDir(working_copy_of(URL))
    said = rf"{URL}: process {os.getpid()} on .* is writing this run; it said so \d s ago.*its claim ends in \d+ s"
    with pytest.raises(RunLockedError, match=said), lock(run), synced(run):
        pass
    # One that was not renewed for its time is a dead machine's.
    Lease(store, "another copy", expires_s=0.5).take()
    time.sleep(1.1)
    with lock(run), synced(run) as sync:
        late = Lease(store, "a third copy", expires_s=60)
        steal(late)
        with pytest.raises(RunLockedError, match="took over the writing of this run"):
            sync.before("evaluate", run.round(0))
        late.give_back()
        with pytest.raises(RunLockedError):
            holder.renew()


def store_evaluation(run: RunDir) -> None:
    """Put what there is up to the base model's evaluation into the store."""
    with lock(run), synced(run) as sync:
        sync.prepared()
        sync.after("evaluate", run.round(0))


def test_an_output_that_is_not_its_manifests(server: Server, store: Store, made: Path) -> None:
    run = RunDir(shutil.copytree(made, working_copy_of(URL)))
    store_evaluation(run)
    store.put("round-0/evaluate/traces.jsonl", b"{}\n")
    wiped()
    with pytest.raises(RunError, match=r"round-0/evaluate/traces.jsonl: gone or not what its manifest says"):
        downloaded(URL)
    assert not RunDir(working_copy_of(URL)).round(0).manifest("evaluate").exists()


def test_records_under_way_survive_any_order_of_uploads(server: Server, store: Store, tmp_path: Path) -> None:
    def line(sample: int) -> bytes:
        return json.dumps({"problem_id": "p", "sample": sample}).encode() + b"\n"

    store.put("config.toml", b"seed = 1\n")
    store.put("round-1/traces.jsonl.part-0000-000000", line(0) + line(1))
    store.put("round-1/traces.jsonl.part-0000-000001", line(2))
    store.put("round-1/traces.jsonl.part-0001-000000", line(0))
    store.put("round-1/verdicts.jsonl.part-0000-000000", line(0) + line(1))
    run = RunDir(working_copy_of(URL))
    copy = WorkingCopy(run, store)
    copy.download()
    assert run.round(1).traces.read_bytes() == line(0) + line(1) + line(2)
    assert run.round(1).verdicts.read_bytes() == line(0) + line(1)
    # What is here and not there yet stays.
    run.round(1).traces.write_bytes(b"".join(map(line, (2, 1, 0, 3))))
    copy.download()
    assert run.round(1).traces.read_bytes() == b"".join(map(line, (2, 1, 0, 3)))


def test_an_upload_that_was_interrupted_before_its_first_byte(server: Server, store: Store, made: Path) -> None:
    run = RunDir(shutil.copytree(made, working_copy_of(URL)))
    store_evaluation(run)
    store.put("round-0/evaluate.json", b"")
    store.put("lease.json", b"")
    assert check_what_is_there() == 0
    store.put("config.toml", b"")
    wiped()
    with pytest.raises(RunError, match="no run there"):
        downloaded(URL)
    shutil.copytree(made, working_copy_of(URL), dirs_exist_ok=True)
    store_evaluation(run)
    assert check_what_is_there() == 1


def test_another_config_before_anything_is_made(server: Server, made: Path) -> None:
    run = RunDir(shutil.copytree(made, working_copy_of(URL)))
    with lock(run), synced(run) as sync:
        sync.prepared()
        for path in (run.config, run.problems):
            write_text(path, path.read_text().upper())
        run.base.unlink()
        sync.prepared()
    wiped()
    downloaded(URL)
    assert run.config.read_text() == "CONFIG.TOML\n" and run.problems.read_text() == "PROBLEMS.JSONL\n"
    assert not run.base.exists()


def test_an_adapter_comes_with_the_checkpoint_it_is_on(server: Server, store: Store) -> None:
    run = RunDir(working_copy_of(URL))
    write_text(run.config, "seed = 1\n")
    round_dirs = [run.round(1), run.round(2), run.round(3)]
    for round_dir, base in zip(round_dirs, ("embedded", "../../round-1/checkpoint", "embedded"), strict=True):
        write_json(round_dir.checkpoint / "adapter_config.json", {"base_model_name_or_path": base, "r": 4})
        outputs = round_dir.outputs("train")
        write_manifest(round_dir, "train", inputs={}, outputs=outputs, settings={}, counts={})
        WorkingCopy(run, store).upload_stage(round_dir, "train", check=lambda: None)
    store.put("config.toml", b"seed = 1\n")
    wiped()
    downloaded(URL)
    download_checkpoint(run, 2)
    assert [(round_dir.checkpoint / "ELSEWHERE").exists() for round_dir in round_dirs] == [False, False, True]


def test_a_large_file_survives_answers_that_break_off(server: Server, store: Store, tmp_path: Path) -> None:
    content = random.Random(5).randbytes(20 * 2**20)
    (tmp_path / "file").write_bytes(content)
    store.put("large", tmp_path / "file")
    assert store.list()["large"]["size"] == len(content)
    server.faults(cut=2)
    store.download("large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    server.faults(cut=2)
    assert store.get("large") == content


def test_an_interrupt_does_not_wait_for_the_store(server: Server, store: Store) -> None:
    server.faults(down=True)
    begun = time.monotonic()
    threading.Timer(0.5, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        open_store(URL, patience_s=60).list()
    assert time.monotonic() - begun < 5


def test_an_upload_that_was_interrupted_leaves_no_object(server: Server, store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(64 * 2**20))
    threading.Timer(0.1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        store.put("large", tmp_path / "file")
    # What other threads still hand on has ended when none of them is left.
    for thread in threading.enumerate():
        if thread.daemon and "wait_for_answer" in thread.name:
            thread.join()
    assert store.list() == {}
