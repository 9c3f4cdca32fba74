"""How often the intervals and p-values of ``tpt compare`` are right, where two arms are alike, and find a gain that is there.

    python benchmarks/compare_intervals.py [--comparisons 400] [--problems 200]
    python benchmarks/compare_intervals.py --gains 4 6 8 --arms 33 --problems 120

With --gains an arm is so many points better with 5 seeds, and p must hold among so many arms (0.05 over their number).

Every difference of a problem has mean 0 and a standard deviation of 0.36; another seed moves the whole arm by a normal amount
of a given spread. With ``shared`` problems half of a problem's variance is the same with every seed, as one problem is
harder for an arm whatever the seed; ``apart``: every seed has problems of its own. Prints Markdown.
"""

from __future__ import annotations

import argparse

import numpy as np

from tpt.compare.bootstrap import gains

SPREADS = (0.0, 0.02, 0.05)
"""Standard deviations over seeds of an arm's score."""
SEEDS = (2, 3, 5)
OF_A_PROBLEM = 0.36


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=400)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--gains", type=float, nargs="+", default=[])
    parser.add_argument("--arms", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.gains:
        print_power(arguments.comparisons, arguments.problems, arguments.gains, arguments.arms)
        return
    print(f"{arguments.comparisons} comparisons of two arms alike, {arguments.problems} problems a seed.\n")
    print("| problems | spread over seeds | seeds | 95 % intervals cover | p at most 0.05 |")
    print("|---|---:|---:|---:|---:|")
    for shared in (True, False):
        for spread in SPREADS:
            for seeds in SEEDS:
                covered, alarms = simulate(
                    arguments.comparisons, seeds, arguments.problems, spread=spread, shared=shared
                )
                name = "shared" if shared else "apart"
                print(f"| {name} | {100 * spread:.0f} points | {seeds} | {covered:.1%} | {alarms:.1%} |", flush=True)


def print_power(comparisons: int, problems: int, points: list[float], arms: int) -> None:
    """Print how often gains are found among so many arms, with the spread over seeds of 2 points."""
    print(
        f"{comparisons} comparisons, 5 seeds, {problems} problems a seed, {arms} arms: found with p at most 0.05 / {arms}.\n"
    )
    print(f"| problems | {' | '.join(f'{each:g} points' for each in points)} |\n|---{'|---:' * len(points)}|")
    for shared in (True, False):
        cells = [
            simulate(comparisons, 5, problems, spread=0.02, shared=shared, gain=each / 100, level=0.05 / arms)[1]
            for each in points
        ]
        print(f"| {'shared' if shared else 'apart'} | {' | '.join(f'{cell:.0%}' for cell in cells)} |", flush=True)


def simulate(
    comparisons: int,
    seeds: int,
    problems: int,
    *,
    spread: float,
    shared: bool,
    gain: float = 0.0,
    level: float = 0.05,
) -> tuple[float, float]:
    """Return how often the interval holds 0, and how often p is at most the level."""
    source = np.random.default_rng(seeds)
    covered = alarms = 0
    for comparison in range(comparisons):
        common = source.normal(size=problems) if shared else np.zeros(problems)
        columns = []
        for seed in range(seeds):
            own = source.normal(size=problems) * (0.5 if shared else 1.0) ** 0.5
            values = OF_A_PROBLEM * (own + common * 0.5**0.5) + source.normal(scale=spread) + gain
            columns.append({f"{'' if shared else seed}-{at}": float(value) for at, value in enumerate(values)})
        (found,) = gains([columns], seed=comparison)
        covered += found.low <= 0 <= found.high
        alarms += found.p_value <= level
    return covered / comparisons, alarms / comparisons


if __name__ == "__main__":
    main()
