"""The benchmark of the driver alone, at a small size: every part runs, and the simulated clock can be believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scale as bench


@pytest.mark.parametrize("sampler", ["fixed", "until_full"])
def test_every_part_runs(sampler: str, tmp_path: Path) -> None:
    bench.make_problems(tmp_path / "problems.jsonl", 200)
    sampled = bench.think(tmp_path, 4, sampler)
    again = bench.think(tmp_path, 4, sampler)
    assert again["found on disk"] == again["traces"] == sampled["traces"]
    assert sampled["traces"] == 800 if sampler == "fixed" else 200 < sampled["traces"] < 800
    pruned = bench.prune(tmp_path)
    outcomes = bench.variety(tmp_path)["outcomes"]
    assert sum(outcomes.values()) == sampled["traces"]
    assert 0 < pruned["examples"] <= pruned["keepable"] <= outcomes["CORRECT"]
    assert bench.report(tmp_path)["traces of the problem"] in range(1, 5)


def test_slow_replicas_work_at_their_own_rate_and_fast_ones_at_the_driver_s(tmp_path: Path) -> None:
    slow = bench.simulated(tmp_path, bench.Speed("slow", 100, 4), 2)
    assert slow["traces_s"] == pytest.approx(slow["ideal_traces_s"], rel=0.1)
    fast = bench.simulated(tmp_path, bench.Speed("fast", 10**9, 64), 8)
    assert fast["traces_s"] == pytest.approx(1e6 / fast["driver_us"], rel=0.5)
    assert fast["of_ideal"] < 0.1
