"""Arguments and options that commands share, each declared once."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_PAGE = b"<!doctype html>"


def local_copy(path: str) -> Path:
    """Return the path, of an object store's run its copy on this machine."""
    from tpt.store import downloaded

    _require_named(path)
    return downloaded(_at_home(path))


def _working_copy(path: str) -> Path:
    from tpt.store import working_copy_of

    _require_named(path)
    return working_copy_of(_at_home(path))


def path_here(path: str) -> Path:
    """Return the path of something that lies on this machine, never on an object store."""
    from tpt.system.url import is_url

    _require_named(path)
    if is_url(path):
        raise typer.BadParameter(f"{path} is a URL; a path on this machine is wanted")
    return Path(_at_home(path))


def page_here(path: str) -> Path:
    """Return where an HTML page is to be written, which takes no other file's place."""
    found = path_here(path)
    if found.is_file():
        with found.open("rb") as file:
            if file.read(len(_PAGE)).lower() not in (b"", _PAGE):
                raise typer.BadParameter(f"{path} is a file and no HTML page, so it is not replaced. Name another path")
    return found


def _at_home(path: str) -> str:
    """Return a path with its ``~`` spelt out, which a shell leaves as it is in quotes and in --out=~/run."""
    return os.path.expanduser(path)


def _require_named(path: str) -> None:
    """Refuse an empty path, such as a shell's variable that is not set: it would mean the current folder."""
    if not path:
        raise typer.BadParameter("the path is empty; the current folder is named .")


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


RunPath = Annotated[
    Path, typer.Argument(parser=local_copy, help="A run directory, or its URL on an object store.", metavar="RUN")
]
ConfigPath = Annotated[
    Path, typer.Argument(parser=local_copy, help="A config file, or a run directory to go on with.", metavar="CONFIG")
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=_working_copy,
        help="The run directory, or a URL such as s3://bucket/name; default runs/ and the config's name.",
        metavar="PATH",
    ),
]
ToOption = Annotated[Path, typer.Option("--to", parser=path_here, help="The folder to make.", metavar="DIR")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]
SetOption = Annotated[
    list[str], typer.Option("--set", help="Override a config key, such as think.samples=20.", metavar="KEY=VALUE")
]
ColumnOption = Annotated[
    list[str],
    typer.Option(
        "--column",
        help="Your own file: FIELD=COLUMN, a.b[0] for part of a column; another FIELD is answered by a list of them.",
        metavar="FIELD=COLUMN",
    ),
]
KindOption = Annotated[
    str, typer.Option("--kind", help="Verifier, such as math or FILE.py:FUNCTION; default: by the source.")
]
FromOption = Annotated[
    str, typer.Option("--from", help="The tool that wrote the samples; default: find out.", metavar="TOOL")
]


def source_overrides(columns: list[str], kind: str) -> list[str]:
    """Return the two options of a problem source as overrides of a config."""
    from tpt.cli.actions import parse_columns

    found = [f"problems.columns.{field}={json.dumps(column)}" for field, column in parse_columns(columns).items()]
    return [*found, f"problems.kind={json.dumps(kind)}"] if kind else found


class SandboxMode(StrEnum):
    """What confines programs that a model wrote."""

    bubblewrap = "bubblewrap"
    rlimits = "rlimits"


SandboxOption = Annotated[
    SandboxMode,
    typer.Option("--sandbox", help="What confines a model's programs; rlimits lets them read every file of yours."),
]
HtmlTracesOption = Annotated[
    int, typer.Option("--html-traces", help="Traces of each problem and round in the page; 0: all.", min=0)
]
RoundOption = Annotated[int, typer.Option("--round", help="Which round; 0 is the base model.", min=0)]


class ExportDtype(StrEnum):
    """Precisions that weights are exported in."""

    as_saved = "as-saved"
    float32 = "float32"
    bfloat16 = "bfloat16"
