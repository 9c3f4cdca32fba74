"""How tests call the command line, and the smallest run worth doing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ENTRY = [sys.executable, "-m", "tpt"]
"""The real entry point, for a process of its own."""
QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart.toml"
TINY = [
    "rounds=1",
    "evaluate.samples=2",
    "problems.max_train=40",
    "problems.max_heldout=10",
    "prune.size=10",
    "threads=1",
    "engine.slots=16",
]


class Finished(NamedTuple):
    path: Path
    out: str
    err: str


class Result(NamedTuple):
    code: int
    out: str
    err: str


Tpt = Callable[..., Result]


def wait_for(seen: Callable[[], Any], seconds: float = 120) -> None:
    """Wait until something is to be seen."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def sets(*overrides: str) -> list[str]:
    return [argument for each in overrides for argument in ("--set", each)]
