"""tpt verify-run: is a run still what its stages left? Every file is read, every number computed again."""

from __future__ import annotations

import typer

from tpt.cli.options import Format, FormatOption, RunPath
from tpt.cli.output import print_result
from tpt.report.text import printable
from tpt.report.verified import verified_text, verify_run
from tpt.run.directory import RunDir


def verify_run_command(path: RunPath, format: FormatOption = Format.table) -> None:
    """Read every file of a run and compute its scores again. Exit code 1: something was changed since."""
    found = verify_run(RunDir(path))
    if format is Format.json:
        print_result(
            {"ok": found.ok, "changed": found.changed, "stages": found.stages, "records": found.records}, format
        )
    else:
        print(printable(verified_text(found)))
    raise typer.Exit(0 if found.ok else 1)
