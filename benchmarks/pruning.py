"""What pruning is worth, and what the alarms say of it: the loop with and without it, at two sampling temperatures.

    python benchmarks/pruning.py [--seeds 0 1 2] [--jobs 2] [--out runs/pruning]

Every arm is an ordinary ``tpt run`` of examples/quickstart.toml, so a stopped study goes on where it was. Scores are
always taken at T = 0.8, whatever the training data was sampled at. Prints Markdown: scores by round, then the last round
against the base model as docs/collapse.md tells it.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tpt import RoundRecord, Run
from tpt.report.summary import summary_of

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart.toml"
ARMS = {"pruned": True, "not pruned": False}
TEMPERATURES = (1.0, 0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/pruning"))
    arguments = parser.parse_args()
    points = list(itertools.product(TEMPERATURES, ARMS, arguments.seeds))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda point: run_arm(*point, out=arguments.out), points))
    for temperature in TEMPERATURES:
        print(f"\nTraining data sampled at T = {temperature}\n")
        for arm in ARMS:
            runs = [Run(folder(temperature, arm, seed, arguments.out)).records() for seed in arguments.seeds]
            print_arm(arm, runs, header=arm == next(iter(ARMS)))
    print("\nThe last round against the base model, by seed\n")
    print(f"| training data | {' | '.join(CHANGES)} | alarms |\n{'|---' * (len(CHANGES) + 2)}|")
    for temperature, arm in itertools.product(TEMPERATURES, ARMS):
        print_changes(
            f"{arm}, T = {temperature}", [folder(temperature, arm, seed, arguments.out) for seed in arguments.seeds]
        )


def folder(temperature: float, arm: str, seed: int, out: Path) -> Path:
    return out / f"{arm.replace(' ', '-')}-T{temperature}-seed{seed}"


def run_arm(temperature: float, arm: str, seed: int, *, out: Path) -> None:
    path = folder(temperature, arm, seed, out)
    sets = [
        f"seed={seed}",
        f"think.temperature={temperature}",
        f"prune.correct_only={str(ARMS[arm]).lower()}",
        "stop.patience=0",
    ]
    command = [sys.executable, "-m", "tpt", "run", str(QUICKSTART), "--out", str(path)]
    for override in sets:
        command += ["--set", override]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(f"done: {path}", file=sys.stderr, flush=True)


def print_arm(arm: str, runs: list[list[RoundRecord]], *, header: bool) -> None:
    k = max(runs[0][0].evaluate.pass_at_k)
    if header:
        print(f"| arm | round | strict pass@1 | lenient pass@1 | greedy | pass@{k} | distinct chains in 4 |")
        print("|---|---:|---:|---:|---:|---:|---:|")
    for index in range(len(runs[0])):
        reports = [run[index].evaluate for run in runs]
        columns = [
            [report.pass_at_k[1].mean for report in reports],
            [report.pass_at_k_lenient[1].mean for report in reports],
            [report.greedy_lenient.mean for report in reports if report.greedy_lenient],
            [report.pass_at_k[k].mean for report in reports],
        ]
        chains = statistics.fmean(report.diversity["distinct_chains_in_4"] for report in reports)
        print(f"| {arm} | {index} | {' | '.join(map(spread, columns))} | {chains:.2f} |")


def spread(values: list[float]) -> str:
    """Return a mean over seeds and the standard deviation, in percent."""
    return f"{100 * statistics.fmean(values):.1f} ± {100 * (statistics.stdev(values) if len(values) > 1 else 0):.1f}"


CHANGES = (
    "lenient, points",
    "greedy, points",
    "human NLL, %",
    "distinct chains in 4, %",
    "token entropy",
    "KL(base ‖ round)",
)


def print_changes(arm: str, paths: list[Path]) -> None:
    summaries = [summary_of(Run(path).dir) for path in paths]
    pairs = [(each.records[0].evaluate, each.records[-1].evaluate) for each in summaries]
    by_seed = [
        [f"{100 * (now.pass_at_k_lenient[1].mean - base.pass_at_k_lenient[1].mean):+.0f}" for base, now in pairs],
        [
            f"{100 * (now.greedy_lenient.mean - base.greedy_lenient.mean):+.0f}"
            for base, now in pairs
            if now.greedy_lenient and base.greedy_lenient
        ],
        [f"{100 * now.probe['human_nll_change'] / base.probe['human_nll']:+.0f}" for base, now in pairs],
        [
            f"{100 * (now.diversity['distinct_chains_in_4'] / base.diversity['distinct_chains_in_4'] - 1):+.0f}"
            for base, now in pairs
        ],
        [f"{now.probe['entropy']:.2f}" for _, now in pairs],
        [f"{now.probe['kl_base_round']:.2f}" for _, now in pairs],
        [", ".join(f"{alarm.name} {alarm.round}" for alarm in each.alarms) or "none" for each in summaries],
    ]
    print(f"| {arm} | {' | '.join('; '.join(values) for values in by_seed)} |")


if __name__ == "__main__":
    main()
