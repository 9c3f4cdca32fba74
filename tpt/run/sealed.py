"""Small files of a run that no manifest vouches for: each carries the digest of what it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tpt.errors import StaleStageError
from tpt.system.jsonl import read_json, write_json

_SEAL = "seal"


def digest_of(value: Any) -> str:
    """Return a digest of plain JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def write_sealed(path: Path, said: Mapping[str, Any]) -> None:
    """Write a JSON object with its seal, atomically."""
    write_json(path, {**said, _SEAL: digest_of(said)})


def read_sealed(path: Path, *, is_entry: Callable[[str, Any], bool], remedy: str) -> dict[str, Any]:
    """Read a JSON object without its seal.

    A file by an earlier version has no seal. ``is_entry`` says whether a key with its value may be in it; ``remedy`` is
    what may be done besides putting it back, for the message.

    Raises:
        StaleStageError: it was changed since it was written.
        RunError: it is missing or no JSON.
    """
    found = read_json(path)
    said = {key: value for key, value in found.items() if key != _SEAL} if isinstance(found, dict) else {}
    # A damaged name of the seal must not pass for a file without one.
    is_whole = (
        isinstance(found, dict)
        and all(map(is_entry, said, said.values()))
        and found.get(_SEAL, digest_of(said)) == digest_of(said)
    )
    if not is_whole:
        raise StaleStageError(f"{path}: changed since the run began. Put it back as it was{remedy}")
    return said
