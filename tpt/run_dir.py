"""Where everything of a run lies, the rule of what is done, and the lock that keeps a run to one writer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpt.errors import RunError, RunLockedError, StaleStageError
from tpt.jsonl import digest, read_json, write_json

STAGES = ("think", "prune", "train", "evaluate")
"""The stages of a round, in order; round 0 has only ``evaluate``."""

_ROUND = re.compile(r"round-(0|[1-9][0-9]{0,8})")
_RECORDED_VERSIONS = ("think-prune-train", "torch", "transformers", "trl", "accelerate", "tokenizers", "numpy")


class RunDir:
    """The layout of a run directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.base = self.path / "base.json"
        self.problems = self.path / "problems.jsonl"
        self.heldout = self.path / "heldout.jsonl"
        self.best = self.path / "best"
        self.report = self.path / "report.md"
        self.logs = self.path / "logs"
        self.lock = self.path / "lock"

    def round(self, index: int) -> RoundDir:
        """Return the layout of one round."""
        return RoundDir(self.path / f"round-{index}", index)

    def rounds(self) -> list[RoundDir]:
        """Return the rounds that have been begun, in order."""
        found = [_ROUND.fullmatch(path.name) for path in self.path.glob("round-*") if path.is_dir()]
        return [self.round(index) for index in sorted(int(match[1]) for match in found if match)]

    def require(self) -> None:
        """Raise RunError unless this is a run directory."""
        if not self.config.is_file():
            raise RunError(
                f"{self.path}: not a run directory (no config.toml). Start one with: tpt run run.toml --out {self.path}"
            )


class RoundDir:
    """The layout of one round of a run."""

    def __init__(self, path: Path, index: int) -> None:
        self.path = path
        self.index = index
        self.traces = path / "traces.jsonl"
        self.verdicts = path / "verdicts.jsonl"
        self.surplus = path / "surplus.jsonl"
        self.examples = path / "examples.jsonl"
        self.checkpoint = path / "checkpoint"
        self.evaluate = path / "evaluate"
        self.evaluate_traces = self.evaluate / "traces.jsonl"
        self.evaluate_verdicts = self.evaluate / "verdicts.jsonl"
        self.evaluate_variety = self.evaluate / "variety.jsonl"
        self.record = path / "round.json"

    def manifest(self, stage: str) -> Path:
        """Return where a stage's manifest lies; the stage is done when it is there."""
        return self.path / f"{stage}.json"


def read_manifest(place: RoundDir, stage: str, inputs: Mapping[str, str]) -> dict[str, Any] | None:
    """Return a finished stage's manifest, or None when the stage is not done.

    Raises:
        StaleStageError: the stage was made from other inputs than ``inputs``.
    """
    path = place.manifest(stage)
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
    place: RoundDir,
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
        "round": place.index,
        "inputs": dict(inputs),
        "outputs": {name: fingerprint(path) for name, path in outputs.items()},
        "settings": dict(settings),
        "counts": dict(counts),
        "versions": versions(),
        "machine": {"host": socket.gethostname(), "cpus": os.cpu_count(), "platform": platform.platform()},
    }
    write_json(place.manifest(stage), manifest)
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
    found = {"python": platform.python_version()}
    for name in _RECORDED_VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def log_event(run: RunDir, event: str, **details: Any) -> None:
    """Append a timed line to the run's event log."""
    run.logs.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **details})
    with (run.logs / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock that this process holds."""

    descriptor: int
    """Child processes that inherit it hold the lock too."""
    left_by: str
    """Who held it before and ended without giving it back; "" when nobody did."""


@contextlib.contextmanager
def lock(run: RunDir, *, wait_s: float = 5.0) -> Iterator[HeldLock]:
    """Hold the run's lock.

    The kernel frees it when the last holder dies, however it dies, so a lock file left behind by a killed process
    holds nobody up. Waiting a little lets the orphaned stage of a killed run notice and end.

    Raises:
        RunLockedError: another process holds it.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(run, descriptor, wait_s)
        left_by = _holder(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        try:
            yield HeldLock(descriptor, left_by)
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 1000, 0).decode(errors="replace")


def _acquire(run: RunDir, descriptor: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RunLockedError(
                    f"{run.path}: another process is writing this run: {_holder(descriptor) or 'unknown'}. "
                    "Wait for it, stop it, or use another directory with --out"
                ) from None
            time.sleep(0.1)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise RunError(
                f"{run.lock}: cannot be locked on this file system ({error.strerror}), so two runs could write at once. Use "
                "one with locks: Lustre mounted with -o flock, NFS version 4, or a local disk"
            ) from None
