"""Commands that read runs. What a command needs is imported when it is called, so that --help answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tpt.cli.options import (
    ExportDtype,
    Format,
    FormatOption,
    HtmlTracesOption,
    RoundOption,
    RunPath,
    ToOption,
    local_copy,
    page_here,
)
from tpt.errors import ConfigError


def status(
    path: RunPath,
    watch: Annotated[bool, typer.Option("--watch", help="Say it again and again until the run ends.")] = False,
    every: Annotated[
        float, typer.Option("--every", help="With --watch: seconds between looks.", min=0.1, max=86_400)
    ] = 2.0,
    format: FormatOption = Format.table,
) -> None:
    """Say how far a run is, whether it is alive, what it is doing and how long that will take."""
    from tpt.cli.watch import print_status, watch_run
    from tpt.run.directory import RunDir

    if watch:
        watch_run(RunDir(path), format, every_s=every)
    else:
        print_status(RunDir(path), format)


def show(
    path: RunPath,
    round: RoundOption,
    problem: Annotated[
        str, typer.Option("--problem", help="Id of a problem; without one, the ids and their scores.")
    ] = "",
    format: FormatOption = Format.table,
) -> None:
    """Show a problem's traces in a round, with verdicts and what was trained on."""
    from tpt.cli import actions
    from tpt.cli.output import print_result
    from tpt.cli.render import render_problem
    from tpt.run.directory import RunDir

    found = actions.problem_traces(RunDir(path), round, problem)
    print_result(found, format, (lambda width: render_problem(found, width=width)) if problem else None)


def report(
    path: RunPath,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            parser=local_copy,
            metavar="PATH",
            help="Another run, or imported samples: compare the two on their shared problems instead.",
        ),
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write report.html into the run directory too.")] = False,
    html_to: Annotated[
        Path | None,
        typer.Option("--html-to", parser=page_here, help="Write the page there instead.", metavar="PATH"),
    ] = None,
    html_traces: HtmlTracesOption = 0,
    format: FormatOption = Format.table,
) -> None:
    """Print the round table and write report.md into the run directory; or compare two runs, or read imported samples."""
    from tpt.audit.import_samples import ImportedDir
    from tpt.cli.output import print_result, report_run
    from tpt.evidence import compare_runs
    from tpt.report.compared import comparison_text
    from tpt.report.summary import summary_of_import
    from tpt.run.directory import RunDir

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
    print_result(compared, format, lambda width: comparison_text(compared, width=width))


def watch(
    path: RunPath,
    port: Annotated[int, typer.Option("--port", help="Port on this machine; 0: a free one.", min=0, max=65535)] = 0,
    html_traces: HtmlTracesOption = 0,
) -> None:
    """Follow a run in a browser: its HTML report, on this machine alone, until Ctrl-C."""
    from tpt.cli.watch import serve_run
    from tpt.run.directory import RunDir

    serve_run(RunDir(path), port=port, most_traces=html_traces)


def verify_files(path: RunPath, format: FormatOption = Format.table) -> None:
    """Read every file of a run and compute its scores again. Exit code 1: something was changed since."""
    from tpt.cli.output import print_result
    from tpt.report.verified import verified_text, verify_run
    from tpt.run.directory import RunDir

    found = verify_run(RunDir(path))
    told = {"ok": found.ok, "changed": found.changed, "stages": found.stages, "records": found.records}
    print_result(told, format, lambda width: verified_text(found))
    raise typer.Exit(0 if found.ok else 1)


