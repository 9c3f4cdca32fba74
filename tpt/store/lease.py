"""The lease that keeps a run on an object store to one writer.

It is taken, renewed and given back by replacing the very version of ``lease.json`` that was read: of several who try at
the same time, the store lets one.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from tpt.errors import RunError, RunLockedError
from tpt.store.objects import NO_SWAP, ChangedError, Store

if TYPE_CHECKING:
    from obstore import ObjectMeta

_NAME = "lease.json"
_TRIES = 10


@dataclass(slots=True)
class Lease:
    """A claim to write below a URL."""

    store: Store
    copy_id: str
    """Which working copy claims; its own lock admits one process, so a lease of the same copy is a dead one's."""
    expires_s: float
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def take(self) -> None:
        """Take the lease, after writes that prove the right to and that the store heeds conditions.

        Raises:
            RunLockedError: another process holds it.
            RunError: the store cannot be written to, or not on a condition.
        """
        probe = f"probe-{self.token}"
        self.store.put(probe, b"written to see whether it can be\n")
        try:
            now = self._now(probe)
        finally:
            self.store.delete(probe)
        self._replace(lambda: self._claimable(now), self._claim)

    def renew(self) -> None:
        """Prolong the lease; RunLockedError when another process took it."""
        self._replace(self.check, self._claim)

    def check(self) -> ObjectMeta | None:
        """Return the lease as it is on the store; RunLockedError unless it is still this process's."""
        holder, found = self._read()
        if holder.get("token") != self.token:
            raise RunLockedError(
                f"{self.store.url}: {_who(holder)} took over the writing of this run. What was finished here is in the "
                "working copy; run again when the other one has ended"
            )
        return found

    def give_back(self) -> None:
        """Empty the lease if it is still this process's; a deletion could strike the next holder's."""
        with suppress(RunLockedError):
            self._replace(self.check, lambda: b"{}")

    def _now(self, probe: str) -> datetime:
        """Return the time by the store's clock; RunError unless it refuses to replace what has changed."""
        # What a store does not know it may answer as it answers what will pass.
        store = self.store.at_once()
        _, first = store.read(probe)
        done = 0
        for over in (first, first, None):
            with suppress(ChangedError):
                store.swap(probe, b"and whether once only\n", over)
                done += 1
        if done > 1:
            raise RunError(f"{self.store.url}: {NO_SWAP}")
        return first["last_modified"]

    def _replace(self, replaceable: Callable[[], ObjectMeta | None], content: Callable[[], bytes]) -> None:
        """Replace what ``replaceable`` returns, asking it anew when that was replaced meanwhile."""
        for _ in range(_TRIES):
            found = replaceable()
            with suppress(ChangedError, FileNotFoundError):
                return self.store.swap(_NAME, content(), found)
        raise RunError(f"{self.store.url}/{_NAME}: replaced by others at each of {_TRIES} attempts. Run again")

    def _claimable(self, now: datetime) -> ObjectMeta | None:
        holder, found = self._read()
        if found is None or not holder or holder.get("copy") == self.copy_id:
            return found
        # Both times are the store's: clocks of machines differ.
        age_s = max(0.0, (now - found["last_modified"]).total_seconds())
        given = holder.get("expires_s")
        expires_s = float(given) if isinstance(given, int | float) else self.expires_s
        if age_s < expires_s:
            raise RunLockedError(
                f"{self.store.url}: {_who(holder)} is writing this run; it said so {age_s:.0f} s ago. Stop it, or use "
                f"another URL with --out; if it is dead, its claim ends in {expires_s - age_s:.0f} s"
            )
        return found

    def _claim(self) -> bytes:
        claim = {
            "token": self.token,
            "copy": self.copy_id,
            "holder": f"process {os.getpid()} on {socket.gethostname()}",
            "expires_s": self.expires_s,
            # A store may tell versions apart by their content alone.
            "renewal": secrets.token_hex(8),
        }
        return json.dumps(claim).encode()

    def _read(self) -> tuple[dict[str, object], ObjectMeta | None]:
        try:
            content, found = self.store.read(_NAME)
        except FileNotFoundError:
            return {}, None
        try:
            # An empty object is what a claim leaves that was broken off.
            holder = json.loads(content or b"{}")
        except ValueError:
            holder = None
        if not isinstance(holder, dict):
            raise RunError(f"{self.store.url}/{_NAME}: damaged. Delete it if no process is writing this run")
        return holder, found


def _who(holder: dict[str, object]) -> str:
    return str(holder.get("holder") or "another process")
