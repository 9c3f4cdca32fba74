"""How fast records are written and read: ``python benchmarks/records.py [--records N] [--against CHECKOUT]``.

With ``--against`` the same is done with the package of another checkout, in turn, so that both meet the same machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CODE = """
import sys, time
from pathlib import Path
from tpt.records import Outcome, Trace, Verdict
try:
    from tpt.system.jsonl import iterate_records, replace_records
except ImportError:
    from tpt.jsonl import iterate_records, replace_records
count, path = int(sys.argv[1]), Path(sys.argv[2])
text = "Ada has 3 boxes of 12 apples.\\n3 * 12 = 36\\n36 - 7 = 29\\n" * 4 + "#### 29"
traces = (Trace(f"p/{n // 8}", n % 8, f"{n}: {text}", "stop", 120, n) for n in range(count))
verdicts = (Verdict(f"p/{n // 8}", n % 8, Outcome.CORRECT, True, "29") for n in range(count))
for kind, records in ((Trace, traces), (Verdict, verdicts)):
    begun = time.monotonic()
    replace_records(path, records)
    written = time.monotonic()
    assert sum(1 for _ in iterate_records(path, kind)) == count
    print(count / (written - begun), count / (time.monotonic() - written))
"""
NAMES = ("traces written", "traces read", "verdicts written", "verdicts read")


def rates(checkout: Path, count: int) -> list[float]:
    """Return records a second, in the order of NAMES."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", CODE, str(count), str(Path(folder) / "records.jsonl")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=folder)
    return [float(each) for each in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    here = Path(__file__).parents[1]
    checkouts = [here, *([options.against] if options.against else [])]
    found: dict[Path, list[list[float]]] = {each: [] for each in checkouts}
    for _ in range(options.runs):
        for checkout in checkouts:
            found[checkout].append(rates(checkout, options.records))
    begun = time.strftime("%Y-%m-%d")
    print(f"{begun}, {options.records:,} records, median of {options.runs} runs, records a second")
    for at, name in enumerate(NAMES):
        ours, *other = [median(run[at] for run in found[checkout]) for checkout in checkouts]
        print(f"{name:18}{ours:12,.0f}" + "".join(f"{each:12,.0f}  ratio {ours / each:.2f}" for each in other))


if __name__ == "__main__":
    main()
