"""Estimators against closed forms and tables, counts and picks against rows written out: what takes no simulation."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tpt.errors import OwnCodeError
from tpt.records import Problem, Trace
from tpt.scoring import sign_flips
from tpt.scoring.estimates import _student_t
from tpt.scoring.paired_tests import _flipped_beyond, expected_detectable
from tpt.scoring.pick import pick_traces
from tpt.scoring.score import Counts, clusters_of


@pytest.mark.parametrize(
    ("freedom", "t"), [(4, 2.776445), (5, 2.570582), (10, 2.228139), (30, 2.042272), (1000, 1.962339)]
)
def test_student_s_t_is_the_table_s(freedom: int, t: float) -> None:
    assert _student_t(1.959964, freedom) == pytest.approx(t, rel=0.003)


def test_what_is_expected_to_be_detectable_is_the_normal_formula() -> None:
    assert expected_detectable(0.5, 100, alpha=0.05) == pytest.approx((1.959964 + 0.841621) * 0.5 / 10, rel=1e-5)
    assert expected_detectable(0.5, 400, alpha=0.05, power=0.5) == pytest.approx(1.959964 * 0.5 / 20, rel=1e-5)


@pytest.mark.parametrize("draws", [100, 1000, 8192])
def test_there_are_as_many_random_patterns_as_were_asked_for(draws: int) -> None:
    flips = sign_flips(np.random.default_rng(0).normal(size=(60, 1)), draws=draws, seed=0)
    assert (len(flips.lows), flips.always) == (draws, 1), "what was seen is one more"


def test_how_often_flips_are_beyond_is_that_of_all_flips() -> None:
    sums, usual = np.random.default_rng(3).normal(size=12), 0.8
    signs = np.array([[(pattern >> bit & 1) * 2 - 1 for bit in range(14)] for pattern in range(2**14)])
    totals = signs @ np.array([*sums, usual, usual])
    for seen in (1.0, 4.0, 7.0, 9.0):
        assert _flipped_beyond(seen, sums, usual) == pytest.approx(2 * float((totals >= seen).mean()), abs=0.02)
    assert _flipped_beyond(0.0, sums, usual) == 1.0
    assert [_flipped_beyond(seen, np.zeros(3), 1.0) for seen in (1.0, 2.0, 2.1)] == [0.5, 0.5, 0.0]


def test_counts_of_some_problems_are_their_rows() -> None:
    ids, rows = ("a", "b", "c"), np.array([0, 1, 2])
    whole = Counts(ids, rows + 4, rows, rows + 1, greedy=np.eye(3, 2), clusters=rows)
    some = whole.of(["c", "a"])
    assert some.problem_ids == ("c", "a") and some.greedy is not None and some.clusters is not None
    assert (some.samples.tolist(), some.strict.tolist(), some.lenient.tolist()) == ([6, 4], [2, 0], [3, 1])
    assert (some.greedy.tolist(), some.clusters.tolist()) == ([[0, 0], [1, 0]], [2, 0])
    assert Counts(ids, rows, rows, rows).of(["b"])[4:] == (None, None)


def test_problems_without_a_cluster_stand_for_themselves() -> None:
    problems = [Problem(each, "?", "1", cluster=name) for each, name in (("a", "x"), ("b", ""), ("c", "x"), ("x", ""))]
    clusters = clusters_of(problems, ["c", "b", "a", "x"])
    assert clusters is not None and clusters.tolist() == [0, 1, 0, 2]
    assert clusters_of(problems[1:2], ["b"]) is None


TRACES = [Trace("p", sample, text, "stop", tokens, 0) for sample, (text, tokens) in enumerate(
    [("a b c d", 4), ("a b c e", 9), ("x y z w", 6), ("a b c d f", 1)]
)]  # fmt: skip
OWN = """
def last(traces, count, source):
    return traces[-count:]
def none(traces, count, source):
    return []
def twice(traces, count, source):
    return traces[:1] * 2
def other(traces, count, source):
    return ["a"]
"""


@pytest.mark.parametrize(
    ("how", "picked"), [("first", [0, 1]), ("longest", [1, 2]), ("shortest", [0, 3]), ("own.py:last", [2, 3])]
)
def test_picks_come_by_sample(how: str, picked: list[int], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    how = f"{tmp_path}/{how}" if ":" in how else how
    assert [trace.sample for trace in pick_traces(TRACES[::-1], 2, how, random.Random(0))] == picked


def test_a_diverse_pick_takes_what_is_least_alike() -> None:
    picks = [[trace.sample for trace in pick_traces(TRACES, 2, "diverse", random.Random(seed))] for seed in range(8)]
    assert all(2 in pick for pick in picks) and len({*map(tuple, picks)}) > 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("none", "it returned no trace$"),
        ("twice", "it returned a trace twice$"),
        ("other", "it must return a list of the traces that it was given$"),
    ],
)
def test_a_pick_of_one_s_own_returns_different_traces_of_these(name: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(OwnCodeError, match=rf"^prune\.pick = .*own\.py:{name}: {why}"):
        pick_traces(TRACES, 2, f"{tmp_path}/own.py:{name}", random.Random(0))
