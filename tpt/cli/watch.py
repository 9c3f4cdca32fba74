"""tpt status: how far a run is, once or until it ends."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tpt.cli.options import Format
from tpt.cli.output import print_result
from tpt.cli.render import render
from tpt.report.status import now_text, run_status, status_in_words
from tpt.run.directory import RunDir
from tpt.system.terminal import columns_of, printable


def print_status(run: RunDir, format: Format) -> None:
    """Print how far a run is."""
    status = run_status(run)
    print_result(status if format is Format.json else status_in_words(status), format)


def watch_run(run: RunDir, format: Format, *, every_s: float) -> None:
    """Say how far a run is until no process is at it: on a terminal in one place, elsewhere a line for whatever is new."""
    shown, said = 0, ""
    while True:
        status = run_status(run)
        is_running = status["state"] == "running"
        if format is Format.table and sys.stdout.isatty():
            text = printable(render(status_in_words(status), width=columns_of(sys.stdout)))
            over = f"\x1b[{shown}F\x1b[J" if shown else ""
            print(over + text, flush=True)
            shown = text.count("\n") + 1
        elif (line := _line(status, format)) != said:
            said = line
            print(line, flush=True)
        if not is_running:
            return
        time.sleep(every_s)


def _line(status: dict[str, Any], format: Format) -> str:
    if format is Format.json:
        return json.dumps(status)
    if status["now"]:
        return printable(now_text(status["now"]))
    return printable(f"{status_in_words(status)['state']}; {status['next']}")
