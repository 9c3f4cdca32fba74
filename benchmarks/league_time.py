"""What the league takes: seconds of one core for some of its arms, stage by stage, and from them for all of it.

    python benchmarks/league_time.py [--arms tpt raft nft gem even-twice] [--rounds 2] [--out runs/league_time]

Counts processor time, so other work on the machine matters little. Every arm does a few rounds with one seed in this process,
as in the comparison, but each samples its own first round; a further arm counts as the mean of these. Prints Markdown.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tpt.compare.arms import Arm, StudyPlan, load_arms
from tpt.compare.budget import flops, most_rounds
from tpt.rounds import Run, round_record
from tpt.run.directory import STAGES
from tpt.stage_process import do_stage

LEAGUE = Path(__file__).parents[1] / "examples" / "compare" / "league.toml"
_IMPORTS = (
    "import resource, tpt.engines.hf.opening, tpt.sft, tpt.stage_process; "
    "used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime)"
)
_RUN = "import resource, tpt.compare.child; used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime)"
HEADS = ("arm", "think", "prune", "train", "evaluate", "a round", "TFLOP a round", "rounds", "an arm-seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", default=["tpt", "raft", "nft", "gem", "even-twice"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/league_time"))
    arguments = parser.parse_args()
    plan = load_arms(LEAGUE)
    start = sum(map(imported, (_IMPORTS, _RUN)))
    by_name = {arm.name: arm for arm in plan.arms}
    names = [plan.reference.name, *(name for name in arguments.arms if name != plan.reference.name)]
    found = {name: measured(by_name[name], arguments.rounds, arguments.out / name) for name in names}
    budget = plan.reference.rounds * found[names[0]]["flops"]
    rows = {name: row(by_name[name], seconds, start, budget) for name, seconds in found.items()}
    print(
        f"Seconds of one core; starting a run's processes takes {start:.1f}, the base model's score {base(found):.1f}.\n"
    )
    print(f"| {' | '.join(HEADS)} |\n|---{'|---:' * (len(HEADS) - 1)}|")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(f'{cell:.2g}' if cell < 1 else f'{cell:.1f}' for cell in cells)} |")
    print(f"\n{total(plan, found, [cells[-1] for cells in rows.values()], start)}")


def imported(code: str) -> float:
    """Return the processor time of a Python process that only imports."""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def measured(arm: Arm, rounds: int, out: Path) -> dict[str, float]:
    """Return the seconds of each stage in the last of a few rounds, those of the base model's score, and a round's operations."""
    shutil.rmtree(out, ignore_errors=True)
    run = Run(out, arm.config(0, rounds=rounds))
    run.prepare()
    seconds = {"base": clocked(out, "evaluate", 0)}
    for index in range(1, rounds + 1):
        seconds |= {stage: clocked(out, stage, index) for stage in STAGES}
        print(f"{arm.name}, round {index}: {seconds}", file=sys.stderr, flush=True)
    return {**seconds, "flops": flops(round_record(run.dir, run.dir.round(rounds))) or 0.0}


def clocked(out: Path, stage: str, index: int) -> float:
    before = time.process_time()
    do_stage(out, stage, index)
    return time.process_time() - before


def row(arm: Arm, seconds: dict[str, float], start: float, budget: float) -> list[float]:
    """Return an arm's numbers, its rounds being those that its operations are enough for."""
    each = [seconds[stage] for stage in STAGES]
    rounds = min(most_rounds(arm), max(1, round(budget / seconds["flops"])))
    return [*each, sum(each), seconds["flops"] / 1e12, rounds, start + rounds * sum(each)]


def base(found: dict[str, dict[str, float]]) -> float:
    return statistics.fmean(each["base"] for each in found.values())


def total(plan: StudyPlan, found: dict[str, dict[str, float]], arm_seeds: list[float], start: float) -> str:
    """Return what all arms take with all seeds, and what their searches take."""
    runs = len(plan.arms) * len(plan.seeds)
    league = runs * statistics.fmean(arm_seeds) + len(plan.seeds) * base(found)
    said = f"{len(plan.arms)} arms with {len(plan.seeds)} seeds: {league / 60:.0f} minutes of one core"
    if plan.search is None:
        return f"{said}."
    rates, held_back = len(plan.search.rates), plan.search.held_back
    config = plan.reference.config(0)
    share = held_back / int(config.problems.heldout.rpartition("size=")[2])
    once = {name: statistics.fmean(each[name] for each in found.values()) for name in STAGES}
    # The rates of an arm share the first round's traces.
    tried = rates * (start + once["train"] + share * once["evaluate"]) + once["think"]
    search = len(plan.arms) * plan.search.rounds * tried
    return f"{said}; their searches at {rates} rates: {search / 60:.0f} more; together {(league + search) / 60:.0f}."


if __name__ == "__main__":
    main()
