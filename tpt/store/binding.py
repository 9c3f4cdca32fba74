"""Where the working copy of a run on an object store lies on this machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from tpt.errors import ConfigError, RunError, RunLockedError
from tpt.run.directory import RunDir
from tpt.run.lock import lock
from tpt.store.objects import Store, open_store
from tpt.store.url import checked, folder_name
from tpt.store.working_copy import WorkingCopy
from tpt.system.jsonl import read_json, write_json
from tpt.system.url import is_url, whole_url

_BINDING = ".tpt-store.json"


@dataclass(frozen=True, slots=True)
class Timing:
    """How often, and for how long; each from the environment variable TPT_STORE_ and its name in capitals."""

    upload_s: float = 30.0
    """Between uploads of what is under way: the most sampling that a lost machine takes with it."""
    lease_s: float = 120.0
    """After how long without a sign of life another machine may write."""
    retry_s: float = 300.0
    """For how long a failing request is tried again."""

    @property
    def tick_s(self) -> float:
        """Return the time between signs of life."""
        return min(self.upload_s, self.lease_s / 4)

    @staticmethod
    def read() -> Timing:
        """Return what the environment says; ConfigError when it is no positive number."""
        given = {}
        for each in fields(Timing):
            if text := os.environ.get(name := f"TPT_STORE_{each.name.upper()}"):
                with contextlib.suppress(ValueError):
                    given[each.name] = float(text)
                if not 0 < given.get(each.name, 0.0) < float("inf"):
                    raise ConfigError(f"{name}={text}: expected a number of seconds above 0")
        return Timing(**given)


@dataclass(frozen=True, slots=True)
class Binding:
    """The store that a working copy belongs to."""

    url: str
    copy_id: str

    def open(self, timing: Timing) -> Store:
        """Open the store."""
        return open_store(self.url, patience_s=timing.retry_s)


def working_copy_of(run: str | Path) -> Path:
    """Return where a run lies on this machine: the path itself, or the working copy of a URL."""
    if not is_url(run):
        return Path(run)
    url = whole_url(run)
    path = cache_folder() / "runs" / folder_name(url) / Path(checked(url).path).name
    binding = path.parent / _BINDING
    if not binding.exists():
        write_json(binding, {"url": url, "copy": secrets.token_hex(8)})
    return path


def downloaded(run: str | Path) -> Path:
    """Return where a run lies on this machine, after downloading what its store has of it but checkpoints.

    A copy that is being written on this machine is newer than the store and is left as it is.

    Raises:
        RunError: the store cannot be read, or holds no run there.
    """
    path = working_copy_of(run)
    store = refresh(path)
    if store is not None and not RunDir(path).exists():
        raise RunError(f"{store.url}: no run there. Start one with: tpt run run.toml --out {store.url}")
    return path


def refresh(path: Path) -> Store | None:
    """Download what a working copy's store has of the run but checkpoints, and return the store; None where there is none.

    Raises:
        RunError: the store cannot be read.
    """
    bound = bound_to(path)
    if bound is None:
        return None
    store = bound.open(Timing.read())
    with contextlib.suppress(RunLockedError), lock(RunDir(path), wait_s=0.0):
        WorkingCopy(RunDir(path), store).download()
    return store


def address_of(path: Path) -> str:
    """Return what a user calls a run directory: its URL if it is the working copy of one, else its path."""
    bound = bound_to(path)
    return str(path) if bound is None else bound.url


def bound_to(path: Path) -> Binding | None:
    """Return the store that a run directory is the working copy of; None when it is none."""
    file = path.parent / _BINDING
    if not file.is_file():
        return None
    table = read_json(file)
    if not isinstance(table, dict) or not all(isinstance(table.get(key), str) for key in ("url", "copy")):
        raise RunError(f"{file}: damaged. Delete the folder {path.parent}; what the store has will be downloaded again")
    return Binding(table["url"], table["copy"])


def share(run: RunDir, *paths: Path) -> None:
    """Upload files that were made beside the stages, such as a report, if the run is on a store that can be written."""
    bound = bound_to(run.path)
    if bound is None:
        return
    try:
        WorkingCopy(run, bound.open(Timing.read())).upload_files(
            path for path in paths if path.is_relative_to(run.path)
        )
    except RunError as error:
        # Who may only read a run can still have its report.
        print(f"kept on this machine only: {error}", file=sys.stderr)


def download_checkpoint(run: RunDir, index: int) -> None:
    """Download a round's checkpoint if it is on the run's store alone."""
    bound = bound_to(run.path)
    if bound is not None and index:
        WorkingCopy(run, bound.open(Timing.read())).download_checkpoint(run.round(index))


def cache_folder() -> Path:
    """Return where working copies lie: TPT_CACHE, or tpt in the user's cache folder."""
    if given := os.environ.get("TPT_CACHE"):
        return Path(given).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "tpt"
