"""How commands print what they found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from tpt.cli import actions
from tpt.cli.options import Format
from tpt.cli.render import render
from tpt.report.collapse import alarm_lines
from tpt.report.groups import also_text
from tpt.report.sentences import looks_text
from tpt.report.summary import Summary, summary_json, summary_of, write_report
from tpt.report.text import notes, round_table
from tpt.run.directory import RunDir
from tpt.store import share
from tpt.system.jsonl import to_table
from tpt.system.terminal import columns_of, printable, wrapped


def report_run(run: RunDir, format: Format, *, page: Path | None = None, most_traces: int = 0) -> None:
    """Write report.md, and the page if one is asked for, and print the round table and what may be claimed."""
    summary = summary_of(run)
    try:
        write_report(run, summary)
        written = f"Report: {run.report}"
    except OSError as error:
        # Who may only read a run can still have its report.
        written = f"Report: not kept, {run.report} cannot be written ({error.strerror})"
    if page:
        print(actions.write_html(page, run, summary, most_traces=most_traces), file=sys.stderr)
    share(run, run.report, *([page] if page else []))
    if format is Format.json:
        print(json.dumps(summary_json(summary), indent=2))
        return
    print_rounds(summary, file=sys.stdout)
    width = columns_of(sys.stdout)
    further = also_text(summary.evidence, width=width)
    lines = ["", *further, "", summary.headline] if further else ["", summary.headline]
    looks = looks_text(summary.looks, level=summary.evidence.level)
    lines += [*alarm_lines(summary.alarms), *notes(summary.evidence), *looks, written]
    print("\n".join(line if line in further else wrapped(line, width) for line in lines))


def print_rounds(summary: Summary, *, file: TextIO) -> None:
    """Print the round table, as wide as the terminal."""
    print("\n".join(round_table(summary.rows, width=columns_of(file))), file=file, flush=True)


def print_result(result: Any, format: Format, text: Callable[[int | None], str] | None = None) -> None:
    """Print plain values as JSON or as text, which ``text`` makes for a width where keys and values will not do."""
    width = columns_of(sys.stdout)
    if format is Format.json:
        # ASCII alone: what a model wrote may hold characters that a terminal would obey.
        print(json.dumps(to_table(result), indent=2))
    else:
        # Made printable first: characters that are written out take more room.
        print(printable(text(width) if text else render(to_table(result), width=width)))
