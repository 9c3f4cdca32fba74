"""What a run survives: ``python benchmarks/reliability.py [--worlds N] [--every N] [--power N] [--signals N] [--seed N]``.

Prints a line for every kind of trial: how many were made, how many went wrong, and the processor time they took. A world
that goes wrong is told with the command that shows it again. The trials are those of tests/reliability, more of them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.reliability.signals import strike
from tests.reliability.simulation import live
from tests.reliability.test_disk_faults import WHOLE, fail_at, lose_power_after
from tests.reliability.world import undisturbed

FAULTS = ("EIO", "ENOSPC", "short", "kill")


def tried(what: str, trials: Iterable[Callable[[], object]]) -> int:
    """Make trials, tell of each that goes wrong, and sum up; return how many did."""
    count = wrong = 0
    begun, processor = time.monotonic(), time.process_time()
    for count, trial in enumerate(trials, start=1):  # noqa: B007  # the last one is told
        try:
            trial()
        except Exception as error:
            wrong += 1
            print(
                f"{type(error).__name__}: {error}",
                *getattr(error, "__notes__", []),
                sep="\n",
                file=sys.stderr,
                flush=True,
            )
    seconds, wall = time.process_time() - processor, time.monotonic() - begun
    print(f"| {what} | {count:,} | {wrong} | {seconds:.0f} | {wall:.0f} |", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count, meaning in (
        ("worlds", 10_000, "histories, each invented from a seed"),
        ("every", 1, "each so manyth call of a run fails in turn, in four ways"),
        ("power", 4, "states that a power failure may leave after each call"),
        ("signals", 500, "signals to real processes"),
        ("seed", 0, "the first world's, and the signals'"),
    ):
        parser.add_argument(f"--{name}", type=int, default=count, help=f"{meaning} ({count})")
    asked = parser.parse_args()
    calls = range(1, len(undisturbed(WHOLE)[1]) + 1, asked.every)
    print("| trials | made | went wrong | processor s | wall s |\n|---|---|---|---|---|")
    wrong = tried("a call fails", (lambda n=n, f=f: fail_at(WHOLE, n, f) for f in FAULTS for n in calls))  # type: ignore[misc]
    states = [(number, seed) for number in calls for seed in range(asked.power)]
    wrong += tried("the power fails", (lambda n=n, s=s: lose_power_after(WHOLE, n, s) for n, s in states))  # type: ignore[misc]
    wrong += tried("worlds", (lambda s=s: live(s) for s in range(asked.seed, asked.seed + asked.worlds)))  # type: ignore[misc]
    if asked.signals:
        struck = strike(asked.signals, asked.seed)
        print(
            f"\n{struck.total()} signals: "
            + ", ".join(f"{what} to the {who} {times}" for (who, what), times in sorted(struck.items()))
        )
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
