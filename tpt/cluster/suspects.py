"""Which request is where, and which of them may be the one that its replicas die of. Knows nothing of Ray.

When a replica's process dies, any request that it held may be the cause. Those suspects are tried again in a small
batch, and when that dies too, each one alone; so the guilty one is known for certain and the others lose little time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tpt.engines import Request, RequestId

STRIKES = 3
"""As many processes may die of a request; the last one served it alone."""
_SMALL_BATCH = 8
"""Suspects once over fill only this part of a replica."""


class Ledger:
    """The requests in flight, by replica."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._suspects: deque[Request] = deque()
        self._held: dict[int, dict[RequestId, Request]] = {}
        self._strikes: dict[RequestId, int] = {}
        self._known: set[RequestId] = set()

    def __contains__(self, key: RequestId) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, request: Request) -> None:
        """Queue a request."""
        self._known.add(request.id)
        self._waiting.append(request)

    def join(self, replica: int) -> None:
        """Count in a replica that can serve."""
        self._held[replica] = {}

    def holds(self, replica: int) -> int:
        """Return how many requests a replica has."""
        return len(self._held[replica])

    def take(self, replica: int, capacity: int) -> list[Request]:
        """Move requests from the queue to a replica that may hold ``capacity``, and return them."""
        held = self._held[replica]
        strikes = max((self._strikes.get(key, 0) for key in held), default=0)
        if strikes or (self._suspects and not held):
            return self._take_suspects(held, strikes or self._strikes[self._suspects[0].id], capacity)
        if self._suspects and self._is_to_run_dry(replica):
            return []
        return _move(self._waiting, held, capacity)

    def complete(self, replica: int, key: RequestId) -> bool:
        """Return whether the replica's completion was still wanted, and let go of its request."""
        if self._held.get(replica, {}).pop(key, None) is None:
            return False
        self._known.discard(key)
        self._strikes.pop(key, None)
        return True

    def lose(self, replica: int, *, blame: bool) -> Request | None:
        """Queue again what a lost replica held; returns the request that it surely died of, if that is known.

        Args:
            replica: The one that is gone.
            blame: Its process died of itself, rather than with its machine.
        """
        held = list(self._held.pop(replica, {}).values())
        for request in reversed(held):
            if blame:
                self._strikes[request.id] = self._strikes.get(request.id, 0) + 1
            (self._suspects if request.id in self._strikes else self._waiting).appendleft(request)
        return next((request for request in held if self._strikes.get(request.id, 0) >= STRIKES), None)

    def cancel(self, ids: set[RequestId]) -> dict[int, set[RequestId]]:
        """Forget these requests and return which replicas must drop which."""
        self._waiting = deque(request for request in self._waiting if request.id not in ids)
        self._suspects = deque(request for request in self._suspects if request.id not in ids)
        self._known -= ids
        dropped = {replica: ids & held.keys() for replica, held in self._held.items()}
        for replica, keys in dropped.items():
            for key in keys:
                del self._held[replica][key]
        return {replica: keys for replica, keys in dropped.items() if keys}

    def _take_suspects(self, held: dict[RequestId, Request], strikes: int, capacity: int) -> list[Request]:
        """Fill a replica with suspects of one kind, and only so far."""
        room = (1 if strikes >= STRIKES - 1 else max(1, capacity // _SMALL_BATCH)) - len(held)
        alike = 0
        while alike < min(room, len(self._suspects)) and self._strikes[self._suspects[alike].id] == strikes:
            alike += 1
        return _move(self._suspects, held, len(held) + alike)

    def _is_to_run_dry(self, replica: int) -> bool:
        """Return whether this is the replica that suspects wait for: none tries any, and it is the emptiest."""
        if any(key in self._strikes for held in self._held.values() for key in held):
            return False
        return replica == min(self._held, key=lambda each: len(self._held[each]))


def _move(queue: deque[Request], held: dict[RequestId, Request], capacity: int) -> list[Request]:
    moved = [queue.popleft() for _ in range(min(len(queue), capacity - len(held)))]
    held.update((request.id, request) for request in moved)
    return moved


_MOST = 16
"""Rows a worker gets at once, at most: little is judged again when a node is lost."""


class Rows:
    """The rows of one batch that nobody judges yet."""

    def __init__(self, count: int) -> None:
        self._waiting = deque(range(count))
        self._suspects: deque[int] = deque()
        self._strikes: dict[int, int] = {}

    def take(self, workers: int, everyone: int, *, idle: bool) -> list[int]:
        """Return the next rows of a node; a suspect is judged alone, by one that has nothing else to do.

        Args:
            workers: Of the node.
            everyone: Workers of all nodes; shares shrink towards the end, so that all end together.
            idle: The node judges nothing.
        """
        if self._suspects and idle:
            return [self._suspects.popleft()]
        share = -(-len(self._waiting) // (2 * everyone))
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), min(share, _MOST) * workers))]

    def is_suspect(self, row: int) -> bool:
        """Return whether a process has died that judged the row."""
        return row in self._strikes

    def lose(self, rows: Iterable[int], *, blame: bool) -> int | None:
        """Let rows wait again; returns the one that processes surely die of, if there is such a one.

        Args:
            rows: What a lost node held, in the order it got them.
            blame: Its process died of itself, rather than with its machine.
        """
        rows = list(rows)
        for row in reversed(rows):
            if blame:
                self._strikes[row] = self._strikes.get(row, 0) + 1
            (self._suspects if row in self._strikes else self._waiting).appendleft(row)
        return next((row for row in rows if self._strikes.get(row, 0) >= STRIKES), None)
