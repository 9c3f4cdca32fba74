"""The command line: each command is one call into the library. Results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tpt import commands
from tpt.audit import Audit
from tpt.config import load_config, render_toml
from tpt.errors import ConfigError, TPTError
from tpt.jsonl import to_table
from tpt.report.audit import report_text
from tpt.report.noise import trace_check_text
from tpt.report.text import printable, round_table
from tpt.rounds import Run
from tpt.run_dir import RunDir, lock
from tpt.stages import do_stage

app = typer.Typer(
    name="tpt",
    help="Think, prune, train: a language model learns from its own verified solutions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"


RunPath = Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]
SetOption = Annotated[
    list[str], typer.Option("--set", help="Override a config key, such as think.samples=20.", metavar="KEY=VALUE")
]
RoundOption = Annotated[int, typer.Option("--round", help="Which round; 0 is the base model.", min=0)]


@app.command()
def init(
    example: Annotated[str, typer.Argument(help="Which example to start from.")] = "quickstart",
    sets: SetOption = [],  # noqa: B006  (typer reads the default, and never changes it)
) -> None:
    """Print a complete config, every key with its meaning: tpt init > run.toml."""
    print(render_toml(commands.example_config(example, sets)), end="")


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A config file, or a run directory to go on with.", metavar="CONFIG")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The run directory; default runs/ and the config's name.")
    ] = None,
    sets: SetOption = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done, do nothing.")
    ] = False,
    format: FormatOption = Format.table,
) -> None:
    """Do the whole loop: score the base model, then rounds of think, prune, train, evaluate. Resumes."""
    if config.is_dir():
        RunDir(config).require()
        out = out or config
        config = config / "config.toml"
    out = out or Path("runs") / config.stem
    loaded = load_config(config, sets)
    if dry_run:
        _print_result(commands.plan_of(loaded, out), format)
        return
    try:
        for record in Run(out, loaded, progress=True).rounds():
            if format is Format.table and record.index:
                _print_rounds(commands.summary_of(RunDir(out)), file=sys.stderr)
    except KeyboardInterrupt:
        begun = RunDir(out).config.exists()
        hint = f"nothing is lost. Go on with: tpt run {out}" if begun else "nothing was begun yet"
        print(f"\ninterrupted; {hint}", file=sys.stderr)
        raise
    _report(RunDir(out), format)


@app.command()
def status(path: RunPath, format: FormatOption = Format.table) -> None:
    """Say how far a run is: which stages of which rounds are done."""
    _print_result(commands.status(RunDir(path)), format)


@app.command()
def show(
    path: RunPath,
    round: RoundOption,
    problem: Annotated[
        str, typer.Option("--problem", help="Id of a problem; without one, the ids and their scores.")
    ] = "",
    format: FormatOption = Format.table,
) -> None:
    """Show a problem's traces in a round, with verdicts and what was trained on."""
    found = commands.show(RunDir(path), round, problem)
    if format is Format.json or not problem:
        _print_result(found, format)
    else:
        print(printable(commands.render_problem(found)))


@app.command()
def report(path: RunPath, format: FormatOption = Format.table) -> None:
    """Print the round table and write report.md into the run directory."""
    _report(RunDir(path), format)


