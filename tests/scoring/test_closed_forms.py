"""Estimators against closed forms and tables, counts and picks against rows written out: what takes no simulation."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from tpt.errors import OwnCodeError, RunError
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.scoring import fewest_units, mean_and_stderr, sign_flips
from tpt.scoring.estimates import _student_t
from tpt.scoring.paired_tests import _flipped_beyond, expected_detectable
from tpt.scoring.pick import pick_traces
from tpt.scoring.score import Counts, clusters_of, read_counts
from tpt.system.jsonl import replace_records


@pytest.mark.parametrize(
    ("freedom", "t", "off"),
    [(4, 2.776445, 3e-3), (5, 2.570582, 2e-3), (10, 2.228139, 1e-4), (30, 2.042272, 1e-6), (1000, 1.962339, 1e-6)],
)
def test_student_s_t_is_the_table_s(freedom: int, t: float, off: float) -> None:
    assert _student_t(1.959964, freedom) == pytest.approx(t, rel=off)


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


@pytest.mark.parametrize(
    ("fewest", "hits", "clustered"), [(4, 8, False), (5, 9, False), (6, 10, False), (7, 4, False), (8, 4, False),
                                      (3, 4, True), (6, 4, True), (7, 4, True)],
)  # fmt: skip
def test_so_few_units_reject_at_the_share_of_patterns_that_are_as_extreme(
    fewest: int, hits: int, clustered: bool
) -> None:
    """Of 2 ** (units + 1) patterns and their mirror images, four, and one for each problem of up to six."""
    level = hits / 2 ** (fewest + 1)
    assert fewest_units(level, clustered=clustered) == fewest
    assert fewest_units(level - 1e-9, clustered=clustered) == fewest + 1


def test_counts_of_some_problems_are_their_rows() -> None:
    ids, rows = ("a", "b", "c"), np.array([0, 1, 2])
    whole = Counts(ids, rows + 4, rows, rows + 1, greedy=np.eye(3, 2), clusters=rows)
    some = whole.of(["c", "a"])
    assert some.problem_ids == ("c", "a") and some.greedy is not None and some.clusters is not None
    assert (some.samples.tolist(), some.strict.tolist(), some.lenient.tolist()) == ([6, 4], [2, 0], [3, 1])
    assert (some.greedy.tolist(), some.clusters.tolist()) == ([[0, 0], [1, 0]], [2, 0])
    assert Counts(ids, rows, rows, rows).of(["b"])[4:] == (None, None)


def test_greedy_scores_are_strict_or_lenient_and_by_cluster() -> None:
    greedy = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    counts = Counts(("a", "b", "c", "d"), np.full(4, 1), np.zeros(4, np.int64), np.zeros(4, np.int64), greedy)
    assert counts.greedy_score(strict=True) == mean_and_stderr([1, 0, 0, 0])
    assert counts.greedy_score(strict=False) == mean_and_stderr([1, 1, 1, 0])
    pairs = np.array([0, 0, 1, 1])
    clustered = counts._replace(clusters=pairs).greedy_score(strict=False)
    assert clustered == mean_and_stderr([1, 1, 1, 0], pairs) != counts.greedy_score(strict=False)
    assert counts._replace(greedy=None).greedy_score(strict=True) is None


def test_a_verdict_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    with pytest.raises(RunError, match=r"verdicts\.jsonl"):
        read_counts(path)
    for right in (1, 2):
        rows = [Verdict("a", n, Outcome.CORRECT if n < right else Outcome.WRONG, False, "7") for n in range(3 + right)]
        replace_records(path, rows)
        found = read_counts(path)
        assert (found.problem_ids, found.samples.tolist(), found.lenient.tolist()) == (("a",), [3 + right], [right])
        assert read_counts(path) is found


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
