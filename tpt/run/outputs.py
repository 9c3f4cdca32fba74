"""What finished files were, and whether they still are: by size and time of change first, by content where these differ."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tpt.system.jsonl import digest, write_json

Recorded = Mapping[str, Mapping[str, Any]]
"""Name of a file within an output to its size in bytes, its time of change in nanoseconds, and its SHA-256."""

_TAKEN: dict[Path, FileDigests] = {}


class FileChange(NamedTuple):
    """A file that is not what a finished stage wrote or read."""

    path: Path
    how: str
    """``changed``, ``missing`` or ``added``."""


class FileDigests:
    """Digests of files, each taken once for as long as the file's size and time of change stay as they are.

    They are kept in a file, so that a copied run, all of whose times are new, is read once and not by every command.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        self._is_new = False
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            table = json.loads(path.read_text(encoding="utf-8"))
            self._known = {name: entry for name, entry in table.items() if len(entry) == 3}

    @staticmethod
    def of_run(run_path: Path) -> FileDigests:
        """Return the digests of a run's files."""
        path = run_path.resolve() / "cache" / "digests.json"
        return _TAKEN.setdefault(path, FileDigests(path))

    def of(self, file: Path, *, anew: bool = False) -> str:
        """Return a file's digest; ``anew``: from its content, whatever is known."""
        found, name = file.stat(), str(file.resolve().relative_to(self._path.parents[1]))
        seen = [found.st_size, found.st_mtime_ns]
        if anew or self._known.get(name, [])[:2] != seen:
            taken = [*seen, digest(file)]
            self._is_new |= self._known.get(name) != taken
            self._known[name] = taken
        return str(self._known[name][2])

    def save(self) -> None:
        """Keep what was learned, where the run can be written."""
        if self._is_new:
            with contextlib.suppress(OSError):
                write_json(self._path, self._known)
                self._is_new = False


def record_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return what is to be recorded of a finished file, or of the files of a folder."""
    record = {}
    for name, file in _files(path):
        found = file.stat()
        record[name] = {"size": found.st_size, "modified_ns": found.st_mtime_ns, "sha256": digest(file)}
    return record


def fingerprint(path: Path) -> str:
    """Return a digest of a file, or of a folder's files with their names."""
    return fingerprint_of(path, {name: digest(file) for name, file in _files(path)})


def fingerprint_of(path: Path, digests: Mapping[str, str]) -> str:
    """Return the digest of a file, or of a folder, from those of its files."""
    if path.is_file():
        return digests[path.name]
    whole = hashlib.sha256()
    for name, found in digests.items():
        whole.update(f"{name}\0{found}\n".encode())
    return whole.hexdigest()


def changes_of(
    path: Path, wanted: str, recorded: Recorded | None, digests: FileDigests, *, written_ns: int, full: bool = False
) -> list[FileChange]:
    """Return which files of an output, or of an input that was frozen, are no longer what they were.

    Args:
        path: the file or folder.
        wanted: its digest then.
        recorded: what was recorded of its files; None by versions that recorded nothing.
        digests: digests that are known already.
        written_ns: when the manifest was written; without a record, only files that are newer are read.
        full: read everything.
    """
    there = dict(_files(path)) if path.exists() else {}
    if recorded is not None:
        missing = [FileChange(_within(path, name), "missing") for name in recorded if name not in there]
        added = [FileChange(file, "added") for name, file in there.items() if name not in recorded]
        changed = [
            FileChange(file, "changed")
            for name, file in there.items()
            if name in recorded and not _is_same(file, recorded[name], digests, full=full)
        ]
        return [*changed, *missing, *added]
    if not there:
        return [FileChange(path, "missing")]
    newer = [file for file in there.values() if file.stat().st_mtime_ns > written_ns]
    if not (newer or full):
        return []
    found = fingerprint_of(path, {name: digests.of(file, anew=full) for name, file in there.items()})
    return [] if found == wanted else [FileChange(file, "changed") for file in newer or [path]]


def _is_same(file: Path, then: Mapping[str, Any], digests: FileDigests, *, full: bool) -> bool:
    found = file.stat()
    if found.st_size != then["size"]:
        return False
    if not full and found.st_mtime_ns == then["modified_ns"]:
        return True
    return digests.of(file, anew=full) == str(then["sha256"])


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield an output's files by their names, in the order of their digest."""
    if path.is_file():
        yield path.name, path
        return
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        yield file.relative_to(path).as_posix(), file


def _within(path: Path, name: str) -> Path:
    return path if path.name == name and not path.is_dir() else path / name
