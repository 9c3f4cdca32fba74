"""tpt status and tpt watch: how far a run is, once, until it ends, or as a page in a browser."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tpt.cli.options import Format
from tpt.cli.output import print_result
from tpt.cli.render import render
from tpt.report.html import LivePage, PageServer
from tpt.report.status import now_text, run_status, status_in_words
from tpt.run.directory import RunDir
from tpt.system.terminal import columns_of, printable, tell


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


def serve_run(run: RunDir, *, port: int, most_traces: int) -> None:
    """Serve a run's page on this machine until Ctrl-C; its address is the result, printed first.

    Raises:
        RunError: there is no run, or none of its page can be made.
        ConfigError: the port cannot be had.
    """
    run.require()
    page = LivePage(run, most_traces=most_traces)
    page.text()
    with PageServer(page, port=port) as server:
        print(server.address, flush=True)
        status = page.status()
        last = "This page will not change any more" if status.ended else "The page follows it"
        tell(
            f"{run.path}: {status.line}. {last}; only browsers on this machine can open it. Ctrl-C ends it.", sys.stderr
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended; the run goes on without it", file=sys.stderr)


def _line(status: dict[str, Any], format: Format) -> str:
    if format is Format.json:
        return json.dumps(status)
    if status["now"]:
        return printable(now_text(status["now"]))
    return printable(f"{status_in_words(status)['state']}; {status['next']}")
