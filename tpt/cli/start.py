"""Commands to begin with. What a command needs is imported when it is called, so that --help answers at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tpt.cli.options import Format, FormatOption, SetOption, path_here


def init(
    example: Annotated[str, typer.Argument(help="Which example to start from.")] = "quickstart",
    sets: SetOption = [],  # noqa: B006  (typer reads the default, and never changes it)
    full: Annotated[bool, typer.Option("--full", help="Every key, not only those that most people set.")] = False,
) -> None:
    """Print a config, each key with its meaning: tpt init > run.toml."""
    from tpt.cli.actions import example_config
    from tpt.config import render_toml

    print(render_toml(example_config(example, sets), short=not full), end="")
    if not full:
        print("\n# Every other key has its default. All keys: tpt init --full. Completion in editors: tpt schema")


def schema() -> None:
    """Print the JSON Schema of a config, by which editors complete and check it: tpt schema > tpt.schema.json."""
    from tpt.config import config_schema

    print(json.dumps(config_schema(), indent=2))


def doctor(
    path: Annotated[
        Path,
        typer.Argument(parser=path_here, help="Where runs will lie: the disk that is looked at.", metavar="DIR"),
    ] = Path("."),
    format: FormatOption = Format.table,
) -> None:
    """Look at this machine: what works, what does not, and the command that mends it. Exit code 1: no run can work."""
    from tpt.cli.doctor import examined, findings_text
    from tpt.cli.output import print_result

    findings = examined(path)
    print_result(findings, format, lambda width: findings_text(findings, width=width))
    raise typer.Exit(1 if any(each.state == "broken" for each in findings) else 0)
