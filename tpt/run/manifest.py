"""A stage's manifest: what it was made from, what it left, and whether it is done."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tpt.config.also_section import ALSO
from tpt.errors import RunError, StaleStageError
from tpt.run.directory import RoundDir, RunDir
from tpt.run.outputs import FileChange, FileDigests, changes_of, fingerprint, fingerprint_of, record_of
from tpt.run.sealed import digest_of, read_sealed, write_sealed
from tpt.system.jsonl import read_json, to_table, write_json
from tpt.system.version import __version__

CHECKPOINT = "checkpoint"
"""The one output that may be deleted, to save space."""
_TOLD = 10
"""Changed files that a message names."""
_RECORDED_VERSIONS = ("torch", "transformers", "trl", "accelerate", "tokenizers", "numpy")


def read_manifest(round_dir: RoundDir, stage: str, inputs: Mapping[str, str]) -> dict[str, Any] | None:
    """Return a finished stage's manifest, or None when the stage is not done.

    Raises:
        StaleStageError: the stage was made from other inputs than ``inputs``, or what it left was changed since.
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
    require_unchanged(round_dir, stage)
    return manifest


def load_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        RunError: it is missing or not what a stage wrote.
        StaleStageError: it was changed since.
    """
    manifest: dict[str, Any] = read_json(path)
    parts = ("inputs", "outputs", "counts")
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(part), dict) for part in parts):
        raise RunError(f"{path}: damaged: not a stage's manifest. Delete it to have it made again")
    # Those of earlier versions have neither records of their files nor a digest of their own.
    if "files" in manifest and manifest.get("digest") != _own_digest(manifest):
        raise StaleStageError(
            f"{path}: changed since the stage wrote it. Put it back as it was, or delete it to have the stage done again"
        )
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
    files = {name: record_of(path) for name, path in outputs.items()}
    manifest = {
        "stage": stage,
        "round": round_dir.index,
        "inputs": dict(inputs),
        "outputs": {name: fingerprint_of(path, _digests(files[name])) for name, path in outputs.items()},
        "files": files,
        "settings": dict(settings),
        "counts": dict(counts),
        "versions": versions(),
        "machine": {"host": socket.gethostname(), "cpus": os.cpu_count(), "platform": platform.platform()},
    }
    manifest["digest"] = _own_digest(manifest)
    write_json(round_dir.manifest(stage), manifest)
    return manifest


def finished_stages(round_dir: RoundDir) -> list[str]:
    """Return the stages of a round whose manifests are there, those that score further problems last."""
    further = sorted(path.stem for path in round_dir.path.glob(f"{ALSO}*.json"))
    return [stage for stage in (*round_dir.stages, *further) if round_dir.manifest(stage).exists()]


def changed_files(round_dir: RoundDir, stage: str, *, full: bool = False) -> list[FileChange]:
    """Return which files of a finished stage are no longer what it left, or read of the run's frozen problems.

    Size and time of change are looked at first, the content only where these differ; ``full``: all is read. A checkpoint
    that was deleted is no change.

    Raises:
        RunError: the manifest is damaged.
    """
    path = round_dir.manifest(stage)
    try:
        manifest = load_manifest(path)
    except StaleStageError:
        return [FileChange(path, "changed")]
    digests, written_ns = FileDigests.of_run(round_dir.path.parent), path.stat().st_mtime_ns
    found = []
    for names, paths in (("outputs", round_dir.outputs(stage)), ("inputs", round_dir.frozen_inputs(stage))):
        for name, wanted in manifest[names].items():
            if name not in paths:
                continue
            recorded = manifest.get("files", {}).get(name) if names == "outputs" else None
            changes = changes_of(paths[name], wanted, recorded, digests, written_ns=written_ns, full=full)
            if name != CHECKPOINT or checkpoint_is_here(round_dir):
                found += changes
    digests.save()
    return found


def checkpoint_is_here(round_dir: RoundDir) -> bool:
    """Return whether anything is left of a round's checkpoint; a store may keep it elsewhere."""
    return (round_dir.checkpoint / "config.json").exists() or any(round_dir.checkpoint.glob("*.safetensors"))


def require_unchanged(round_dir: RoundDir, *stages: str) -> None:
    """Raise StaleStageError where the files of a round's stages, as far as these are finished, were changed since."""
    run_path, finished = round_dir.path.parent, [each for each in stages if round_dir.manifest(each).exists()]
    found = [(stage, change) for stage in finished for change in changed_files(round_dir, stage)]
    if found:
        told = [
            f"  {change.path.relative_to(run_path)}, of the {stage} stage of round {round_dir.index}: {change.how}"
            for stage, change in found[:_TOLD]
        ]
        told += [f"  and {len(found) - _TOLD} more"] * (len(found) > _TOLD)
        lines = "\n".join(told)
        raise StaleStageError(
            f"{run_path}: files of finished stages were changed since:\n{lines}\nPut them back as they were, or delete "
            f"{round_dir.manifest(found[0][0])} and the manifests of the stages after it to have them done again. "
            f"Everything is checked by: tpt verify-run {run_path}"
        )


def record_frozen(run: RunDir) -> None:
    """Keep what the frozen problems are that no record is kept of yet: a stage may read them long after the run began."""
    known = _frozen(run)
    new = {name: record_of(path) for name, path in run.problem_files().items() if name not in known}
    if new:
        write_sealed(run.frozen, {**known, **new})


def require_frozen(run: RunDir, *, full: bool = False) -> None:
    """Raise StaleStageError where frozen problems were changed since; runs of earlier versions kept no record of them."""
    digests = FileDigests.of_run(run.path)
    for name, record in _frozen(run).items():
        for path, how in changes_of(run.path / name, "", record, digests, written_ns=0, full=full):
            raise StaleStageError(
                f"{path}: {how} since the run began. Put it back as it was, or begin anew in another directory"
            )
    digests.save()


def _frozen(run: RunDir) -> dict[str, Any]:
    if not run.frozen.exists():
        return {}
    return read_sealed(
        run.frozen,
        is_entry=lambda name, record: run.is_problem_file(name) and isinstance(record, dict),
        remedy=", or delete it to take the problems as they are",
    )


def require_unchanged_run(run: RunDir) -> None:
    """Raise StaleStageError where frozen problems, or a file of any finished stage of a run, were changed since."""
    for round_dir in run.rounds():
        require_unchanged(round_dir, *finished_stages(round_dir))
    require_frozen(run)


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


def _own_digest(manifest: Mapping[str, Any]) -> str:
    # As it reads on disk: keys are text there, and tuples lists.
    return digest_of(
        {key: value for key, value in json.loads(json.dumps(to_table(manifest))).items() if key != "digest"}
    )


def _digests(record: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: str(each["sha256"]) for name, each in record.items()}


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on, as far as they are installed."""
    found = {"python": platform.python_version(), "think-prune-train": __version__}
    for name in _RECORDED_VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
