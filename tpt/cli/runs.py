"""Commands that make runs. What a command needs is imported when it is called, so that --help answers at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tpt.cli.options import (
    ColumnOption,
    ConfigPath,
    Format,
    FormatOption,
    KindOption,
    OutOption,
    RoundOption,
    RunPath,
    SetOption,
    path_here,
    source_overrides,
)


def run(
    config: ConfigPath,
    out: OutOption = None,
    sets: SetOption = [],  # noqa: B006
    columns: ColumnOption = [],  # noqa: B006
    kind: KindOption = "",
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Check everything that a start does, short of sampling; write nothing.")
    ] = False,
    format: FormatOption = Format.table,
) -> None:
    """Do the whole loop: score the base model, then rounds of think, prune, train, evaluate. Resumes."""
    from tpt.cli import actions
    from tpt.cli.output import print_result, print_rounds, report_run
    from tpt.report.summary import summary_of
    from tpt.rounds import Run
    from tpt.run.directory import RunDir
    from tpt.store import address_of

    loaded, out = actions.config_and_folder(config, out, [*sets, *source_overrides(columns, kind)])
    if dry:
        from tpt.cli.dry_run import dry_run

        print_result(dry_run(loaded, out), format)
        return
    try:
        for record in Run(out, loaded, progress=True).rounds():
            if format is Format.table and record.index:
                print_rounds(summary_of(RunDir(out)), file=sys.stderr)
    except KeyboardInterrupt:
        begun = RunDir(out).exists()
        hint = f"nothing is lost. Go on with: tpt run {address_of(out)}" if begun else "nothing was begun yet"
        print(f"\ninterrupted; {hint}", file=sys.stderr)
        raise
    report_run(RunDir(out), format)


def score(
    model: Annotated[
        str,
        typer.Argument(help="A run directory, an export, a model folder, a .gguf file, or a Hub id.", metavar="MODEL"),
    ],
    problems: Annotated[
        str, typer.Argument(help="A source of problems; of a run: default its held-out ones.", metavar="PROBLEMS")
    ] = "",
    round: Annotated[int | None, typer.Option("--round", help="Of a run: which; default the best.", min=0)] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Samples of every problem.", min=1)] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="0: greedy.", min=0)] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="Longest completion.", min=1)] = None,
    out: OutOption = None,
    sets: SetOption = [],  # noqa: B006
    columns: ColumnOption = [],  # noqa: B006
    kind: KindOption = "",
    format: FormatOption = Format.table,
) -> None:
    """Score a model on problems; the result is a run of no rounds, for tpt report and tpt report --compare. Resumes."""
    from tpt.cli.score import score_model

    asked = {"samples": samples, "temperature": temperature, "max_tokens": max_tokens}
    given = {key: value for key, value in asked.items() if value is not None}
    score_model(model, problems, round, given, out, [*sets, *source_overrides(columns, kind)], format)


def plan(
    config: ConfigPath,
    out: OutOption = None,
    sets: SetOption = [],  # noqa: B006
    gpu: Annotated[str, typer.Option(help="Plan for NAME or NAME:COUNT, such as h100:8, not this machine.")] = "",
    price: Annotated[float | None, typer.Option(help="Of a device for an hour.", min=0, max=1e6)] = None,
    solve_rate: Annotated[
        float | None, typer.Option(help="Mean share of samples that are right.", min=0, max=1)
    ] = None,
    completion_tokens: Annotated[
        float | None, typer.Option(help="Mean length of a completion.", min=1, max=1e9)
    ] = None,
    mfu: Annotated[
        float | None,
        typer.Option(
            help="Share of a GPU's arithmetic for training; default: what the plan lists as assumed.", min=0.01, max=1
        ),
    ] = None,
    detect: Annotated[
        float | None, typer.Option(help="A gain in points: how many held-out problems show it.", min=0.01, max=100)
    ] = None,
    format: FormatOption = Format.table,
) -> None:
    """Say what a run will cost before it starts: tokens, time, memory, disk, price. Exit code 1: it does not fit."""
    from tpt.cli import actions
    from tpt.cli.dry_run import rehearsed_plan
    from tpt.cli.output import print_result
    from tpt.cli.render import render
    from tpt.plan import MFU, PlanOptions, plan_run, plan_text

    loaded, out = actions.config_and_folder(config, out, sets)
    options = PlanOptions(gpu, price, solve_rate, completion_tokens, MFU if mfu is None else mfu, detect)
    planned = plan_run(loaded, out, options)
    planned.outline["rehearsal"] = rehearsed_plan(loaded, elsewhere=bool(gpu))
    print_result(planned, format, lambda width: plan_text(planned, render(planned.outline, width=width), width=width))
    raise typer.Exit(0 if planned.fits else 1)


def compare(
    arms: Annotated[
        Path,
        typer.Argument(parser=path_here, help="An arms file: base config, arms, seeds, budget.", metavar="ARMS"),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            parser=path_here,
            help="The comparison's folder; default runs/ and the arms file's name.",
            metavar="PATH",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="Runs at a time; 0: as many as there are cores for.", min=0)] = 0,
    format: FormatOption = Format.table,
) -> None:
    """Run several arms from one base at equal budget, with several seeds, and compare them. Resumes."""
    from tpt.compare import comparison_json, load_arms, run_comparison
    from tpt.compare.table import study_text
    from tpt.system.terminal import columns_of, printable

    out = out or Path("runs") / arms.stem
    try:
        found = run_comparison(load_arms(arms), out, jobs=jobs, progress=True)
    except KeyboardInterrupt:
        print(f"\ninterrupted; nothing is lost. Go on with the same command (--out {out})", file=sys.stderr)
        raise
    if format is Format.json:
        print(json.dumps(comparison_json(found), indent=2))
    else:
        text = study_text(found, width=columns_of(sys.stdout))
        print(printable(f"{text}\n\nWritten: {out / 'compare.md'}, compare.json, compare.svg"))


def stage_command(stage: str, summary: str) -> Callable[..., None]:
    """Return the command that does one stage."""

    def command(path: RunPath, round: RoundOption, format: FormatOption = Format.table) -> None:
        from tpt.cli.output import print_result
        from tpt.rounds import do_alone
        from tpt.run.directory import RunDir

        print_result(do_alone(RunDir(path), stage, round)["counts"], format)

    command.__doc__ = summary
    return command
