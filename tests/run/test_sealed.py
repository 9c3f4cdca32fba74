"""The small files that nothing else vouches for: whatever byte of them changes, it is said, and by the file's own name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import QUICKSTART

from tpt.config import load_config
from tpt.errors import RunError, StaleStageError
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.manifest import record_frozen, require_frozen
from tpt.run.sealed import read_sealed, write_sealed
from tpt.start_model import base_model, base_record


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run whose problems are frozen and whose base model is known."""
    config = load_config(QUICKSTART, ["problems.max_train=4", "problems.max_heldout=4"])
    opened = Run(tmp_path / "run", config)
    opened.prepare()
    base_model(opened.dir, config)
    return opened.dir


@pytest.mark.parametrize(
    ("name", "read"), [("base.json", base_record), ("frozen.json", lambda run: require_frozen(run, full=True))]
)
def test_every_changed_byte_is_told_or_changes_nothing(
    run: RunDir, name: str, read: Callable[[RunDir], object]
) -> None:
    path, told = run.path / name, 0
    content, said = path.read_bytes(), read(run)
    for at in range(len(content)):
        for bit in (1, 2, 16, 128):
            path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
            try:
                assert read(run) == said
            except RunError as error:
                assert str(path) in str(error)
                told += 1
    assert told > 3 * len(content)


def test_a_file_of_an_earlier_version_has_no_seal(run: RunDir) -> None:
    for path in (run.base, run.frozen):
        said = json.loads(path.read_text())
        assert said.pop("seal")
        path.write_text(json.dumps(said))
    assert base_record(run)["model"] == "embedded"
    require_frozen(run, full=True)


def test_a_lost_problem_file_is_named_and_a_deleted_record_is_made_anew(run: RunDir) -> None:
    content = run.heldout.read_bytes()
    run.heldout.unlink()
    with pytest.raises(StaleStageError, match=r"heldout\.jsonl: missing since the run began"):
        require_frozen(run)
    run.heldout.write_bytes(content)
    run.frozen.unlink()
    require_frozen(run)
    record_frozen(run)
    assert "seal" in json.loads(run.frozen.read_text())
    require_frozen(run, full=True)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path, said = tmp_path / "said.json", {"a": "é", "b": {"c": [1, 2.5, None]}}
    write_sealed(path, said)
    assert read_sealed(path, is_entry=lambda key, _: key in said, remedy="") == said
    path.write_text("[]")
    with pytest.raises(StaleStageError, match=r"said\.json: changed since the run began\. Put it back as it was"):
        read_sealed(path, is_entry=lambda key, _: key in said, remedy="")
