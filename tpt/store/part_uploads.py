"""Records under way on an object store, where nothing can be appended to: each upload is a part, an object of its own.

A part holds whole lines, and the parts of one generation follow one another. Every process begins a generation of its
own, with the file's beginning; the longest generation is the one that counts, whenever a process is killed.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tpt.config.also_section import ALSO
from tpt.run.directory import RoundDir
from tpt.store.objects import Store

if TYPE_CHECKING:
    from obstore import ObjectMeta

_PART = re.compile(r"(.+)\.part-([0-9]{4})-([0-9]{6})")
_MOST = 32 * 2**20
"""Bytes of a part; what is longer goes into several."""


class PartUploads:
    """Uploads what is appended to one record file; the file may be replaced under it, and is then finished with."""

    def __init__(self, store: Store, path: Path, name: str, there: dict[str, ObjectMeta]) -> None:
        self._store = store
        self._path = path
        self._name = name
        self._file: BinaryIO | None = None
        self._offset = 0
        self._next = 0
        self._generation = max(_generations(name, there), default=-1) + 1

    def upload(self, end: int) -> bool:
        """Upload a part of the whole lines before ``end`` that are not there yet; return whether there were any."""
        if self._file is None or self._offset >= end:
            return False
        self._file.seek(self._offset)
        found = self._file.read(min(_MOST, end - self._offset))
        whole = found[: found.rfind(b"\n") + 1]
        if not whole:
            return False
        self._store.put(f"{self._name}.part-{self._generation:04}-{self._next:06}", whole)
        self._offset += len(whole)
        self._next += 1
        return True

    def end(self) -> int:
        """Return how long the file is; 0 while it is not there."""
        if self._file is None:
            if not self._path.exists():
                return 0
            # Kept open: when the finished file replaces it, this one can still be read.
            self._file = self._path.open("rb")
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def restore(store: Store, there: dict[str, ObjectMeta], folder: Path, prefix: str) -> None:
    """Put the records under way into ``folder`` unless as much and more was sampled here."""
    traces, verdicts = folder / "traces.jsonl", folder / "verdicts.jsonl"
    parts = _longest(f"{prefix}/{traces.name}", there)
    here = [path.stat().st_size for path in (traces, folder / "surplus.jsonl") if path.exists()]
    if not parts or (traces.exists() and sum(here) >= _size(parts, there)):
        return
    folder.mkdir(parents=True, exist_ok=True)
    coming_traces, coming_verdicts = traces.with_name("traces.coming"), verdicts.with_name("verdicts.coming")
    _join(store, parts, coming_traces)
    _join(store, _longest(f"{prefix}/{verdicts.name}", there), coming_verdicts)
    _cut(coming_verdicts, coming_traces)
    # At no moment do verdicts lie beside traces that they are not of.
    verdicts.unlink(missing_ok=True)
    coming_traces.replace(traces)
    coming_verdicts.replace(verdicts)


def delete_parts(store: Store, prefix: str) -> None:
    """Delete the parts of the files of a folder."""
    for name in store.list():
        if (match := _PART.fullmatch(name)) and match[1].rpartition("/")[0] == prefix:
            store.delete(name)


def sampled_into(round_dir: RoundDir, stage: str) -> Path:
    """Return the folder that a sampling stage writes to."""
    return round_dir.also(stage).path if scores(stage) else round_dir.path


def samples(stage: str) -> bool:
    """Return whether a stage samples."""
    return stage == "think" or scores(stage)


def scores(stage: str) -> bool:
    """Return whether a stage samples to score the round's model."""
    return stage == "evaluate" or stage.startswith(ALSO)


def is_part(name: str) -> bool:
    """Return whether an object is a part of a file."""
    return bool(_PART.fullmatch(name))


def _generations(name: str, there: dict[str, ObjectMeta]) -> dict[int, list[str]]:
    """Return the names of a file's parts, in order, by generation."""
    found: dict[int, list[str]] = {}
    for each in sorted(there):
        if (match := _PART.fullmatch(each)) and match[1] == name:
            found.setdefault(int(match[2]), []).append(each)
    return found


def _longest(name: str, there: dict[str, ObjectMeta]) -> list[str]:
    """Return the names of the parts of a file's longest generation."""
    return max(_generations(name, there).values(), key=lambda parts: _size(parts, there), default=[])


def _size(parts: list[str], there: dict[str, ObjectMeta]) -> int:
    return sum(there[each]["size"] for each in parts)


def _join(store: Store, parts: list[str], path: Path) -> None:
    with path.open("wb") as file:
        for each in parts:
            file.write(store.get(each))
        file.flush()
        os.fsync(file.fileno())


def _cut(verdicts: Path, traces: Path) -> None:
    """End the verdicts before the first that is not of the trace with its number; those traces are judged anew."""
    kept = 0
    with traces.open("rb") as sampled, verdicts.open("rb+") as judged:
        for trace, verdict in zip(sampled, judged, strict=False):
            key = _key(verdict)
            if key is None or key != _key(trace):
                break
            kept += len(verdict)
        judged.truncate(kept)


def _key(line: bytes) -> tuple[str, int] | None:
    try:
        record = json.loads(line)
        return str(record["problem_id"]), int(record["sample"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