def audit(
    path: RunPath,
    n: Annotated[int, typer.Option("--n", help="Verdicts to draw, equally from every sort.", min=1)] = 30,
    round: Annotated[
        int | None, typer.Option("--round", help="Which round; default the last with verdicts.", min=0)
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which random set.", min=0)] = 0,
    html: Annotated[
        Path | None,
        typer.Option("--html", parser=page_here, help="Write the set as a page instead of asking.", metavar="PATH"),
    ] = None,
    marks: Annotated[
        list[str], typer.Option("--mark", help="Store a mark without asking.", metavar="ID:SAMPLE=MARK")
    ] = [],  # noqa: B006
    format: FormatOption = Format.table,
) -> None:
    """Read random verdicts, mark the wrong ones: the verifier's precision and recall."""
    from tpt.audit.audit import Audit, marks_path
    from tpt.audit.mistake_cost import cost_sentence
    from tpt.cli import actions
    from tpt.cli.output import print_result
    from tpt.report.audit import report_text
    from tpt.run.directory import RunDir
    from tpt.store import share

    opened = Audit(RunDir(path), n=n, round_index=round, seed=seed)
    screen = sys.stderr if format is Format.json else sys.stdout
    actions.do_audit(opened, marks, html, keyboard=sys.stdin, screen=screen)
    share(opened.run, marks_path(opened.run))
    found = opened.report()
    told = {"drawn": opened.drawn, "report": found, "cost of false accepts": cost_sentence(found.precision)}
    print_result(told, format, lambda width: report_text(found, width=width))


def export_model(
    path: RunPath,
    to: ToOption,
    round: Annotated[str, typer.Option("--round", help="best, last, or a number; 0 is the base model.")] = "best",
    dtype: Annotated[ExportDtype, typer.Option("--dtype", help="Precision of the weights.")] = ExportDtype.as_saved,
    merge: Annotated[bool, typer.Option("--merge", help="Put an adapter into its base model's weights.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="Write model.gguf too (Llama and Qwen 2 families).")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    dataset: Annotated[
        bool, typer.Option("--dataset", help="The examples and traces of all rounds instead, as a dataset.")
    ] = False,
    push: Annotated[str, typer.Option("--push", help="Upload it to the Hub too, private.", metavar="OWNER/NAME")] = "",
    public: Annotated[bool, typer.Option("--public", help="With --push: visible to everyone.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --push: say what would be uploaded.")] = False,
    eval_result: Annotated[
        str,
        typer.Option(
            "--eval-result",
            help="The Hub benchmark that the held-out problems are: the score in .eval_results.",
            metavar="ID[:TASK]",
        ),
    ] = "",
    format: FormatOption = Format.table,
) -> None:
    """Write a round's model as a folder that transformers loads, with a model card and its lineage."""
    from tpt.cli.output import print_result
    from tpt.export import ExportOptions, export
    from tpt.export.dataset import export_dataset
    from tpt.export.hub import check_repo
    from tpt.export.hub import push as push_folder
    from tpt.run.directory import RunDir

    _require_company(push=push, public=public, dry_run=dry_run)
    if dataset:
        is_of_model = {"--round": round != "best", "--dtype": dtype is not ExportDtype.as_saved, "--merge": merge}
        _require_model(is_of_model | {"--gguf": gguf, "--eval-result": bool(eval_result)})
    if push:
        check_repo(push)
    options = ExportOptions(
        round=round, dtype=dtype.value, merge=merge, gguf=gguf, force=force, eval_result=eval_result
    )
    run = RunDir(path)
    written = export_dataset(run, to, force=force) if dataset else export(run, to, options)
    if push:
        written |= push_folder(to, push, repo="dataset" if dataset else "model", public=public, dry_run=dry_run)
    print_result(written, format)


def _require_company(*, push: str, public: bool, dry_run: bool) -> None:
    """Refuse what says how to upload where nothing is uploaded; --dry-run would write the folder all the same."""
    if (public or dry_run) and not push:
        named = "--public" if public else "--dry-run"
        raise ConfigError(f"{named} says how to upload: add --push OWNER/NAME, or leave {named} out")


def _require_model(given: dict[str, bool]) -> None:
    """Refuse options of a model where a dataset is exported, which has all rounds and no weights."""
    if named := [option for option, is_given in given.items() if is_given]:
        raise ConfigError(f"--dataset exports no model, but the data of all rounds: leave out {', '.join(named)}")
