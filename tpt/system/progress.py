"""Progress on stderr, so that stdout holds results alone, and in a file, so that others can see it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from tpt.system.folders import beside
from tpt.system.terminal import tell

_LINE_EVERY_S = 30.0
_FILE_EVERY_S = 1.0
_ROOM_FOR_BAR = 110
_ROOM_FOR_ELAPSED = 90
"""Columns of a terminal from which on there is room for it."""


class _Note(ProgressColumn):
    """What is said besides: the one column that is cut where there is no room, so that the clock never is."""

    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=False))

    def render(self, task: Task) -> Text:
        """Return the note on one line."""
        return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")


class Display:
    """A progress bar on a terminal, a line now and then elsewhere, nothing when it is switched off.

    A file, if there is one, says how far the work is while it lasts, for whoever asks; it is gone when the work is done.
    Work that was broken off leaves it, so that its seconds can be counted when it goes on: ``spent_s``.
    """

    def __init__(
        self, title: str, *, total: int, enabled: bool, file: Path | None = None, spent_s: float = 0.0
    ) -> None:
        self._title = title
        self._total = total
        self._enabled = enabled
        self._console = Console(file=sys.stderr)
        self._bar = bar(self._console, disable=not (enabled and self._console.is_terminal))
        self._task = self._bar.add_task(title, total=total, note="")
        self._last_line = time.monotonic()
        self._begun = self._last_line - spent_s
        self._file = file
        self._last_file = -_FILE_EVERY_S
        self._first: tuple[float, int] | None = None
        """When the first units were done, and how many: what an earlier process did says nothing of the pace."""

    def __enter__(self) -> Display:
        """Show the bar."""
        self._bar.start()
        self._write(0, "")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()
        if self._file is not None and error is None:
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)

    def update(self, done: int, *, note: str = "", total: int | None = None) -> None:
        """Show how far the work is: units of ``total``, and what else is worth knowing."""
        self._total = self._total if total is None else total
        self._bar.update(self._task, completed=done, total=self._total, note=note)
        now = time.monotonic()
        self._first = self._first or (now, done)
        if now - self._last_file >= _FILE_EVERY_S:
            self._last_file = now
            self._write(done, note)
        if self._enabled and not self._console.is_terminal and now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            print(f"{self._title}: {done}/{self._total} {note}", file=sys.stderr, flush=True)

    def finish(self, summary: str) -> None:
        """Leave one line that says what came of it."""
        if self._enabled:
            seconds = time.monotonic() - self._begun
            tell(f"{self._title}: {summary} ({seconds:.0f} s)", sys.stderr)

    def _write(self, done: int, note: str) -> None:
        """Say in the file how far the work is; a full disk is no reason to end it here."""
        if self._file is None:
            return
        since, before = self._first or (time.monotonic(), done)
        per_s = (done - before) / max(time.monotonic() - since, 1e-9) if done > before else None
        left_s = (self._total - done) / per_s if per_s else None
        told = {
            "title": self._title,
            "done": done,
            "total": self._total,
            "per_s": per_s,
            "left_s": left_s,
            "note": note,
            "spent_s": round(time.monotonic() - self._begun, 3),
        }
        partial = beside(self._file)
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({**told, "pid": os.getpid(), "time": time.time()}), encoding="utf-8")
            partial.replace(self._file)


def bar(console: Console, *, disable: bool) -> Progress:
    """Return a progress bar whose clock fits the console: what is decoration goes first, then the note is cut."""
    width = console.width
    return Progress(
        TextColumn("{task.description}"),
        *([BarColumn(bar_width=24)] if width >= _ROOM_FOR_BAR else []),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        _Note(),
        *([TimeElapsedColumn(Column(no_wrap=True))] if width >= _ROOM_FOR_ELAPSED else []),
        TextColumn("left"),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        console=console,
        disable=disable,
        transient=True,
    )
