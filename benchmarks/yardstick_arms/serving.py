"""What all arms of yardsticks.py do: load once, then sample all requests each time that a line comes in.

Needs nothing but Python, as every arm runs in an environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Prompts = list[list[int]]
Sample = Callable[[Prompts, int], int]
"""Prompts and the tokens of each sample in, the number of tokens sampled out."""
MARK = "YARDSTICK "


def serve(open_engine: Callable[[dict[str, Any]], tuple[Sample, list[str]]]) -> None:
    """Run an arm: ``open_engine`` takes the job and returns what samples, and the packages whose versions count."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ["OMP_NUM_THREADS"] = str(job["threads"])
    sample, packages = open_engine(job)
    warm_up = job["warm_up"]
    sample(job["prompts"][:warm_up], job["warm_up_tokens"])
    tell({"versions": {name: version(name) for name in packages}})
    for first, _ in zip(range(warm_up, len(job["prompts"]), job["problems"]), sys.stdin, strict=False):
        prompts = job["prompts"][first : first + job["problems"]]  # new ones each time: engines keep those they know
        started = time.perf_counter()
        tokens = sample(prompts, job["tokens"])
        tell({"tokens": tokens, "seconds": time.perf_counter() - started})


def tell(found: dict[str, Any]) -> None:
    # The engines print what they like, some without a line's end.
    print("\n" + MARK + json.dumps(found), flush=True)
