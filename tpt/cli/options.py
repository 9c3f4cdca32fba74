"""Arguments and options that commands share, each declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def local_copy(path: str) -> Path:
    """Return the path, of an object store's run its copy on this machine."""
    from tpt.store import downloaded

    return downloaded(path)


def _working_copy(path: str) -> Path:
    from tpt.store import working_copy_of

    return working_copy_of(path)


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
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]
SetOption = Annotated[
    list[str], typer.Option("--set", help="Override a config key, such as think.samples=20.", metavar="KEY=VALUE")
]


class SandboxMode(StrEnum):
    """What confines programs that a model wrote."""

    bubblewrap = "bubblewrap"
    rlimits = "rlimits"


SandboxOption = Annotated[
    SandboxMode,
    typer.Option("--sandbox", help="What confines a model's programs; rlimits lets them read every file of yours."),
]
RoundOption = Annotated[int, typer.Option("--round", help="Which round; 0 is the base model.", min=0)]


class ExportDtype(StrEnum):
    """Precisions that weights are exported in."""

    as_saved = "as-saved"
    float32 = "float32"
    bfloat16 = "bfloat16"