@app.command()
def check(
    problems: Annotated[str, typer.Argument(help="A problem source, such as gsm8k?split=train or mine.jsonl.")],
    against: Annotated[
        str, typer.Option("--against", help="Held-out source: report what the two have in common.")
    ] = "",
    columns: Annotated[list[str], typer.Option("--column", help="FIELD=COLUMN of your own file.")] = [],  # noqa: B006
    traces: Annotated[
        Path | None,
        typer.Option("--traces", help="JSONL of traces: list doubtful gold answers and verifiers that disagree."),
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Prove that every gold answer passes its own verifier; find duplicates and overlap with held-out problems."""
    found, told = commands.check_sources(problems, against, commands.parse_columns(columns), traces)
    if told and format is Format.json:
        found["traces"] = told
    _print_result(found, format)
    if told and format is Format.table:
        print(f"\n{trace_check_text(told)}")
    if not found["ok"]:
        raise typer.Exit(1)


@app.command()
def audit(
    path: RunPath,
    n: Annotated[int, typer.Option("--n", help="Verdicts to draw, equally from every sort.", min=1)] = 30,
    round: Annotated[
        int | None, typer.Option("--round", help="Which round; default the last with verdicts.", min=0)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which random set.", min=0)] = 0,
    html: Annotated[Path | None, typer.Option("--html", help="Write the set as a page instead of asking.")] = None,
    marks: Annotated[
        list[str], typer.Option("--mark", help="Store a mark without asking.", metavar="ID:SAMPLE=MARK")
    ] = [],  # noqa: B006
    format: FormatOption = Format.table,
) -> None:
    """Read random verdicts, mark the wrong ones: the verifier's precision and recall."""
    opened = Audit(RunDir(path), n=n, round_index=round, seed=seed)
    screen = sys.stderr if format is Format.json else sys.stdout
    commands.audit(opened, marks, html, keyboard=sys.stdin, screen=screen)
    if format is Format.json:
        _print_result({"drawn": opened.drawn, "report": opened.report()}, format)
    else:
        print(report_text(opened.report()))


def _stage_command(stage: str, summary: str) -> None:
    def command(path: RunPath, round: RoundOption, format: FormatOption = Format.table) -> None:
        RunDir(path).require()
        with lock(RunDir(path)):
            manifest = do_stage(path, stage, round, progress=True)
        _print_result(manifest["counts"], format)

    command.__doc__ = summary
    app.command(name=stage)(command)


_stage_command("think", "Sample and judge the traces of one round; resumes.")
_stage_command("prune", "Choose one round's training examples.")
_stage_command("train", "Fine-tune on one round's examples.")
_stage_command("evaluate", "Score one round's model on the held-out problems; resumes.")


@app.command()
def verify(
    problems: Annotated[str, typer.Argument(help="A problem source.")],
    traces: Annotated[Path, typer.Argument(help="JSONL with problem_id and completion on every line.")],
) -> None:
    """Judge traces, yours or another tool's; prints verdicts as JSONL."""
    for verdict in commands.verify_file(problems, traces):
        print(json.dumps(to_table(verdict)))


@app.command("pass-at-k")
def pass_at_k(
    verdicts: Annotated[Path, typer.Argument(help="A verdicts.jsonl.")],
    k: Annotated[str, typer.Option("--k", help="Comma-separated k; default 1, 2, 4, … up to the samples.")] = "",
    format: FormatOption = Format.table,
) -> None:
    """Print unbiased pass@k, strict and lenient, with standard errors over problems."""
    _print_result(commands.pass_at_k_of(verdicts, commands.parse_ks(k)), format)


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 an error that was explained, 2 wrong usage, 130 interrupted."""
    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except TPTError as error:
        _fail(error, 1)
    except OSError as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    print(f"error: {printable(str(error))}", file=sys.stderr)
    sys.exit(code)


def _report(run: RunDir, format: Format) -> None:
    summary = commands.summary_of(run)
    commands.write_report(run, summary)
    if format is Format.json:
        print(json.dumps(commands.summary_json(summary), indent=2))
        return
    _print_rounds(summary, file=sys.stdout)
    print(f"\n{summary.headline}\nReport: {run.report}")


def _print_rounds(summary: commands.Summary, *, file: Any) -> None:
    console = Console(file=file, width=None if file.isatty() else 140)
    console.print(round_table(summary.rows))


def _print_result(result: Any, format: Format) -> None:
    table = to_table(result)
    if format is Format.json:
        # ASCII alone: what a model wrote may hold characters that a terminal would obey.
        print(json.dumps(table, indent=2))
    else:
        print(printable(commands.render(table)))
