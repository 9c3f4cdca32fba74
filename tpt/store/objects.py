"""The objects below a URL: put, swap, get, list and delete; obstore speaks to the store and retries."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import SplitResult

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from tpt.errors import RunError
from tpt.store.url import checked, store_options
from tpt.system.folders import beside
from tpt.system.url import require_no_url

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

R = TypeVar("R")
_PART = 8 * 2**20
"""Bytes of a request; longer files are uploaded in parts of it."""
_UNDER_WAY = 4
"""Parts of a file under way at the same time; with their size, what an upload holds in memory."""
_MOST_PARTS = 10_000
_TOLD_AFTER_S = 5.0
_AT_ONCE_S = 3.0
_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "abfs": "abfs", "abfss": "abfss", "az": "az"}
"""Schemes to obstore's names for them: of the stores that can write on a condition."""
NO_SWAP = (
    "the store does not write on the condition that an object is absent or unchanged (HTTP's If-None-Match and If-Match), "
    "without which two machines could write one run. Use a store that does, such as Amazon S3, MinIO, Ceph, R2, Google "
    "Cloud Storage or Azure"
)
_HINTS = {
    "NoSuchBucket|bucket.{0,40}not (exist|found)|ContainerNotFound": "the bucket does not exist. Make it, or mend the URL",
    "redirect without LOCATION|AuthorizationHeaderMalformed|PermanentRedirect": (
        "the bucket is in another region. Set AWS_REGION to it"
    ),
    "status code: 40[13]|InvalidAccessKeyId|Signature|ExpiredToken|169.254.169.254|credential|token request": (
        "no right to. Credentials come from the environment or the provider's usual files (for S3: AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, ~/.aws, the machine's role) and must allow list, get, put and delete below this URL"
    ),
    "invalid path": "an object of this name cannot be part of a run. Delete it from the store",
    "status code: 501|not.?implemented": NO_SWAP,
}
"""What an answer with such words in it means, the first that is found."""


class ChangedError(Exception):
    """Raised when an object is not, or no longer, what was to be replaced."""


