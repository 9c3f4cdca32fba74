"""An object store behind a URL: put, get, list, delete, each tried again while the network fails."""

from __future__ import annotations

import hashlib
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from tpt.errors import RunError
from tpt.system.child_python import is_installed

R = TypeVar("R")
_CHUNK = 8 * 2**20
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""One slash suffices: a URL that was made a path has lost the other."""
_SECRET = ("key", "secret", "token", "password", "credential", "signature")
_ARROW = ("s3", "gs", "gcs", "abfs", "abfss")
_FORBIDDEN = re.compile(
    "ACCESS_DENIED|INVALID_ACCESS_KEY|INVALID_CLIENT_TOKEN|SIGNATURE|EXPIRED_TOKEN|status.{0,12}40[13]|Forbidden"
    "|Permission denied",
    re.I,
)
_NO_BUCKET = re.compile("NO_SUCH_BUCKET|bucket.{0,40}not (exist|found)", re.I)
_NO_LOGIN = re.compile("NoCredentials|could not find credentials|No credentials|no valid credentials", re.I)


def is_url(place: str | Path) -> bool:
    """Return whether a place is a URL and not a path."""
    return bool(_SCHEME.match(str(place)))


def whole_url(place: str | Path) -> str:
    """Return a URL with both slashes after its scheme."""
    return _SCHEME.sub(r"\1://", str(place), count=1)


@dataclass(frozen=True, slots=True)
class Found:
    """An object of a store."""

    size: int
    changed: datetime
    """By the store's clock."""


