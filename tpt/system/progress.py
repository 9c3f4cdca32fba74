"""Progress on stderr, so that stdout holds results alone."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY_S = 30.0


class Display:
    """A progress bar on a terminal, a line now and then elsewhere, nothing when it is switched off."""

    def __init__(self, title: str, *, total: int, enabled: bool) -> None:
        self._title = title
        self._total = total
        self._enabled = enabled
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, note="")
        self._begun = self._last_line = time.monotonic()

    def __enter__(self) -> Display:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def update(self, done: int, *, note: str = "", total: int | None = None) -> None:
        """Show how far the work is: units of ``total``, and what else is worth knowing."""
        self._total = self._total if total is None else total
        self._bar.update(self._task, completed=done, total=self._total, note=note)
        now = time.monotonic()
        if self._enabled and not self._console.is_terminal and now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            print(f"{self._title}: {done}/{self._total} {note}", file=sys.stderr, flush=True)

    def finish(self, summary: str) -> None:
        """Leave one line that says what came of it."""
        if self._enabled:
            seconds = time.monotonic() - self._begun
            print(f"{self._title}: {summary} ({seconds:.0f} s)", file=sys.stderr, flush=True)
