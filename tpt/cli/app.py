"""The command line: each command is one call into the library. Results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tpt.audit.audit import Audit, marks_path
from tpt.audit.import_rows import FIELDS
from tpt.audit.import_samples import ImportedDir, import_samples
from tpt.cli import actions
from tpt.cli.config_check import check_config, is_config, require_alone
from tpt.cli.model_check import check_model
from tpt.cli.options import (
    ConfigPath,
    ExportDtype,
    Format,
    FormatOption,
    OutOption,
    RoundOption,
    RunPath,
    SandboxMode,
    SandboxOption,
    SetOption,
)
from tpt.cli.output import print_result, print_rounds, report_run
from tpt.cli.render import render, render_problem
from tpt.cli.score import score
from tpt.cli.verify_run import verify_run_command
from tpt.compare import comparison_json, load_arms, run_comparison
from tpt.compare.table import study_text
from tpt.config import render_toml
from tpt.errors import ConfigError, TPTError
from tpt.evidence import compare_runs
from tpt.export import ExportOptions, export
from tpt.gate import gate_text
from tpt.plan import MFU, WORTH_SEEING, PlanOptions, plan_run, plan_text
from tpt.report.audit import report_text
from tpt.report.compared import comparison_text
from tpt.report.noise import trace_check_text
from tpt.report.summary import summary_of, summary_of_import
from tpt.report.text import printable
from tpt.rounds import Run, do_alone
from tpt.run.directory import RunDir
from tpt.store import address_of, downloaded, share
from tpt.system.jsonl import to_table
from tpt.system.version import __version__

app = typer.Typer(
    name="tpt",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
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


@app.command()
def init(
    example: Annotated[str, typer.Argument(help="Which example to start from.")] = "quickstart",
    sets: SetOption = [],  # noqa: B006  (typer reads the default, and never changes it)
) -> None:
    """Print a complete config, every key with its meaning: tpt init > run.toml."""
    print(render_toml(actions.example_config(example, sets)), end="")


@app.command()
def run(
    config: ConfigPath,
    out: OutOption = None,
    sets: SetOption = [],  # noqa: B006
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would be done, do nothing.")
    ] = False,
    format: FormatOption = Format.table,
) -> None:
    """Do the whole loop: score the base model, then rounds of think, prune, train, evaluate. Resumes."""
    loaded, out = actions.config_and_folder(config, out, sets)
    if dry_run:
        print_result(actions.plan_of(loaded, out), format)
        return
    try:
        for record in Run(out, loaded, progress=True).rounds():
            if format is Format.table and record.index:
                print_rounds(summary_of(RunDir(out)), file=sys.stderr)
    except KeyboardInterrupt:
        begun = RunDir(out).config.exists()
        hint = f"nothing is lost. Go on with: tpt run {address_of(out)}" if begun else "nothing was begun yet"
        print(f"\ninterrupted; {hint}", file=sys.stderr)
        raise
    report_run(RunDir(out), format)


app.command()(score)


@app.command()
def plan(
    config: ConfigPath,
    out: OutOption = None,
    sets: SetOption = [],  # noqa: B006
    gpu: Annotated[str, typer.Option(help="Plan for NAME or NAME:COUNT, such as h100:8, not this machine.")] = "",
    price: Annotated[float | None, typer.Option(help="Of a device for an hour.", min=0)] = None,
    solve_rate: Annotated[
        float | None, typer.Option(help="Mean share of samples that are right.", min=0, max=1)
    ] = None,
    completion_tokens: Annotated[float | None, typer.Option(help="Mean length of a completion.", min=1)] = None,
    mfu: Annotated[float, typer.Option(help="Share of a GPU's arithmetic for training.", min=0.01, max=1)] = MFU,
    detect: Annotated[
        float | None, typer.Option(help="A gain in points: how many held-out problems show it.", min=0.01)
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Say what a run will cost before it starts: tokens, time, memory, disk, price. Exit code 1: it does not fit."""
    loaded, out = actions.config_and_folder(config, out, sets)
    planned = plan_run(loaded, out, PlanOptions(gpu, price, solve_rate, completion_tokens, mfu, detect))
    if format is Format.json:
        print_result(planned, format)
    else:
        print(printable(plan_text(planned, render(planned.outline))))
    raise typer.Exit(0 if planned.fits else 1)


