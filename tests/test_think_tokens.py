"""The replay of recorded verdicts: it counts what the samplers spend, and its tests tell a biased sampler."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import think_tokens as bench


@pytest.fixture(scope="module")
def table() -> Any:
    """40 problems x 6 samples; hard problems' traces are longer."""
    source = random.Random(3)
    recorded = {}
    for number in range(40):
        rate = number / 39
        rows = [(source.randint(20, 30) + round(40 * (1 - rate)), source.random() < rate) for _ in range(6)]
        recorded[f"p{number:02}"] = rows
    return bench.Table("made up", "tokens", recorded)


def test_fixed_spends_every_sample_and_until_full_only_what_it_needs(table: Any, tmp_path: Path) -> None:
    setting = bench.Setting(samples=4, size=8, slots=4, delay="random")
    fixed = bench.draw(table, setting, "fixed", seed=1, folder=tmp_path)
    assert fixed.samples == 160
    assert fixed.collected.surplus_traces == fixed.collected.cancelled_requests == 0
    fewer = bench.draw(table, setting, "until_full", seed=1, folder=tmp_path)
    assert len(fewer.chosen) == len(fixed.chosen) == 8
    assert fewer.samples < 60
    assert fewer.tokens < fixed.tokens
    for drawn in (fixed, fewer):
        assert all(table.recorded[problem][index][1] for problem, index in drawn.chosen)


@pytest.mark.parametrize("delay", ["random", "length"])
def test_the_tests_find_a_biased_sampler_and_pass_the_right_one(table: Any, tmp_path: Path, delay: str) -> None:
    setting = bench.Setting(samples=4, size=8, slots=24, delay=delay)
    arms = {
        arm: [bench.draw(table, setting, arm, seed=3 * n + at, folder=tmp_path) for n in range(40)]
        for at, arm in enumerate(("fixed", "until_full", "first to finish"))
    }
    right = bench.p_values(table, arms["fixed"], arms["until_full"], seed=0)
    wrong = bench.p_values(table, arms["fixed"], arms["first to finish"], seed=0)
    assert set(right) == {"problems", "traces", "solve rate", "length"}
    assert min(right.values()) > 0.01
    assert wrong["solve rate"] < 0.01


@pytest.mark.parametrize(("delay", "tied"), [("random", False), ("length", True)])
def test_only_delays_by_length_let_right_samples_overtake_wrong_ones(tmp_path: Path, delay: str, tied: bool) -> None:
    """Of 200 problems with a sample each, the right ones are short: do wrong ones come in before the first 20 right ones?"""
    recorded = {f"p{number:03}": [(20, True) if number % 2 else (60, False)] for number in range(200)}
    table = bench.Table("made up", "tokens", recorded)
    bench.draw(table, bench.Setting(1, 20, 200, delay), "first to finish", seed=1, folder=tmp_path)
    surplus = tmp_path / "surplus.jsonl"
    left = [json.loads(line)["completion"] for line in surplus.read_text().splitlines()] if surplus.exists() else []
    assert any(each.startswith("0:0") for each in left) != tied


def test_the_papers_table_has_the_papers_scores() -> None:
    table = bench.paper_table(problems=7473, samples=10, pass_1=0.446, pass_n=0.7598, seed=0)
    good = np.array([[good for _, good in rows] for rows in table.recorded.values()])
    assert good.mean() == pytest.approx(0.446, abs=0.01)
    assert good.any(axis=1).mean() == pytest.approx(0.7598, abs=0.01)
    lengths = np.array([[tokens for tokens, _ in rows] for rows in table.recorded.values()])
    assert lengths[~good].mean() / lengths[good].mean() == pytest.approx(1.3, abs=0.03)