@dataclass(frozen=True, slots=True)
class Store:
    """The objects below one URL; names are relative, with slashes."""

    url: str
    patience_s: float
    """For how long a failing request is tried again."""
    _files: Any
    _root: str
    _hurried: threading.Event = field(default_factory=threading.Event)

    def put(self, name: str, content: bytes | Path) -> None:
        """Make an object; one of that name is replaced.

        Killed, it is made whole or not at all; interrupted from the keyboard, what was written may become the object.
        """
        self._try(f"write {name}", lambda: self._put(name, content))

    def get(self, name: str) -> bytes:
        """Return an object's content.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        return self._try(f"read {name}", lambda: self._get(name))

    def download(self, name: str, path: Path) -> None:
        """Write an object's content to a file, which appears when it is whole; FileNotFoundError as with ``get``."""
        self._try(f"read {name}", lambda: self._download(name, path))

    def list(self) -> dict[str, Found]:
        """Return every object by its name."""
        return self._try("list the objects", self._list)

    def changed(self, name: str) -> datetime:
        """Return when an object was written, by the store's clock."""
        return self._try(f"look at {name}", lambda: self._changed(name))

    def delete(self, name: str) -> None:
        """Delete an object if it is there."""
        self._try(f"delete {name}", lambda: self._delete(name))

    def hurry(self) -> None:
        """From now on try nothing again: the process is about to end."""
        self._hurried.set()

    def _put(self, name: str, content: bytes | Path) -> None:
        with self._files.open_output_stream(f"{self._root}/{name}", compression=None) as stream:
            if isinstance(content, bytes):
                stream.write(content)
                return
            with content.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    stream.write(chunk)

    def _get(self, name: str) -> bytes:
        with self._files.open_input_stream(f"{self._root}/{name}", compression=None) as stream:
            content: bytes = stream.read()
            return content

    def _download(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        try:
            with (
                self._files.open_input_stream(f"{self._root}/{name}", compression=None) as stream,
                partial.open("wb") as file,
            ):
                while chunk := stream.read(_CHUNK):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _list(self) -> dict[str, Found]:
        from pyarrow.fs import FileSelector

        chosen = FileSelector(self._root, recursive=True, allow_not_found=True)
        files = [each for each in self._files.get_file_info(chosen) if each.is_file]
        # Some file systems put a slash before the name that was asked for.
        return {each.path.lstrip("/").removeprefix(self._root + "/"): Found(each.size, each.mtime) for each in files}

    def _changed(self, name: str) -> datetime:
        found = self._files.get_file_info(f"{self._root}/{name}").mtime
        if not isinstance(found, datetime):
            raise FileNotFoundError(name)
        return found

    def _delete(self, name: str) -> None:
        try:
            self._files.delete_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return

    def _try(self, what: str, call: Callable[[], R]) -> R:
        deadline, pause_s = time.monotonic() + self.patience_s, 0.5
        told = False
        while True:
            try:
                return call()
            except FileNotFoundError:
                raise
            except OSError as error:
                final = _FORBIDDEN.search(str(error)) or _NO_BUCKET.search(str(error))
                if final or self._hurried.is_set() or time.monotonic() + pause_s > deadline:
                    self._explain(what, error)
                if not told:
                    print(f"{self.url}: cannot {what} just now; trying again", file=sys.stderr)
                told = True
                self._hurried.wait(pause_s * random.uniform(0.5, 1))
                pause_s = min(2 * pause_s, 30)

    def _explain(self, what: str, error: OSError) -> NoReturn:
        raise RunError(f"{self.url}: cannot {what}: {_reason(str(error), self.patience_s)}") from None


def _reason(said: str, patience_s: float) -> str:
    if _NO_BUCKET.search(said):
        hint = "the bucket does not exist. Make it, or mend the URL"
    elif _FORBIDDEN.search(said) or _NO_LOGIN.search(said):
        hint = (
            "no right to. Credentials come from the environment or the provider's usual files (for S3: "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, the machine's role) and must allow list, get, put "
            "and delete below this URL"
        )
    else:
        hint = (
            f"the store did not answer as it should, tried for {patience_s:.0f} s. Check the network and the endpoint; "
            "what is finished is kept, so run the same command again then"
        )
    return f"{hint}. The store said: {said:.300}"


def open_store(url: str, *, patience_s: float) -> Store:
    """Open the store behind a URL; nothing is asked of it yet.

    Raises:
        RunError: the URL has credentials in it, is of an unknown scheme, or its package is missing.
    """
    parts = checked(url)
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    from pyarrow.fs import FileSystem

    try:
        if parts.scheme in _ARROW:
            files, root = FileSystem.from_uri(url)
            return Store(shown, patience_s, files, str(root).rstrip("/"))
        files = _from_fsspec(parts.scheme)
    except OSError as error:
        raise RunError(f"{shown}: cannot be opened: {_reason(str(error), 0)}") from None
    except (ValueError, NotImplementedError) as error:
        raise RunError(f"{shown}: cannot be opened as an object store: {error}") from None
    return Store(shown, patience_s, files, f"{parts.netloc}{parts.path}".rstrip("/"))


def checked(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        RunError: it holds credentials, or no bucket or no name in it.
    """
    parts = urlsplit(url)
    secrets = [key for key, _ in parse_qsl(parts.query) if any(word in key.lower() for word in _SECRET)]
    if parts.username or parts.password or secrets:
        # Not shown: the message may end up in a log.
        raise RunError(
            f"{parts.scheme}://…: the URL holds credentials, which would end up in logs. Leave them out; they are "
            "taken from the environment (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws, a role)"
        )
    if not parts.netloc or not parts.path.strip("/"):
        raise RunError(f"{url}: expected a bucket and a name in it, such as s3://bucket/runs/first")
    return parts


def copy_name(url: str) -> str:
    """Return the name of a URL's own folder on this machine; the order of query keys makes no difference."""
    parts = checked(url)
    same = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}?{sorted(parse_qsl(parts.query))}"
    return hashlib.sha256(same.encode()).hexdigest()[:16]


def _from_fsspec(scheme: str) -> Any:
    if not is_installed("fsspec"):
        raise RunError(
            f"{scheme}://: of the schemes without a package only {', '.join(_ARROW)} work. pip install fsspec"
        )
    import fsspec  # type: ignore[import-untyped]
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        return PyFileSystem(FSSpecHandler(fsspec.filesystem(scheme)))
    except (ImportError, ValueError) as error:
        raise RunError(
            f"{scheme}://: cannot be used for runs: {error}. Known without a package: {', '.join(_ARROW)}; others as "
            "fsspec knows them, once their package is installed"
        ) from None
