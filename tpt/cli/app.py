"""The command line: each command is one call into the library. Results on stdout, progress and errors on stderr."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from tpt.cli.reading import audit, export_model, report, show, status, verify_files, watch
from tpt.cli.runs import compare, plan, run, score, stage_command
from tpt.cli.samples import check, import_files, pass_at_k, verify
from tpt.cli.start import doctor, init, schema
from tpt.errors import ConfigError, TPTError
from tpt.system.folders import said_of
from tpt.system.terminal import columns_of, printable, wrapped
from tpt.system.version import __version__

app = typer.Typer(
    name="tpt",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Think, prune, train: a language model learns from its own verified solutions."""


for _command in (init, run, score, plan, status, watch, show, report, compare, check, audit):
    app.command()(_command)
app.command("export")(export_model)
app.command("verify-run")(verify_files)
app.command("think")(stage_command("think", "Sample and judge the traces of one round; resumes."))
app.command("prune")(stage_command("prune", "Choose one round's training examples."))
app.command("train")(stage_command("train", "Fine-tune on one round's examples."))
app.command("evaluate")(stage_command("evaluate", "Score one round's model on the held-out problems; resumes."))
app.command()(verify)
app.command("import")(import_files)
app.command("pass-at-k")(pass_at_k)
app.command()(schema)
app.command()(doctor)


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 an error that was explained, 2 wrong usage, 130 interrupted."""
    # A stream that the shell closed is None.
    sys.stdout, sys.stderr = (each or open(os.devnull, "w") for each in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale: what is redirected into a file, such as a config, is read as UTF-8 later.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        app(prog_name="tpt")
    except ConfigError as error:
        _fail(str(error), 2)
    except TPTError as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(said_of(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(said: str, code: int) -> None:
    print(wrapped(f"error: {printable(said)}", columns_of(sys.stderr)), file=sys.stderr)
    sys.exit(code)
