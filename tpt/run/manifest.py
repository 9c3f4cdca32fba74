"""A stage's manifest: what it was made from, what it left, and whether it is done."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpt.errors import RunError, StaleStageError
from tpt.run.directory import RoundDir
from tpt.system.jsonl import digest, read_json, write_json
from tpt.system.version import __version__

_RECORDED_VERSIONS = ("torch", "transformers", "trl", "accelerate", "tokenizers", "numpy")


def read_manifest(round_dir: RoundDir, stage: str, inputs: Mapping[str, str]) -> dict[str, Any] | None:
    """Return a finished stage's manifest, or None when the stage is not done.

    Raises:
        StaleStageError: the stage was made from other inputs than ``inputs``.
    """
    path = round_dir.manifest(stage)
    if not path.exists():
        return None
    manifest = load_manifest(path)
    for name, found in inputs.items():
        if manifest["inputs"].get(name) != found:
            raise StaleStageError(
                f"{path}: {stage} was made from another {name} than the one there now "
                f"({str(manifest['inputs'].get(name))[:12]} then, {found[:12]} now). To make it again, delete {path} "
                f"and the manifests of the stages after it; to keep it, use a new run directory"
            )
    return manifest


def load_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest; RunError when it is missing or not what a stage wrote."""
    manifest: dict[str, Any] = read_json(path)
    parts = ("inputs", "outputs", "counts")
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(part), dict) for part in parts):
        raise RunError(f"{path}: damaged: not a stage's manifest. Delete it to have it made again")
    return manifest


def write_manifest(
    round_dir: RoundDir,
    stage: str,
    *,
    inputs: Mapping[str, str],
    outputs: Mapping[str, Path],
    settings: Mapping[str, Any],
    counts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write a stage's manifest, the last thing a stage does, and return it."""
    manifest = {
        "stage": stage,
        "round": round_dir.index,
        "inputs": dict(inputs),
        "outputs": {name: fingerprint(path) for name, path in outputs.items()},
        "settings": dict(settings),
        "counts": dict(counts),
        "versions": versions(),
        "machine": {"host": socket.gethostname(), "cpus": os.cpu_count(), "platform": platform.platform()},
    }
    write_json(round_dir.manifest(stage), manifest)
    return manifest


def require_output(manifest_path: Path, name: str, path: Path) -> str:
    """Return the digest of an earlier stage's output after checking that it is still what that stage wrote."""
    recorded = str(load_manifest(manifest_path)["outputs"].get(name))
    if not path.exists():
        raise RunError(
            f"{path}: missing, though {manifest_path} says it was written. Delete {manifest_path} to make it again"
        )
    found = fingerprint(path)
    if found != recorded:
        raise StaleStageError(
            f"{path}: changed since {manifest_path} was written ({recorded[:12]} then, {found[:12]} now). "
            f"Put it back, or delete {manifest_path} to make it again"
        )
    return recorded


def fingerprint(path: Path) -> str:
    """Return a digest of a file, or of a folder's files with their names."""
    if path.is_file():
        return digest(path)
    whole = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        whole.update(f"{file.relative_to(path).as_posix()}\0{digest(file)}\n".encode())
    return whole.hexdigest()


def digest_of(value: Any) -> str:
    """Return a digest of plain JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on, as far as they are installed."""
    found = {"python": platform.python_version(), "think-prune-train": __version__}
    for name in _RECORDED_VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