@app.command()
def status(path: RunPath, format: FormatOption = Format.table) -> None:
    """Say how far a run is: which stages of which rounds are done."""
    print_result(actions.run_status(RunDir(path)), format)


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
    found = actions.problem_traces(RunDir(path), round, problem)
    if format is Format.json or not problem:
        print_result(found, format)
    else:
        print(printable(render_problem(found)))


@app.command()
def report(
    path: RunPath,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            parser=downloaded,
            metavar="PATH",
            help="Another run, or imported samples: compare the two on their shared problems instead.",
        ),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write report.html into the run directory too.")] = False,
    html_to: Annotated[Path | None, typer.Option("--html-to", help="Write the page there instead.")] = None,
    html_traces: Annotated[
        int, typer.Option("--html-traces", help="Traces of each problem and round in the page; 0: all.", min=0)
    ] = 0,
    format: FormatOption = Format.table,
) -> None:
    """Print the round table and write report.md into the run directory; or compare two runs, or read imported samples."""
    if (html or html_to) and (compare or ImportedDir(path).exists()):
        raise ConfigError("--html writes the report of one run: leave out --compare, and give no imported samples")
    if compare is None and ImportedDir(path).exists():
        print_result(summary_of_import(ImportedDir(path)), format)
        return
    if compare is None:
        page = html_to or (path / "report.html" if html else None)
        report_run(RunDir(path), format, page=page, most_traces=html_traces)
        return
    compared = compare_runs(RunDir(path), RunDir(compare))
    if format is Format.json:
        print_result(compared, format)
    else:
        print(printable(comparison_text(compared)))


@app.command()
def compare(
    arms: Annotated[Path, typer.Argument(help="An arms file: base config, arms, seeds, budget.", metavar="ARMS")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The comparison's folder; default runs/ and the arms file's name.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="Runs at a time; 0: as many as there are cores for.", min=0)] = 0,
    format: FormatOption = Format.table,
) -> None:
    """Run several arms from one base at equal budget, with several seeds, and compare them. Resumes."""
    out = out or Path("runs") / arms.stem
    try:
        found = run_comparison(load_arms(arms), out, jobs=jobs, progress=True)
    except KeyboardInterrupt:
        print(f"\ninterrupted; nothing is lost. Go on with the same command (--out {out})", file=sys.stderr)
        raise
    if format is Format.json:
        print(json.dumps(comparison_json(found), indent=2))
    else:
        print(printable(f"{study_text(found)}\n\nWritten: {out / 'compare.md'}, compare.json, compare.svg"))


@app.command()
def check(
    problems: Annotated[
        str,
        typer.Argument(help="A problem source, such as gsm8k?split=train or mine.jsonl; or a config file."),
    ],
    model: Annotated[
        bool, typer.Option("--model", help="Sample the config's model: is a run worth it, and what to change.")
    ] = False,
    sets: SetOption = [],  # noqa: B006
    against: Annotated[
        str, typer.Option("--against", help="Held-out source: report what the two have in common.")
    ] = "",
    columns: Annotated[list[str], typer.Option("--column", help="FIELD=COLUMN of your own file.")] = [],  # noqa: B006
    traces: Annotated[
        Path | None,
        typer.Option("--traces", help="JSONL of traces: list doubtful gold answers and verifiers that disagree."),
    ] = None,
    detect: Annotated[
        float, typer.Option("--detect", help="Of a config: a gain in points that should be seen.", min=0.01)
    ] = WORTH_SEEING,
    sandbox: SandboxOption = SandboxMode.bubblewrap,
    format: FormatOption = Format.table,
) -> None:
    """Prove that every gold answer passes its own verifier; find duplicates, overlap; --model: is a run worth it."""
    if model or sets or is_config(problems):
        require_alone(problems, model=model, sets=sets, against=against, column=columns, traces=traces)
        if model:
            _check_model(downloaded(problems), sets, format)
        _check_config(downloaded(problems), sets, detect, format)
    named = actions.parse_columns(columns)
    found, told = actions.check_sources(problems, against, named, traces, sandbox=sandbox.value)
    if told and format is Format.json:
        found["traces"] = told
    print_result(found, format)
    if told and format is Format.table:
        print(f"\n{trace_check_text(told)}")
    if not found["ok"]:
        raise typer.Exit(1)


