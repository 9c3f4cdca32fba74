"""The page of a run that may still go on: made anew for each finished round, with a line on top of how far the run is."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import Any

from tpt.errors import TPTError
from tpt.report.html.markup import node, rendered
from tpt.report.html.page import LIVE, live_page
from tpt.report.status import run_status, status_in_words
from tpt.report.summary import summary_of
from tpt.run.directory import RunDir
from tpt.system.terminal import printable


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """How far a run is."""

    line: str
    """In words, safe to show."""
    version: str
    """Of the page that fits; empty: the run cannot be read."""
    ended: bool
    """Whether neither line nor page will change any more."""


class LivePage:
    """A run's page, kept until a further round is finished; threads may share it."""

    def __init__(self, run: RunDir, *, most_traces: int = 0) -> None:
        self._run = run
        self._most_traces = most_traces
        self._lock = Lock()
        self._made = ("", "")
        """Version and text of the page that was made last."""

    def status(self) -> LiveStatus:
        """Return how far the run is; where it cannot be read, the sentence that says why."""
        try:
            if not self._run.exists():
                gone = f"{self._run.path}: the run is gone. If it was moved, end this and watch it where it is now"
                return LiveStatus(printable(gone), "", ended=False)
            status = run_status(self._run)
        except (TPTError, OSError) as error:
            return LiveStatus(printable(str(error)), "", ended=False)
        ended = status["state"] == "finished"
        version = f"{status['finished rounds']}.{status['best'] or ''}.{int(ended)}"
        return LiveStatus(printable(_line(status)), version, ended)

    def text(self) -> str:
        """Return the page as it is now; of a run that is gone, as it was.

        Raises:
            RunError: a file of the run is missing or damaged.
        """
        with self._lock:
            status = self.status()
            if not self._made[0] or status.version not in ("", self._made[0]):
                self._run.require()
                text = live_page(self._run, summary_of(self._run), most_traces=self._most_traces)
                self._made = (status.version, text)
            version, text = self._made
        before, _, after = text.partition(LIVE)
        return before + _bar(status.line, version) + after


def _bar(line: str, version: str) -> str:
    shown = node("span", {"id": "live-line", "role": "status"}, line)
    button = node("button", {"type": "button", "id": "live-reload", "hidden": ""}, "Show what is new")
    plain = node("noscript", None, "Reload the page to see what is new.")
    return rendered([node("p", {"id": "live", "data-version": version}, shown, " ", button, plain)])


def _line(status: dict[str, Any]) -> str:
    """Return a run's status in one line."""
    if status["state"] == "finished":
        return f"finished: {status['next']}"
    said = status_in_words(status)
    last = status["finished rounds"] - 1
    done = "" if last < 0 else "the base model is scored" if last == 0 else f"round {last} is finished"
    parts = [str(said["state"]), said.get("now", ""), done, status["next"]]
    return "; ".join(part for part in parts if part)
