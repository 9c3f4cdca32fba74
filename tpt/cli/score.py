"""tpt score: any model, checkpoint or export on any problems, as a run that only scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tpt.cli.options import Format
from tpt.cli.output import report_run
from tpt.config import RunConfig, load_config, parse_config
from tpt.errors import ConfigError, RunError
from tpt.export import ORIGIN
from tpt.rounds import Run, best_round
from tpt.run.directory import RunDir, is_run
from tpt.run.manifest import require_unchanged_run
from tpt.run.sealed import digest_of
from tpt.start_model import require_weights, trained_model_of
from tpt.store import downloaded
from tpt.system.jsonl import read_json, to_table
from tpt.system.terminal import tell
from tpt.system.url import is_url


def score_model(
    model: str,
    problems: str,
    round: int | None,
    asked: dict[str, Any],
    out: Path | None,
    sets: list[str],
    format: Format,
) -> None:
    """Score a model, a run's round or an export on problems, and report what came of it; ``asked``: keys of evaluate.

    Raises:
        ConfigError: the options do not go together, or a run's own problems are to be read otherwise than they are.
    """
    described = any(each.startswith(("problems.columns.", "problems.kind=")) for each in sets)
    if described and not problems:
        raise ConfigError(
            f"tpt score {model}: --column and --kind say how PROBLEMS are read, and there are none. Name their source"
        )
    if is_url(model) or is_run(model):
        run = RunDir(downloaded(model) if is_url(model) else model)
        config = _config_of_run(run, problems, round, asked, sets)
        name = f"{run.path.resolve().name}-round-{_round_of(run, round)}"
    else:
        if round is not None:
            raise ConfigError(f"--round {round}: {model} is no run directory, so it has no rounds. Leave --round out")
        config = _config_of_model(model, problems, asked, sets)
        name = Path(model).name
    out = out or Path("runs") / f"score-{name}-{digest_of(to_table(config.model_dump()))[:8]}"
    for _ in Run(out, config, progress=True).rounds():
        pass
    tell(f"scored into {out}", sys.stderr)
    report_run(RunDir(out), format)


def _config_of_run(run: RunDir, problems: str, round: int | None, asked: dict[str, Any], sets: list[str]) -> RunConfig:
    """Return the config that scores a run's round: prompt, engine and verifiers are the run's."""
    require_unchanged_run(run)
    table = load_config(run.config).model_dump()
    index = _round_of(run, round)
    if index:
        model = trained_model_of(run.round(index))
        require_weights(model)
        table["model"] = model.spec
    if problems:
        table["problems"]["heldout"] = problems
    else:
        # The very problems of the run, whatever their source gives today.
        run_problems = run.heldout.resolve()
        table["problems"] |= {"heldout": str(run_problems), "columns": {}, "max_heldout": 0, "kind": ""}
    return _scoring(table, asked, sets)


def _config_of_model(model: str, problems: str, asked: dict[str, Any], sets: list[str]) -> RunConfig:
    """Return the config that scores a model; that of an export has the prompt that it was trained with."""
    if not problems:
        raise ConfigError(
            f"tpt score {model}: which problems? Name a source, such as: tpt score {model} gsm8k?split=test"
        )
    table: dict[str, Any] = {"model": model, "problems": {"heldout": problems}}
    origin = Path(model) / ORIGIN
    if origin.is_file():
        config = read_json(origin).get("config", {})
        table |= {name: config[name] for name in ("prompt", "evaluate") if name in config}
    return _scoring(table, asked, sets)


def _scoring(table: dict[str, Any], asked: dict[str, Any], sets: list[str]) -> RunConfig:
    table = json.loads(json.dumps(table))
    table["rounds"] = 0
    table["problems"] |= {"train": "", "max_train": 0}
    # Only held against a base model does a probe say anything.
    table["evaluate"] = {**table.get("evaluate", {}), "probe": 0, "ks": [], "also": [], **asked}
    return parse_config(table, sets, where="tpt score")


def _round_of(run: RunDir, round: int | None) -> int:
    """Return the round asked for, else the best by the verdicts, whatever the file ``best`` has been made to say."""
    if round is not None:
        return round
    records = Run(run.path).records()
    if not records:
        raise RunError(
            f"{run.path}: no round is finished yet, so none is the best. Name one: --round 0 is the base model"
        )
    return best_round(run, records).index