def _check_config(path: Path, sets: list[str], detect: float, format: Format) -> NoReturn:
    loaded, out = actions.config_and_folder(path, None, sets)
    found = check_config(loaded, out, detect=detect)
    if format is Format.table:
        for warning in found.pop("warnings"):
            print(f"warning: {warning}", file=sys.stderr)
    print_result(found, format)
    raise typer.Exit(0 if found["ok"] else 1)


def _check_model(path: Path, sets: list[str], format: Format) -> NoReturn:
    loaded, _ = actions.config_and_folder(path, None, sets)
    found = check_model(loaded)
    if format is Format.json:
        print_result(found, format)
    else:
        print(printable(gate_text(found)))
    raise typer.Exit(1 if found.stops else 0)


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
    actions.do_audit(opened, marks, html, keyboard=sys.stdin, screen=screen)
    share(opened.run, marks_path(opened.run))
    if format is Format.json:
        print_result({"drawn": opened.drawn, "report": opened.report()}, format)
    else:
        print(report_text(opened.report()))


@app.command("export")
def export_model(
    path: RunPath,
    to: Annotated[Path, typer.Option("--to", help="The folder to make.", metavar="DIR")],
    round: Annotated[str, typer.Option("--round", help="best, last, or a number; 0 is the base model.")] = "best",
    dtype: Annotated[ExportDtype, typer.Option("--dtype", help="Precision of the weights.")] = ExportDtype.as_saved,
    merge: Annotated[bool, typer.Option("--merge", help="Put an adapter into its base model's weights.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="Write model.gguf too (Llama and Qwen 2 families).")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    format: FormatOption = Format.table,
) -> None:
    """Write a round's model as a folder that transformers loads, with a model card and its lineage."""
    options = ExportOptions(round=round, dtype=dtype.value, merge=merge, gguf=gguf, force=force)
    print_result(export(RunDir(path), to, options), format)


def _stage_command(stage: str, summary: str) -> None:
    def command(path: RunPath, round: RoundOption, format: FormatOption = Format.table) -> None:
        print_result(do_alone(RunDir(path), stage, round)["counts"], format)

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
    kind: Annotated[str, typer.Option("--kind", help="Verifier that judges them, not the source's own.")] = "",
    sandbox: SandboxOption = SandboxMode.bubblewrap,
) -> None:
    """Judge traces, yours or another tool's; prints verdicts as JSONL."""
    for verdict in actions.verify_file(problems, traces, kind=kind, sandbox=sandbox.value):
        print(json.dumps(to_table(verdict)))


app.command("verify-run")(verify_run_command)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Samples of another tool: JSONL, JSON, CSV, TSV or Parquet.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to make.", metavar="DIR")],
    kind: Annotated[str, typer.Option("--kind", help="Verifier that judges them.")] = "number",
    columns: Annotated[
        list[str],
        typer.Option("--column", help=f"FIELD=COLUMN of the file, a.b for part b of a. Fields: {', '.join(FIELDS)}."),
    ] = [],  # noqa: B006
    format: FormatOption = Format.table,
) -> None:
    """Take samples of another tool, with problem id, text and gold: judge them, for tpt report and tpt pass-at-k."""
    print_result(import_samples(file, to, kind=kind, columns=actions.parse_columns(columns)), format)


@app.command("pass-at-k")
def pass_at_k(
    verdicts: Annotated[Path, typer.Argument(help="A verdicts.jsonl, or a folder with one.")],
    k: Annotated[str, typer.Option("--k", help="Comma-separated k; default 1, 2, 4, … up to the samples.")] = "",
    format: FormatOption = Format.table,
) -> None:
    """Print unbiased pass@k, strict and lenient, with standard errors over problems."""
    print_result(actions.pass_at_k_of(verdicts, actions.parse_ks(k)), format)


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 an error that was explained, 2 wrong usage, 130 interrupted."""
    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except (TPTError, OSError) as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    print(f"error: {printable(str(error))}", file=sys.stderr)
    sys.exit(code)