class Store:
    """The objects below one URL; names are relative, with slashes."""

    def __init__(self, url: str, patience_s: float, connect: Callable[[float], ObjectStore]) -> None:
        """Make requests through what ``connect`` returns, which retries for the seconds that it is given."""
        self.url = url
        self._patience_s = patience_s
        self._connect = connect
        self._objects = connect(patience_s)
        self._hurried = threading.Event()

    def put(self, name: str, content: bytes | Path) -> None:
        """Make an object, whole or not at all; one of that name is replaced."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        part = max(_PART, -(-size // _MOST_PARTS))

        def upload(objects: ObjectStore, ended: threading.Event) -> object:
            source: bytes | Iterator[bytes]
            if isinstance(content, bytes):
                source = content
            else:
                source = _chunks(content, part, ended) if size > part else content.read_bytes()
            return objects.put(name, source, chunk_size=part, max_concurrency=_UNDER_WAY)

        self._ask(f"write {name}", upload, long=size > _PART)

    def swap(self, name: str, content: bytes, over: ObjectMeta | None) -> None:
        """Replace an object if it is still what ``over`` says, or make it if there is none.

        Raises:
            ChangedError: it is something else; where the network failed, perhaps the very content to be written.
        """
        mode: Any = {key: over[key] for key in ("e_tag", "version") if over[key]} if over else "create"
        if not mode:
            raise RunError(f"{self.url}: {NO_SWAP}")
        self._ask(f"write {name}", lambda objects, _: objects.put(name, content, mode=mode))

    def get(self, name: str) -> bytes:
        """Return an object's content; FileNotFoundError when there is none of that name."""
        return self.read(name)[0]

    def read(self, name: str) -> tuple[bytes, ObjectMeta]:
        """Return an object's content and what it is; FileNotFoundError as with ``get``."""
        return self._ask(f"read {name}", lambda objects, _: _read(objects, name))

    def download(self, name: str, path: Path) -> None:
        """Write an object's content to a file, which appears when it is whole; FileNotFoundError as with ``get``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = beside(path)
        try:
            with partial.open("wb") as file:
                self._ask(f"read {name}", lambda objects, ended: _download(objects, name, file, ended), long=True)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def list(self) -> dict[str, ObjectMeta]:
        """Return every object by its name."""
        found = self._ask("list the objects", lambda objects, _: objects.list().collect())
        return {each["path"]: each for each in found}

    def delete(self, name: str) -> None:
        """Delete an object if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._ask(f"delete {name}", lambda objects, _: objects.delete(name))

    def at_once(self) -> Store:
        """Return the same store for requests that are better refused than retried for long."""
        return Store(self.url, _AT_ONCE_S, self._connect)

    def hurry(self) -> None:
        """Break off what other threads ask for, and from now on retry nothing: the process is about to end."""
        self._hurried.set()
        self._objects = self._connect(0.0)

    def _ask(self, what: str, request: Callable[[ObjectStore, threading.Event], R], *, long: bool = False) -> R:
        hurried, tell_at = self._hurried.is_set(), time.monotonic() + _TOLD_AFTER_S
        answer: Future[R] = Future()
        ended = threading.Event()

        def wait_for_answer(objects: ObjectStore = self._objects) -> None:
            try:
                answer.set_result(request(objects, ended))
            except BaseException as error:
                answer.set_exception(error)

        # In another thread, so that Ctrl-C does not wait for the answer. Not by obstore's coroutines, whose threads
        # sometimes abort the process when it ends.
        thread = threading.Thread(target=wait_for_answer, daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(0.2)
                if self._hurried.is_set() and not hurried:
                    raise RunError(f"{self.url}: cannot {what}: the run is ending")
                if not long and time.monotonic() > tell_at:
                    print(f"{self.url}: cannot {what} just now; trying again", file=sys.stderr)
                    tell_at = float("inf")
            return answer.result()
        except (AlreadyExistsError, PreconditionError):
            raise ChangedError(what) from None
        except (BaseError, OSError, NotImplementedError) as error:
            said = _said(error)
            if isinstance(error, FileNotFoundError) and "NoSuchBucket" not in said:
                raise
            hint = (
                f"the store did not answer as it should, tried for {self._patience_s:.0f} s. Check the network and the "
                "endpoint; what is finished is kept, so run the same command again then"
            )
            hint = next((hint for words, hint in _HINTS.items() if re.search(words, said, re.I)), hint)
            raise RunError(f"{self.url}: cannot {what}: {hint}. The store said: {said:.300}") from None
        finally:
            ended.set()


def open_store(url: str, *, patience_s: float) -> Store:
    """Open the store behind a URL; nothing is asked of it yet.

    Raises:
        RunError: the URL has credentials in it, is of an unknown scheme, or obstore does not take it.
    """
    parts = checked(url)
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    if parts.scheme in ("http", "https", "file"):
        require_no_url(shown, RunError, beside=f" A run may lie on a store: {', '.join(_SCHEMES)}.")
    if parts.scheme not in _SCHEMES:
        raise RunError(
            f"{shown}: {parts.scheme}:// cannot be used for runs. Known are {', '.join(_SCHEMES)}: stores that can write on the "
            "condition that nobody else has, which keeps a run to one writer"
        )
    options = store_options(parts, _SCHEMES[parts.scheme])
    try:
        return Store(shown, patience_s, lambda retry_s: _connected(parts, options, retry_s))
    except (BaseError, ValueError) as error:
        raise RunError(f"{shown}: cannot be opened as an object store: {_said(error)}") from None


def _connected(parts: SplitResult, options: dict[str, Any], retry_s: float) -> ObjectStore:
    scheme = _SCHEMES[parts.scheme]
    if scheme.startswith("abfs") and parts.netloc.endswith(".core.windows.net"):
        # The account is the host, and the container the first folder: obstore knows that under this scheme.
        scheme = "https"
    return from_url(
        f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}",
        retry_config={
            "max_retries": 100_000 if retry_s else 0,
            "retry_timeout": timedelta(seconds=retry_s),
            "backoff": {"init_backoff": timedelta(seconds=0.5), "max_backoff": timedelta(seconds=30), "base": 2},
        },
        # A whole request may take as long as its file is large; that nothing moves shows a failure.
        client_options={"allow_http": True, "timeout": timedelta(days=1), "read_timeout": timedelta(minutes=1)},
        **options,
    )


def _said(error: Exception) -> str:
    return str(error).partition("\n\nDebug source")[0]


def _read(objects: ObjectStore, name: str) -> tuple[bytes, ObjectMeta]:
    result = objects.get(name)
    return bytes(result.bytes()), result.meta


def _download(objects: ObjectStore, name: str, file: BinaryIO, ended: threading.Event) -> None:
    for chunk in objects.get(name).stream(_PART):
        if ended.is_set():
            return
        file.write(chunk)


def _chunks(path: Path, size: int, ended: threading.Event) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(size):
            if ended.is_set():
                raise InterruptedError(path)
            yield chunk
