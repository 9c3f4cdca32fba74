"""What finished files and frozen problems were, and whether they still are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tpt.errors import StaleStageError
from tpt.run.directory import RunDir
from tpt.run.manifest import record_frozen, require_frozen
from tpt.run.outputs import FileChange, FileDigests, changes_of, fingerprint, record_of


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def test_what_became_of_a_file_is_told(tmp_path: Path) -> None:
    folder, digests = tmp_path / "out", FileDigests(tmp_path / "cache" / "digests.json")
    folder.mkdir()
    for name in ("same", "longer", "other", "gone"):
        (folder / name).write_text(name)
    recorded, whole = record_of(folder), fingerprint(folder)
    assert changes_of(folder, whole, recorded, digests, written_ns=0) == []
    (folder / "longer").write_text("longer now")
    (folder / "other").write_text("rehto")
    (folder / "gone").unlink()
    (folder / "new").touch()
    changes = changes_of(folder, whole, recorded, digests, written_ns=0)
    assert {(change.path.name, change.how) for change in changes} == {
        *(("longer", "changed"), ("other", "changed"), ("gone", "missing"), ("new", "added")),
    }
    alone = changes_of(tmp_path / "gone", "", {"gone": {}}, digests, written_ns=0)
    assert alone == [FileChange(tmp_path / "gone", "missing")], "a file is an output of its own name"
    # Versions that recorded nothing: what is newer than the manifest is read.
    assert changes_of(tmp_path / "gone", "", None, digests, written_ns=0) == [FileChange(tmp_path / "gone", "missing")]
    newest = max(path.stat().st_mtime_ns for path in folder.iterdir())
    assert changes_of(folder, whole, None, digests, written_ns=newest) == []
    assert {change.how for change in changes_of(folder, whole, None, digests, written_ns=newest, full=True)} == {
        "changed"
    }
    assert changes_of(folder, fingerprint(folder), None, digests, written_ns=0) == []


def test_digests_are_taken_once_and_kept(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    run.path.mkdir()
    run.problems.write_text("one")
    kept = run.path / "cache" / "digests.json"
    first = FileDigests(kept)
    assert first.of(run.problems) == fingerprint(run.problems)
    first.save()
    assert list(json.loads(kept.read_text())) == ["problems.jsonl"]
    taken: list[Path] = []
    monkeypatch.setattr("tpt.run.outputs.digest", lambda path: taken.append(path) or "anew")
    again = FileDigests(kept)
    assert again.of(run.problems) == first.of(run.problems) != "anew" and not taken
    assert again.of(run.problems, anew=True) == "anew" and len(taken) == 1
    run.problems.write_text("other")
    assert again.of(run.problems) == again.of(run.problems) == "anew" and len(taken) == 2
    for damaged in ("[1]", "{", '{"problems.jsonl": 3}', '{"problems.jsonl": [1, 2]}'):
        kept.write_text(damaged)
        assert FileDigests(kept).of(run.problems) == "anew"
    of_run = FileDigests.of_run(run.path)
    assert of_run is FileDigests.of_run(run.path) is not FileDigests.of_run(run.path / "other")


def test_frozen_problems_are_recorded_and_held_against_their_record(run: RunDir) -> None:
    (run.path / "also").mkdir(parents=True)
    for path in (run.problems, run.heldout, run.also("also-other")):
        path.write_text(path.name)
    assert list(run.problem_files()) == ["problems.jsonl", "heldout.jsonl", "also/also-other.jsonl"]
    require_frozen(run)
    record_frozen(run)
    require_frozen(run, full=True)
    run.heldout.write_text("changed")
    record_frozen(run)
    with pytest.raises(
        StaleStageError, match=r"heldout.jsonl: changed since the run began. Put it back as it was, or begin"
    ):
        require_frozen(run)
    for damaged in ("[]", '{"heldout.jsonl": 3}'):
        run.frozen.write_text(damaged)
        with pytest.raises(StaleStageError, match=r"frozen.json: changed since the run began"):
            require_frozen(run)
