"""Which rows of a batch wait, and which of them may be the one that judging processes die of. Knows nothing of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

STRIKES = 3
"""As many processes may die of a row; all but the first judged it alone."""
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
