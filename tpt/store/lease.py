"""The lease that keeps a run on an object store to one writer.

Stores that can be reached through one interface have no common way to write only if nobody else has. So the lease is
taken by writing a random token, waiting, and reading it back: of several who write at the same time, the last one
finds its own. One whose write was held up for longer than the wait can take it from a holder; the holder sees that
at its next renewal or upload, whichever comes first, and stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from dataclasses import dataclass, field

from tpt.errors import RunError, RunLockedError
from tpt.store.url import Store

_NAME = "lease.json"


@dataclass(slots=True)
class Lease:
    """A claim to write below a URL."""

    store: Store
    copy_id: str
    """Which working copy claims; its own lock admits one process, so a lease of the same copy is a dead one's."""
    expires_s: float
    settle_s: float
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def take(self) -> None:
        """Take the lease, after a first write that proves the right to.

        Raises:
            RunLockedError: another process holds it.
            RunError: the store cannot be written to.
        """
        probe = f"probe-{self.token}"
        self.store.put(probe, b"written to see whether it can be\n")
        try:
            self._refuse_if_held(probe)
        finally:
            self.store.delete(probe)
        self._write()
        time.sleep(self.settle_s)
        self.check()

    def renew(self) -> None:
        """Prolong the lease; RunLockedError when another process took it."""
        self.check()
        self._write()

    def check(self) -> None:
        """Raise RunLockedError unless the lease is still this process's."""
        holder = self._read()
        if holder.get("token") != self.token:
            raise RunLockedError(
                f"{self.store.url}: {_who(holder)} took over the writing of this run. What was finished here is in the "
                "working copy; run again when the other one has ended"
            )

    def give_back(self) -> None:
        """Delete the lease if it is still this process's."""
        if self._read().get("token") == self.token:
            self.store.delete(_NAME)

    def _refuse_if_held(self, probe: str) -> None:
        holder = self._read()
        if not holder or holder.get("copy") == self.copy_id:
            return
        try:
            # Both times are the store's: clocks of machines differ.
            age_s = (self.store.changed(probe) - self.store.changed(_NAME)).total_seconds()
        except FileNotFoundError:
            return
        given = holder.get("expires_s")
        expires_s = float(given) if isinstance(given, int | float) else self.expires_s
        if age_s < expires_s:
            raise RunLockedError(
                f"{self.store.url}: {_who(holder)} is writing this run; it said so {age_s:.0f} s ago. Stop it, or use "
                f"another place with --out; if it is dead, its claim ends in {expires_s - age_s:.0f} s"
            )

    def _write(self) -> None:
        claim = {
            "token": self.token,
            "copy": self.copy_id,
            "holder": f"process {os.getpid()} on {socket.gethostname()}",
            "expires_s": self.expires_s,
        }
        self.store.put(_NAME, json.dumps(claim).encode())

    def _read(self) -> dict[str, object]:
        with contextlib.suppress(FileNotFoundError):
            content = self.store.get(_NAME)
            try:
                # An empty object is what a claim leaves that was broken off.
                found = json.loads(content or b"{}")
            except ValueError:
                found = None
            if not isinstance(found, dict):
                raise RunError(f"{self.store.url}/{_NAME}: damaged. Delete it if no process is writing this run")
            return found
        return {}


def _who(holder: dict[str, object]) -> str:
    return str(holder.get("holder") or "another process")
