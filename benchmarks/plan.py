"""How near a plan comes to the run: plans before it, after round 0 and after round 1, and then the whole run.

    python benchmarks/plan.py [CONFIG ...] [--solve-rate 0.3]

Without configs: the quickstart and SmolLM2. Each plan is of the whole run, tokens sampled and trained on and minutes from
the start to the end; planning itself is not counted. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tpt.config import RunConfig, load_config
from tpt.plan import PlanOptions, RunPlan, plan_run, plan_text
from tpt.rounds import Run

ROOT = Path(__file__).parents[1]
CONFIGS = [ROOT / "examples" / "quickstart.toml", ROOT / "examples" / "smollm2.toml"]
PLANNED_AFTER = (0, 1)
"""Rounds after which the rest is planned anew."""


class Snapshot(NamedTuple):
    """A plan of the whole run, made at some point of it."""

    when: str
    tokens: int
    minutes: float
    took_s: float


class Ended(NamedTuple):
    """The run itself."""

    tokens: int
    minutes: float
    plan: RunPlan


def snapshot(when: str, config: RunConfig, out: Path, options: PlanOptions) -> tuple[Snapshot, RunPlan]:
    """Plan the whole run from what there is of it."""
    started = time.monotonic()
    plan = plan_run(config, out, options)
    assert plan.total.seconds is not None
    tokens = plan.total.sampled_tokens + plan.total.trained_tokens
    return Snapshot(when, tokens, plan.total.seconds / 60, time.monotonic() - started), plan


def plan_and_run(config: RunConfig, out: Path, solve_rate: float | None) -> tuple[list[Snapshot], Ended]:
    """Run a config, and plan it at several points."""
    snapshots = [snapshot("before, default solve rate", config, out, PlanOptions())[0]]
    if solve_rate is not None:
        options = PlanOptions(solve_rate=solve_rate)
        snapshots.append(snapshot(f"before, --solve-rate {solve_rate:g}", config, out, options)[0])
    rounds = Run(out, config).rounds()
    wall_s = 0.0
    for index in range(config.rounds + 1):
        started = time.monotonic()
        next(rounds)
        wall_s += time.monotonic() - started
        if index in PLANNED_AFTER and index < config.rounds:
            snapshots.append(snapshot(f"after round {index}", config, out, PlanOptions())[0])
    started = time.monotonic()
    assert next(rounds, None) is None
    wall_s += time.monotonic() - started
    at_end, plan = snapshot("at the end", config, out, PlanOptions(solve_rate=solve_rate))
    return snapshots, Ended(at_end.tokens, wall_s / 60, plan)


def report(name: str, snapshots: Sequence[Snapshot], ended: Ended) -> None:
    """Print one run's table."""
    print(f"\n### {name}\n")
    print("| planned | tokens | to real | minutes | to real | planning took, s |\n|---|---:|---:|---:|---:|---:|")
    for each in snapshots:
        print(
            f"| {each.when} | {each.tokens:,} | {each.tokens / ended.tokens:.2f} | {each.minutes:.2f} | "
            f"{each.minutes / ended.minutes:.2f} | {each.took_s:.0f} |"
        )
    print(f"| **the run** | {ended.tokens:,} | | {ended.minutes:.2f} | | |")
    print(f"\n```\n{plan_text(ended.plan, '')}\n```", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", nargs="*", type=Path, default=CONFIGS)
    parser.add_argument("--solve-rate", type=float, help="what is known of the model, for a plan more")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    for path in arguments.configs:
        with tempfile.TemporaryDirectory(prefix="tpt-plan-") as folder:
            config = load_config(path, arguments.set)
            report(path.stem, *plan_and_run(config, Path(folder) / "run", arguments.solve_rate))


if __name__ == "__main__":
    main()
