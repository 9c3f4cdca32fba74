"""Check a config before a run, without its model: its problems, and whether the held-out ones can show a gain."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tpt.audit.check import check, check_problems
from tpt.audit.run_problems import load_also_sources, load_sources
from tpt.config import RunConfig
from tpt.config.own_code_keys import require_own_code
from tpt.errors import ConfigError
from tpt.evidence.best_round import split_problems, units_of
from tpt.plan import expected_power, power_warnings
from tpt.problems import load_wrong_programs
from tpt.problems.spec import is_named_source
from tpt.records import Problem
from tpt.run.directory import is_run
from tpt.scoring import fewest_units
from tpt.system.jsonl import to_table
from tpt.system.url import is_url
from tpt.verifiers.judge import judge


def is_config(text: str) -> bool:
    """Return whether what is to be checked is a config or a run, and no source of problems."""
    return (is_url(text) and not is_named_source(text)) or text.endswith(".toml") or is_run(text)


def require_alone(checked: str, *, model: bool, sets: list[str], **given: object) -> None:
    """Raise ConfigError for options of ``tpt check`` that don't go together."""
    if sets and not (model or is_config(checked)):
        raise ConfigError(f"--set changes a config, and {checked} is a source of problems: name a config file")
    if names := [f"--{name}" for name, value in given.items() if value]:
        what = (
            "--model checks a config with its model"
            if model
            else f"{checked} is a config, which names all of its problems"
        )
        raise ConfigError(f"{what}: leave out {', '.join(names)}")


def check_config(config: RunConfig, out: Path, *, detect: float) -> dict[str, Any]:
    """Check a config's problems as ``tpt check`` does, and say what its held-out problems are too few for.

    ``detect`` is a true gain in points that should be seen; what a run in ``out`` has shown is counted in.

    Raises:
        ProblemError: the problems cannot be read, or some are on both sides.
        OwnCodeError: a function that the config names cannot be imported.
    """
    require_own_code(config)
    train, heldout = load_sources(config)
    judge_here = partial(judge, limits=config.verify)
    source = config.problems
    wrong_programs = load_wrong_programs(source.train, limit=source.max_train or None) if source.train else {}
    found = check(train, heldout, judge=judge_here, wrong_programs=wrong_programs)
    further = load_also_sources(config, train, config.evaluate.also)
    also = {each.label: check_problems(further[each.stage], judge_here) for each in config.evaluate.also}
    table = {key: value for key, value in to_table(found).items() if value is not None}
    table |= {"also": to_table(also)} if also else {}
    sound = found.ok and all(each.ok for each in also.values())
    return {**table, "ok": sound, "warnings": _warnings(config, heldout, out, detect)}


def _warnings(config: RunConfig, heldout: list[Problem], out: Path, detect: float) -> list[str]:
    if not config.rounds:
        return []
    units = units_of(heldout, set(split_problems(heldout, config).choosing))
    clustered = any(problem.cluster for problem in heldout)
    needed = fewest_units(config.stop.alpha / config.rounds, clustered=clustered)
    power = expected_power(config, out, problems=len(heldout), asked=detect)
    return power_warnings(power, choosing_units=units, needed_for_star=needed)
