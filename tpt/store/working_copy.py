"""A run's working copy and its objects on a store: what is finished goes there, and comes from there.

Outputs are uploaded before the manifest that names their digests, so whoever sees a manifest finds them. Downloaded,
they are checked against those digests, and the manifest is written last here too.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tpt.config.also_section import ALSO
from tpt.errors import RunError
from tpt.model.adapter_folder import find_adapter
from tpt.run.directory import STAGES, RoundDir, RunDir
from tpt.run.manifest import load_manifest
from tpt.run.outputs import fingerprint
from tpt.store.objects import Store
from tpt.store.part_uploads import delete_parts, is_part, restore, sampled_into, samples
from tpt.system.folders import take_place
from tpt.system.jsonl import write_text

if TYPE_CHECKING:
    from obstore import ObjectMeta

_ELSEWHERE = "ELSEWHERE"
"""A checkpoint that holds nothing but this file is on the store alone."""
_FROZEN = ("problems.jsonl", "heldout.jsonl", "frozen.json", "base.json")
_OURS = ("lease.json", "probe-")
_TRIES = 3


class _ChangedUnderway(Exception):
    """What a manifest names was replaced while it was being read."""


@dataclass(frozen=True, slots=True)
class WorkingCopy:
    """A working copy and the store that it is of."""

    run: RunDir
    store: Store

    def download(self) -> None:
        """Download everything but checkpoints that the store has and the working copy lacks.

        Raises:
            RunError: an output is not what its manifest says.
        """
        for attempt in range(_TRIES):
            try:
                self._download(self.store.list())
                return
            except (FileNotFoundError, _ChangedUnderway) as error:
                if attempt == _TRIES - 1:
                    raise RunError(
                        f"{self.store.url}: {error}: gone or not what its manifest says. If no process is writing this "
                        "run, delete that manifest from the store and from the working copy to have the stage done again"
                    ) from None
                time.sleep(0.5)

    def upload_stage(self, round_dir: RoundDir, stage: str, *, check: Callable[[], None]) -> None:
        """Upload a finished stage: outputs first, the manifest last, then delete parts.

        ``check`` is called before every object, and raises when this process may write no more.
        """
        folder, manifest = sampled_into(round_dir, stage), round_dir.manifest(stage)
        beside = [self.run.base, self.run.rehearsal, self.run.events, self.run.log, folder / "surplus.jsonl"]
        if stage == "train":
            beside.append(folder / "train_log.jsonl")
        outputs = round_dir.outputs(stage)
        named = [outputs[name] for name in load_manifest(manifest)["outputs"]]
        for path in [*named, *(path for path in beside if path.is_file())]:
            self._upload(path, check)
        check()
        self.store.put(self.name(manifest), manifest.read_bytes())
        delete_parts(self.store, self.name(folder))

    def has_stage(self, round_dir: RoundDir, stage: str) -> bool:
        """Return whether the store has the very manifest that is here."""
        try:
            return self.store.get(self.name(round_dir.manifest(stage))) == round_dir.manifest(stage).read_bytes()
        except FileNotFoundError:
            return False

    def upload_files(self, paths: Iterable[Path]) -> None:
        """Upload the files that are there."""
        for path in paths:
            if path.is_file():
                self.store.put(self.name(path), path)

    def upload_frozen(self) -> None:
        """Upload what a run begins with, its config last: without one there is no run."""
        there = self.store.list()
        config = self.run.config.read_bytes()
        same = "config.toml" in there and self.store.get("config.toml") == config
        anew = not same and not any(re.fullmatch(r"round-[0-9]+/[^/]+\.json", name) for name in there)
        if anew:
            # Nobody may see the config of another attempt with the problems of this one, or go on with its samples.
            sampled = [name for name in there if name.startswith("round-") and not self.run.rounds()]
            for name in ("config.toml", "base.json", *sampled):
                self.store.delete(name)
        further = [self.name(path) for path in sorted((self.run.path / "also").glob("*.jsonl"))]
        for name in (*_FROZEN, *further):
            path = self.run.path / name
            if path.is_file() and (anew or self._differs(path, there.get(name))):
                self.store.put(name, path)
        if not same:
            self.store.put("config.toml", config)

    def download_checkpoint(self, round_dir: RoundDir) -> None:
        """Download a round's checkpoint if it is on the store alone, and those that it is an adapter on.

        Raises:
            RunError: one is not what its manifest says.
        """
        if (round_dir.checkpoint / _ELSEWHERE).exists():
            self._download_checkpoint(round_dir)
        if (adapter := find_adapter(str(round_dir.checkpoint))) is not None:
            for before in self.run.rounds():
                if before.index < round_dir.index and Path(adapter.base) == before.checkpoint.resolve():
                    self.download_checkpoint(before)

    def name(self, path: Path) -> str:
        """Return the name of a file's object."""
        return path.relative_to(self.run.path).as_posix()

    def _download_checkpoint(self, round_dir: RoundDir) -> None:
        prefix = self.name(round_dir.checkpoint) + "/"
        staging = round_dir.checkpoint.with_name("checkpoint.coming")
        shutil.rmtree(staging, ignore_errors=True)
        for name in self.store.list():
            if name.startswith(prefix):
                self.store.download(name, staging / name.removeprefix(prefix))
        wanted = load_manifest(round_dir.manifest("train"))["outputs"].get("checkpoint")
        if not staging.is_dir() or fingerprint(staging) != wanted:
            raise RunError(
                f"{self.store.url}/{prefix}: gone or not what {round_dir.manifest('train').name} says. Delete that manifest from "
                "the store and from the working copy to have the round trained again"
            )
        take_place(staging, round_dir.checkpoint)

    def _download(self, there: dict[str, ObjectMeta]) -> None:
        # An upload that was interrupted before its first byte can leave an empty object. Of these files, none is empty.
        there = {name: found for name, found in there.items() if found["size"] or name.endswith(".jsonl")}
        if "config.toml" not in there:
            return
        for name in (*_FROZEN, "config.toml"):
            if name in there and (there[name]["size"] < 2**20 or self._differs(self.run.path / name, there[name])):
                self.store.download(name, self.run.path / name)
        managed: set[str] = {*_FROZEN, "config.toml"}
        for index in _rounds(there):
            round_dir = self.run.round(index)
            for stage in (*STAGES, *_also_stages(there, index)):
                paths = [round_dir.manifest(stage), *round_dir.outputs(stage).values()]
                managed.update(map(self.name, paths))
                self._download_stage(round_dir, stage, there)
        for name, found in there.items():
            if name not in managed and "/checkpoint/" not in name and not is_part(name) and not name.startswith(_OURS):
                path = self.run.path / name
                if not path.exists() or path.stat().st_mtime < found["last_modified"].timestamp():
                    self.store.download(name, path)

    def _download_stage(self, round_dir: RoundDir, stage: str, there: dict[str, ObjectMeta]) -> None:
        manifest = round_dir.manifest(stage)
        if self.name(manifest) not in there:
            if (round_dir.checkpoint / _ELSEWHERE).exists() and stage == "train":
                # Its manifest was deleted from the store, to have the round trained again.
                manifest.unlink(missing_ok=True)
                shutil.rmtree(round_dir.checkpoint)
            if samples(stage) and not manifest.exists():
                folder = sampled_into(round_dir, stage)
                restore(self.store, there, folder, self.name(folder))
            return
        content = self.store.get(self.name(manifest))
        try:
            digests = {str(name): str(found) for name, found in json.loads(content)["outputs"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise RunError(f"{self.store.url}/{self.name(manifest)}: damaged: not a stage's manifest") from None
        outputs = {name: path for name, path in round_dir.outputs(stage).items() if name in digests}
        if manifest.exists() and manifest.read_bytes() == content and all(path.exists() for path in outputs.values()):
            return
        manifest.unlink(missing_ok=True)
        for name, path in outputs.items():
            self._download_output(path, digests[name])
        write_text(manifest, content.decode())

    def _download_output(self, path: Path, wanted: str) -> None:
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

    def _upload(self, path: Path, check: Callable[[], None]) -> None:
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

    def _differs(self, path: Path, found: ObjectMeta | None) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return found is None or path.stat().st_size != found["size"]
        return True


def _also_stages(there: dict[str, ObjectMeta], index: int) -> list[str]:
    """Return the stages that scored further problems in a round, or have begun to."""
    names = [name.removeprefix(f"round-{index}/") for name in there if name.startswith(f"round-{index}/{ALSO}")]
    return sorted({name.partition("/")[0].removesuffix(".json") for name in names})


def _rounds(there: dict[str, ObjectMeta]) -> list[int]:
    folders = {name.partition("/")[0] for name in there if name.startswith("round-") and "/" in name}
    numbers = [folder.removeprefix("round-") for folder in folders]
    return sorted(int(each) for each in numbers if each.isascii() and each.isdigit() and len(each) < 10)
