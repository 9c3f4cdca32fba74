"""Runs on an object store whose files were changed, here or there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from command_line import Tpt
from s3_control import Server

from tpt.run.directory import RunDir
from tpt.run.lock import lock
from tpt.store import synced, working_copy_of
from tpt.store.objects import open_store
from tpt.system.jsonl import write_text

URL = "s3://runs/first"
VERDICTS = "round-1/evaluate/verdicts.jsonl"


def test_a_changed_working_copy_and_a_changed_object(
    server: Server, finished_copy: Path, tpt: Tpt, fails: Callable[..., str]
) -> None:
    here = shutil.copytree(finished_copy, working_copy_of(URL))
    assert tpt("run", URL).code == 0
    for path in (here / VERDICTS, here / "round-1" / "checkpoint" / "model.safetensors"):
        content = path.read_bytes()
        path.write_bytes(content[:-2] + b" \n")
        assert f"{path.relative_to(here)}, of the " in fails("report", URL)
        assert tpt("verify-run", URL).code == 1
        path.write_bytes(content)
    assert tpt("report", URL).code == 0
    shutil.rmtree(here)
    result = tpt("verify-run", URL)
    assert result.code == 0 and "round 1 train: as it was written (the checkpoint is not here)" in result.out
    shutil.rmtree(here)
    store = open_store(URL, patience_s=5)
    store.put(VERDICTS, store.get(VERDICTS).replace(b"WRONG", b"CORRECT"))
    assert f"{VERDICTS}: gone or not what its manifest says" in fails("verify-run", URL)


def test_samples_of_another_config_are_not_gone_on_with(server: Server, finished_copy: Path, tpt: Tpt) -> None:
    """Nothing was finished, so the run takes the config; what was sampled with the old one is on the store."""
    run = RunDir(shutil.copytree(finished_copy, working_copy_of(URL)))
    for index in (0, 1):
        shutil.rmtree(run.round(index).path)
    with lock(run), synced(run) as sync:
        sync.prepared()
    store = open_store(URL, patience_s=5)
    store.put("round-0/evaluate/traces.jsonl.part-000000000000", b"{}\n")
    with lock(run), synced(run) as sync:
        write_text(run.config, run.config.read_text(encoding="utf-8").replace("seed = 0", "seed = 5", 1))
        shutil.rmtree(run.round(0).path, ignore_errors=True)
        sync.prepared()
    assert not [name for name in store.list() if name.startswith("round-")]
    shutil.rmtree(run.path)
    assert tpt("status", URL).code == 0 and "seed = 5" in run.config.read_text(encoding="utf-8")
