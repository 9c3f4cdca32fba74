"""Several traces of a problem by until_full: the training set of sampling everything, for fewer tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import QUICKSTART, Tpt, sets

from tpt.config import load_config
from tpt.errors import ConfigError
from tpt.system.jsonl import read_json

SMALL = [
    "rounds=1",
    "problems.max_train=40",
    "problems.max_heldout=4",
    "prune.size=12",
    "think.samples=6",
    "evaluate.samples=1",
    "engine.batch_invariant=true",
]


@pytest.mark.parametrize("dedupe", ["exact", "equations"])
def test_the_set_is_that_of_fixed_sampling_and_the_first(tmp_path: Path, tpt: Tpt, dedupe: str) -> None:
    several = [*SMALL, "prune.per_problem=2", f"prune.dedupe={dedupe}", "prune.pick=first"]
    traces = {}
    for sampler in ("until_full", "fixed"):
        out = tmp_path / sampler
        done = tpt("run", QUICKSTART, "--out", out, *sets(*several, f"think.sampler={sampler}"))
        assert done.code == 0, done.err
        traces[sampler] = read_json(out / "round-1" / "think.json")["counts"]["traces"]
    first, second = ((tmp_path / name / "round-1" / "examples.jsonl").read_bytes() for name in ("until_full", "fixed"))
    assert first == second
    assert 12 < len(first.splitlines()) <= 24
    assert traces["until_full"] < traces["fixed"] / 2


@pytest.mark.parametrize("setting", ["prune.per_problem=all", "prune.pick=shortest", "prune.pick=diverse"])
def test_what_chooses_among_all_traces_needs_all(setting: str) -> None:
    with pytest.raises(ConfigError, match=r'set think\.sampler = "fixed"'):
        load_config(QUICKSTART, [setting])
