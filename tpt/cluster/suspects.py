"""Which worker holds what, and which of it may be what workers die of. Knows nothing of Ray.

When a worker's process dies, anything that it held may be the cause. Those suspects are tried again in a small batch,
and when that dies too, each one alone; so the guilty one is known for certain and the others lose little time.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Generic, TypeVar

MAX_CRASHES = 3
"""As many processes may die of an item; the last one held it alone."""
_SMALL_BATCH = 8
"""Suspects once over fill only this part of a worker."""
Item = TypeVar("Item")


class SuspectQueue(Generic[Item]):
    """Items that wait for a worker or are held by one: the ids of requests, or the rows of a batch."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._suspects: deque[Item] = deque()
        self._held: defaultdict[int, dict[Item, None]] = defaultdict(dict)
        """By worker, in the order it got them."""
        self._crash_count: dict[Item, int] = {}

    @property
    def waiting(self) -> int:
        """Return how many items wait that are no suspects."""
        return len(self._waiting)

    def add(self, item: Item) -> None:
        """Queue an item."""
        self._waiting.append(item)

    def held(self, worker: int) -> list[Item]:
        """Return what a worker has."""
        return list(self._held.get(worker, ()))

    def take(self, worker: int, capacity: int) -> list[Item]:
        """Move items from the queue to a worker that may hold ``capacity``, and return them."""
        held = self._held[worker]
        crash_count = max((self._crash_count.get(item, 0) for item in held), default=0)
        if crash_count or (self._suspects and not held):
            return self._take_suspects(held, crash_count or self._crash_count[self._suspects[0]], capacity)
        if self._suspects and self._is_to_run_dry(worker):
            return []
        return _move(self._waiting, held, capacity - len(held))

    def complete(self, worker: int, item: Item) -> bool:
        """Return whether the worker still held the item, and let go of it."""
        held = self._held.get(worker, {})
        if item not in held:
            return False
        del held[item]
        self._crash_count.pop(item, None)
        return True

    def lose(self, worker: int, *, blame: bool) -> Item | None:
        """Queue again what a lost worker held; returns the item that it surely died of, if that is known.

        ``blame``: its process died of itself, rather than with its machine.
        """
        held = self._held.pop(worker, {})
        for item in reversed(held):
            if blame:
                self._crash_count[item] = self._crash_count.get(item, 0) + 1
            (self._suspects if item in self._crash_count else self._waiting).appendleft(item)
        return next((item for item in held if self._crash_count.get(item, 0) >= MAX_CRASHES), None)

    def cancel(self, items: set[Item]) -> dict[int, set[Item]]:
        """Forget these items and return which workers must drop which."""
        self._waiting = deque(item for item in self._waiting if item not in items)
        self._suspects = deque(item for item in self._suspects if item not in items)
        dropped = {worker: items & held.keys() for worker, held in self._held.items()}
        for worker, of_worker in dropped.items():
            for item in of_worker:
                del self._held[worker][item]
        return {worker: of_worker for worker, of_worker in dropped.items() if of_worker}

    def _take_suspects(self, held: dict[Item, None], crash_count: int, capacity: int) -> list[Item]:
        """Fill a worker with suspects of one kind, and only so far."""
        room = (1 if crash_count >= MAX_CRASHES - 1 else max(1, capacity // _SMALL_BATCH)) - len(held)
        alike = 0
        while alike < min(room, len(self._suspects)) and self._crash_count[self._suspects[alike]] == crash_count:
            alike += 1
        return _move(self._suspects, held, alike)

    def _is_to_run_dry(self, worker: int) -> bool:
        """Return whether this is the worker that suspects wait for: none tries any, and it is the emptiest."""
        if any(item in self._crash_count for held in self._held.values() for item in held):
            return False
        return worker == min(self._held, key=lambda each: len(self._held[each]))


def _move(queue: deque[Item], held: dict[Item, None], count: int) -> list[Item]:
    moved = [queue.popleft() for _ in range(min(len(queue), count))]
    held.update(dict.fromkeys(moved))
    return moved
