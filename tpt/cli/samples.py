"""Commands on problems and samples. What a command needs is imported when it is called, so that --help answers at once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from tpt.cli.options import (
    ColumnOption,
    Format,
    FormatOption,
    FromOption,
    KindOption,
    SandboxMode,
    SandboxOption,
    SetOption,
    ToOption,
    local_copy,
    path_here,
)


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
    columns: ColumnOption = [],  # noqa: B006
    kind: KindOption = "",
    traces: Annotated[
        Path | None,
        typer.Option(
            "--traces",
            parser=path_here,
            help="Samples, as tpt verify reads them: list doubtful golds and verifiers that disagree.",
            metavar="PATH",
        ),
    ] = None,
    detect: Annotated[
        float | None,
        typer.Option("--detect", help="Of a config: a gain in points that should be seen.", min=0.01, max=100),
    ] = None,
    sandbox: SandboxOption = SandboxMode.bubblewrap,
    format: FormatOption = Format.table,
) -> None:
    """Prove that every gold answer passes its own verifier; find duplicates, overlap; --model: is a run worth it."""
    from tpt.cli import actions
    from tpt.cli.config_check import is_config, require_alone
    from tpt.cli.output import print_result
    from tpt.report.noise import trace_check_text
    from tpt.system.terminal import columns_of, wrapped

    if model or sets or is_config(problems):
        require_alone(problems, model=model, sets=sets, against=against, column=columns, kind=kind, traces=traces)
        if model:
            _check_model(local_copy(problems), sets, format)
        _check_config(local_copy(problems), sets, detect, format)
    source = actions.Source(problems, actions.parse_columns(columns), kind)
    found, told = actions.check_sources(source, against, traces, sandbox=sandbox.value)
    if told and format is Format.json:
        found["traces"] = told
    print_result(found, format)
    if told and format is Format.table:
        print("\n" + wrapped(trace_check_text(told), columns_of(sys.stdout)))
    if not found["ok"]:
        raise typer.Exit(1)


def _check_config(path: Path, sets: list[str], detect: float | None, format: Format) -> NoReturn:
    from tpt.cli import actions
    from tpt.cli.config_check import check_config
    from tpt.cli.output import print_result
    from tpt.plan import WORTH_SEEING
    from tpt.system.terminal import tell

    loaded, out = actions.config_and_folder(path, None, sets)
    found = check_config(loaded, out, detect=WORTH_SEEING if detect is None else detect)
    if format is Format.table:
        for warning in found.pop("warnings"):
            tell(f"warning: {warning}", sys.stderr)
    print_result(found, format)
    raise typer.Exit(0 if found["ok"] else 1)


def _check_model(path: Path, sets: list[str], format: Format) -> NoReturn:
    from tpt.cli import actions
    from tpt.cli.model_check import check_model
    from tpt.cli.output import print_result
    from tpt.gate import gate_text

    loaded, _ = actions.config_and_folder(path, None, sets)
    found = check_model(loaded)
    print_result(found, format, lambda width: gate_text(found))
    raise typer.Exit(1 if found.stops else 0)


def verify(
    problems: Annotated[str, typer.Argument(help="A problem source.")],
    traces: Annotated[
        Path,
        typer.Argument(
            parser=path_here,
            help="Samples: rows with problem_id and completion, a log that tpt import knows, or a folder.",
            metavar="TRACES",
        ),
    ],
    layout: FromOption = "",
    columns: ColumnOption = [],  # noqa: B006
    kind: KindOption = "",
    sandbox: SandboxOption = SandboxMode.bubblewrap,
) -> None:
    """Judge samples, yours or another tool's; prints verdicts as JSONL."""
    from tpt.cli import actions
    from tpt.system.jsonl import to_table
    from tpt.system.terminal import tell

    source = actions.Source(problems, actions.parse_columns(columns), kind)
    samples = actions.open_samples(source, traces, layout)
    for verdict in actions.verify_samples(samples, sandbox=sandbox.value):
        print(json.dumps(to_table(verdict)))
    if samples.failed:
        tell(f"failed requests left out: {samples.failed:,}", sys.stderr)


def import_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            parser=path_here,
            help="Samples of another tool: logs, files of rows, or folders; several are several samples.",
            metavar="FILE...",
        ),
    ],
    to: ToOption,
    problems: Annotated[
        str, typer.Option("--problems", help="A problem source with the gold answers.", metavar="SOURCE")
    ] = "",
    layout: FromOption = "",
    columns: ColumnOption = [],  # noqa: B006
    kind: KindOption = "",
    format: FormatOption = Format.table,
) -> None:
    """Take samples of another tool: judge them, for tpt report, tpt pass-at-k, and runs that start at Prune."""
    from tpt.cli import actions
    from tpt.cli.output import print_result

    source = actions.Source(problems, actions.parse_columns(columns), kind)
    told = actions.import_from(files, to, source, layout)
    if format is Format.table:
        told["files"] = len(told["files"])
    print_result(told, format)


def pass_at_k(
    verdicts: Annotated[
        Path,
        typer.Argument(parser=path_here, help="A verdicts.jsonl, or a folder with one.", metavar="VERDICTS"),
    ],
    k: Annotated[str, typer.Option("--k", help="Comma-separated k; default 1, 2, 4, … up to the samples.")] = "",
    format: FormatOption = Format.table,
) -> None:
    """Print unbiased pass@k, strict and lenient, with standard errors over problems."""
    from tpt.cli import actions
    from tpt.cli.output import print_result

    print_result(actions.pass_at_k_of(verdicts, actions.parse_ks(k)), format)
