"""What pruning is worth: the loop with and without it, at two sampling temperatures, over several seeds.

    python benchmarks/pruning.py [--seeds 0 1 2] [--jobs 2] [--out runs/pruning]

Every arm is an ordinary ``tpt run`` of examples/quickstart.toml, so a stopped study goes on where it was. Scores are
always taken at T = 0.8, whatever the training data was sampled at. Prints Markdown.
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
        print(
            f"| arm | round | strict pass@1 | sd over seeds | lenient pass@1 | sd | pass@{k} | distinct chains in 4 |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for index in range(len(runs[0])):
        reports = [run[index].evaluate for run in runs]
        strict = [report.pass_at_k[1].mean for report in reports]
        lenient = [report.pass_at_k_lenient[1].mean for report in reports]
        covered = statistics.fmean(report.pass_at_k[k].mean for report in reports)
        chains = statistics.fmean(report.diversity["distinct_chains_in_4"] for report in reports)
        print(f"| {arm} | {index} | {spread(strict)} | {spread(lenient)} | {covered:.1%} | {chains:.2f} |")


def spread(values: list[float]) -> str:
    return f"{statistics.fmean(values):.1%} | {statistics.stdev(values) if len(values) > 1 else 0:.1%}"


if __name__ == "__main__":
    main()
