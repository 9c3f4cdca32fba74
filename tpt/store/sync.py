"""A run's working copy and its objects on a store: what is finished goes there, and comes from there.

Outputs are uploaded before the manifest that names their digests, so whoever sees a manifest finds them. Downloaded,
they are checked against those digests, and the manifest is written last here too.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tpt.errors import RunError
from tpt.model.adapter_folder import find_adapter
from tpt.run.directory import STAGES, RoundDir, RunDir
from tpt.run.manifest import fingerprint, load_manifest
from tpt.store.parts import delete_parts, is_part, prefix_of, restore
from tpt.store.url import Found, Store
from tpt.system.folders import take_place
from tpt.system.jsonl import write_text

_ELSEWHERE = "ELSEWHERE"
"""A checkpoint that holds nothing but this file is on the store alone."""
_FROZEN = ("problems.jsonl", "heldout.jsonl", "base.json")
_OURS = ("lease.json", "probe-")
_TRIES = 3


class _ChangedUnderway(Exception):
    """What a manifest names was replaced while it was being read."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A working copy and the store that it is of."""

    run: RunDir
    store: Store

    def pull(self) -> None:
        """Bring everything but checkpoints that the store has and the working copy lacks.

        Raises:
            RunError: an output is not what its manifest says.
        """
        for attempt in range(_TRIES):
            try:
                self._pull(self.store.list())
                return
            except (FileNotFoundError, _ChangedUnderway) as error:
                if attempt == _TRIES - 1:
                    raise RunError(
                        f"{self.store.url}: {error}: gone or not what its manifest says. If no process is writing this "
                        "run, delete that manifest from the store and from the working copy to have the stage done again"
                    ) from None
                time.sleep(0.5)

    def push_stage(self, place: RoundDir, stage: str, *, check: Callable[[], None]) -> None:
        """Upload a finished stage: outputs first, the manifest last, then delete parts.

        ``check`` is called before every object, and raises when this process may write no more.
        """
        folder = place.evaluate if stage == "evaluate" else place.path
        beside = [self.run.base, self.run.logs / "events.jsonl", folder / "surplus.jsonl"]
        if stage == "train":
            beside.append(folder / "train_log.jsonl")
        for path in [*outputs_of(place, stage).values(), *(path for path in beside if path.is_file())]:
            self._push(path, check)
        check()
        self.store.put(self.name(place.manifest(stage)), place.manifest(stage).read_bytes())
        delete_parts(self.store, place, stage)

    def has_stage(self, place: RoundDir, stage: str) -> bool:
        """Return whether the store has the very manifest that is here."""
        try:
            return self.store.get(self.name(place.manifest(stage))) == place.manifest(stage).read_bytes()
        except FileNotFoundError:
            return False

    def push_files(self, paths: Iterable[Path]) -> None:
        """Upload the files that are there."""
        for path in paths:
            if path.is_file():
                self.store.put(self.name(path), path)

    def push_frozen(self) -> None:
        """Upload what a run begins with, its config last: without one there is no run."""
        there = self.store.list()
        config = self.run.config.read_bytes()
        same = "config.toml" in there and self.store.get("config.toml") == config
        anew = not same and not _rounds(there)
        if anew:
            # Nobody may see the config of another attempt with the problems of this one.
            for name in ("config.toml", "base.json"):
                self.store.delete(name)
        for name in _FROZEN:
            path = self.run.path / name
            if path.is_file() and (anew or self._differs(path, there.get(name))):
                self.store.put(name, path)
        if not same:
            self.store.put("config.toml", config)

    def bring_checkpoint(self, place: RoundDir) -> None:
        """Download a round's checkpoint if it is on the store alone, and those that it is an adapter on.

        Raises:
            RunError: one is not what its manifest says.
        """
        if (place.checkpoint / _ELSEWHERE).exists():
            self._bring_checkpoint(place)
        if (adapter := find_adapter(str(place.checkpoint))) is not None:
            for before in self.run.rounds():
                if before.index < place.index and Path(adapter.base) == before.checkpoint.resolve():
                    self.bring_checkpoint(before)

    def name(self, path: Path) -> str:
        """Return the name of a file's object."""
        return path.relative_to(self.run.path).as_posix()

    def _bring_checkpoint(self, place: RoundDir) -> None:
        prefix = self.name(place.checkpoint) + "/"
        staging = place.checkpoint.with_name("checkpoint.coming")
        shutil.rmtree(staging, ignore_errors=True)
        for name in self.store.list():
            if name.startswith(prefix):
                self.store.download(name, staging / _safe(name.removeprefix(prefix)))
        wanted = load_manifest(place.manifest("train"))["outputs"].get("checkpoint")
        if not staging.is_dir() or fingerprint(staging) != wanted:
            raise RunError(
                f"{self.store.url}/{prefix}: gone or not what {place.manifest('train').name} says. Delete that manifest from "
                "the store and from the working copy to have the round trained again"
            )
        take_place(staging, place.checkpoint)

    def _pull(self, there: dict[str, Found]) -> None:
        # An upload that was interrupted before its first byte can leave an empty object. Of these files, none is empty.
        there = {name: found for name, found in there.items() if found.size or name.endswith(".jsonl")}
        if "config.toml" not in there:
            return
        for name in (*_FROZEN, "config.toml"):
            if name in there and (there[name].size < 2**20 or self._differs(self.run.path / name, there[name])):
                self.store.download(name, self.run.path / name)
        managed: set[str] = {*_FROZEN, "config.toml"}
        for index in _rounds(there):
            place = self.run.round(index)
            for stage in STAGES:
                managed |= {self.name(path) for path in [place.manifest(stage), *outputs_of(place, stage).values()]}
                self._pull_stage(place, stage, there)
        for name, found in there.items():
            if name not in managed and "/checkpoint/" not in name and not is_part(name) and not name.startswith(_OURS):
                path = self.run.path / _safe(name)
                if not path.exists() or path.stat().st_mtime < found.changed.timestamp():
                    self.store.download(name, path)

    def _pull_stage(self, place: RoundDir, stage: str, there: dict[str, Found]) -> None:
        manifest = place.manifest(stage)
        if self.name(manifest) not in there:
            if (place.checkpoint / _ELSEWHERE).exists() and stage == "train":
                # Its manifest was deleted from the store, to have the round trained again.
                manifest.unlink(missing_ok=True)
                shutil.rmtree(place.checkpoint)
            if stage in ("think", "evaluate") and not manifest.exists():
                restore(
                    self.store,
                    there,
                    place.evaluate if stage == "evaluate" else place.path,
                    prefix_of(place, stage),
                )
            return
        content = self.store.get(self.name(manifest))
        outputs = outputs_of(place, stage)
        if manifest.exists() and manifest.read_bytes() == content and all(path.exists() for path in outputs.values()):
            return
        try:
            digests = {str(name): str(found) for name, found in json.loads(content)["outputs"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise RunError(f"{self.store.url}/{self.name(manifest)}: damaged: not a stage's manifest") from None
        manifest.unlink(missing_ok=True)
        for name, path in outputs.items():
            if name in digests:
                self._pull_output(path, digests[name])
        write_text(manifest, content.decode())

    def _pull_output(self, path: Path, wanted: str) -> None:
        if path.exists() and fingerprint(path) == wanted:
            return
        if path.name == "checkpoint":
            shutil.rmtree(path, ignore_errors=True)
            write_text(path / _ELSEWHERE, f"On the store: {self.store.url}/{self.name(path)}\n")
            return
        coming = path.with_name(path.name + ".coming")
        self.store.download(self.name(path), coming)
        if fingerprint(coming) != wanted:
            raise _ChangedUnderway(self.name(path))
        coming.replace(path)

    def _push(self, path: Path, check: Callable[[], None]) -> None:
        if not path.is_dir():
            check()
            self.store.put(self.name(path), path)
            return
        files = {self.name(each): each for each in sorted(path.rglob("*")) if each.is_file()}
        check()
        # A file that an interrupted attempt left there would change the folder's digest.
        for name in self.store.list():
            if name.startswith(self.name(path) + "/") and name not in files:
                self.store.delete(name)
        for name, each in files.items():
            check()
            self.store.put(name, each)

    def _differs(self, path: Path, found: Found | None) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return found is None or path.stat().st_size != found.size
        return True


def outputs_of(place: RoundDir, stage: str) -> dict[str, Path]:
    """Return what a stage's manifest names, and where it lies."""
    outputs = {
        "think": {"traces": place.traces, "verdicts": place.verdicts},
        "prune": {"examples": place.examples},
        "train": {"checkpoint": place.checkpoint},
        "evaluate": {
            "traces": place.evaluate_traces,
            "verdicts": place.evaluate_verdicts,
            "diversity": place.evaluate_diversity,
        },
    }
    return outputs[stage]


def _rounds(there: dict[str, Found]) -> list[int]:
    folders = {name.partition("/")[0] for name in there if name.startswith("round-") and "/" in name}
    numbers = [folder.removeprefix("round-") for folder in folders]
    return sorted(int(each) for each in numbers if each.isascii() and each.isdigit() and len(each) < 10)


def _safe(name: str) -> str:
    """Return an object's name as a path below a folder; RunError when it would lead out of it."""
    if os.path.isabs(name) or ".." in name.split("/") or "\0" in name:
        raise RunError(f"{name!r}: an object of this name cannot be part of a run. Delete it from the store")
    return name
