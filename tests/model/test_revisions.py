"""Hub ids with a revision, read from a local Hub cache without the network: what is loaded, and what is kept of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import save_llama
from transformers import AutoModelForCausalLM

from tpt.errors import ModelError
from tpt.model.spec import resolve

COMMITS = ("a" * 40, "b" * 40)
PROGRAM = """
import sys, torch
from tpt.config import parse_config
from tpt.model.chat import open_chat
from tpt.errors import TPTError
from tpt.model.load import load_model
from tpt.run.directory import RunDir
from tpt.start_model import base_model
model = sys.argv[1]
try:
    first = next(load_model(model, dtype="float32", device="cpu").parameters()).flatten()[0].item()
    config = parse_config({"model": model})
    print(first, open_chat(config.prompt, model).end_of_turn_id, base_model(RunDir(sys.argv[2]), config).digest)
except TPTError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Return a Hub cache with two commits of one model, the second one main."""
    repository = tmp_path / "hub" / "models--some--model"
    for value, commit in enumerate(COMMITS, start=1):
        folder = repository / "snapshots" / commit
        folder.mkdir(parents=True)
        save_llama(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        torch.nn.init.constant_(next(model.parameters()), float(value))
        model.save_pretrained(folder)
    (repository / "refs").mkdir()
    set_ref(repository.parent, "main", COMMITS[1])
    set_ref(repository.parent, "v1", COMMITS[0])
    return repository.parent


def set_ref(hub: Path, name: str, commit: str) -> None:
    (hub / "models--some--model" / "refs" / name).write_text(commit)


def loaded(model: str, hub: Path, run: Path) -> list[str]:
    """Return what a process of its own loads, as the cache's place is read on import."""
    environment = {**os.environ, "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PROGRAM, model, str(run)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split(" ", 2)


def test_a_revision_is_what_is_loaded_and_its_commit_is_kept(hub: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    digests = set()
    for revision, value, commit in (
        ("", "2.0", COMMITS[1]),
        ("@v1", "1.0", COMMITS[0]),
        (f"@{COMMITS[0]}", "1.0", COMMITS[0]),
    ):
        first, _, digest = loaded(f"some/model{revision}", hub, run)
        assert first == value
        assert json.loads((run / "base.json").read_text())["commit"] == commit
        digests.add(digest)
        (run / "base.json").unlink()
    assert len(digests) == 2
    assert loaded("some/model@v9", hub, run)[0] == "ModelError"
    loaded("some/model", hub, run)
    set_ref(hub, "main", COMMITS[0])
    moved = " ".join(loaded("some/model", hub, run))
    assert moved.startswith("RunError") and f"--set model=some/model@{COMMITS[1]}" in moved
    kept = json.loads((run / "base.json").read_text())
    del kept["commit"], kept["seal"]
    (run / "base.json").write_text(json.dumps(kept))
    assert loaded("some/model", hub, run)[2] == kept["digest"]
    shutil.rmtree(hub)


@pytest.mark.parametrize("spec", ["some/model@", "@main", "a/b/c@main", "some/model@a b", "./x@main"])
def test_what_is_no_revision(spec: str) -> None:
    with pytest.raises(ModelError, match="owner/name@revision"):
        resolve(spec)
