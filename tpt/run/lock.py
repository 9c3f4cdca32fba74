"""The lock that keeps a run to one writer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from tpt.errors import RunError, RunLockedError
from tpt.run.directory import RunDir


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


def holder_of(run: RunDir) -> tuple[str, bool]:
    """Return who wrote the run last without saying that it ended, "" for nobody, and whether that process is at it now."""
    try:
        descriptor = os.open(run.lock, os.O_RDONLY)
    except OSError:
        return "", False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor) or "unknown", True
    except OSError:
        return _holder(descriptor), False
    else:
        return _holder(descriptor), False
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 1000, 0).decode(errors="replace")


def _living(holder: str) -> str:
    """Return whom to name as the holder: what a process that is dead by now started may hold the lock still."""
    found = re.fullmatch(r"process ([0-9]+) on (.*)", holder)
    if (
        found
        and found[2] == socket.gethostname()
        and not os.path.exists(f"/proc/{found[1]}")
        and os.path.exists("/proc/self")
    ):
        return "a stage of a run that was killed, which is about to end"
    return holder or "unknown"


def _acquire(run: RunDir, descriptor: int, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RunLockedError(
                    f"{run.path}: another process is writing this run: {_living(_holder(descriptor))}. "
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
