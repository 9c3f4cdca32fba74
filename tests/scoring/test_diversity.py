"""Diversity at equal numbers, against tables worked out by hand."""

from __future__ import annotations

import random
from itertools import combinations
from statistics import fmean

import pytest

from tpt.records import FinishReason, Outcome, Trace, Verdict
from tpt.scoring.diversity import diversity_of, training_diversity
from tpt.scoring.score import by_problem, score


def sampled(
    table: dict[str, list[tuple[str, bool]]], reason: FinishReason = "stop"
) -> tuple[list[Trace], list[Verdict]]:
    """Traces and verdicts of (completion, right) by problem."""
    traces, verdicts = [], []
    for problem_id, row in table.items():
        for sample, (completion, right) in enumerate(row):
            traces.append(Trace(problem_id, sample, completion, reason, len(completion), 0))
            outcome = Outcome.CORRECT if right else Outcome.WRONG
            verdicts.append(Verdict(problem_id, sample, outcome, right, "1"))
    return traces, verdicts


def measured(table: dict[str, list[tuple[str, bool]]]) -> dict[str, float]:
    traces, verdicts = sampled(table)
    return diversity_of(traces, by_problem(verdicts), lambda verdict: verdict.extracted).diversity


def test_chains_and_texts_are_counted_among_equally_many_correct_traces() -> None:
    texts = ["1+1=2", "so 1 + 1 = 2", "1+1=2", "2*1=2", "3-1=2", "3-1=2"]
    found = measured({"a": [(text, True) for text in texts] + [("9+9=18", False)] * 3, "b": [("1+1=2", True)] * 3})
    chains = ["+", "+", "+", "*", "-", "-"]
    by_hand = {m: fmean(len({chains[i] for i in drawn}) for drawn in combinations(range(6), m)) for m in (2, 4)}
    assert found["distinct_chains_in_2"] == pytest.approx((by_hand[2] + 1) / 2)
    assert found["distinct_chains_in_4"] == pytest.approx(by_hand[4])
    assert "distinct_chains_in_8" not in found
    distinct = fmean(len({texts[i] for i in drawn}) for drawn in combinations(range(6), 4))
    assert found["duplicates"] == pytest.approx(1 - distinct / 4)


def test_more_correct_traces_of_the_same_kind_are_no_more_diversity() -> None:
    """The same two ways to solve, half and half, from 8 and from 64 correct traces: the expectations differ little."""
    few, many = (measured({"a": [("1+1=2", True), ("2*1=2", True)] * half}) for half in (4, 32))
    assert few["distinct_chains_in_4"] == pytest.approx(many["distinct_chains_in_4"], abs=0.12)
    assert set(few) < set(many)


def test_what_is_not_defined_is_missing() -> None:
    found = measured({"a": [("1+1=2", True)], "b": [("x", False)]})
    assert set(found) == {"answer_entropy"}
    assert set(measured({"a": [("x", False)] * 4})) == {"answer_entropy"}


def test_a_level_that_few_problems_reach_is_left_out() -> None:
    table = {f"p{i}": [("1+1=2", True)] * 4 for i in range(9)} | {"q": [(f"{i}+1=2", True) for i in range(16)]}
    found = measured(table)
    assert found["distinct_chains_in_4"] == pytest.approx((9 + 4) / 10)
    assert "distinct_chains_in_8" not in found and "distinct_chains_in_16" not in found


def test_ngrams_are_counted_in_equally_many_words() -> None:
    draw = random.Random(0)
    varied = {f"p{i}": [(" ".join(draw.choices("abcdefghij", k=30)), True)] for i in range(80)}
    dull = {problem_id: [("a b c d e f", True)] * 18 for problem_id in varied}
    ours, theirs = measured(varied), measured(dull)
    assert ours["distinct_2_in_1000"] == pytest.approx(100 / (1000 - 34), abs=0.002)
    assert theirs["distinct_2_in_1000"] < 0.01 and theirs["distinct_1_in_1000"] == 0.006
    assert "distinct_1_in_10000" not in ours and "compression" not in ours
    more = measured({problem_id: row * 9 for problem_id, row in varied.items()})
    assert more["distinct_2_in_1000"] == ours["distinct_2_in_1000"], "the pool takes one trace of every problem first"
    assert more["compression"] < theirs["compression"]


def test_every_problem_has_its_row() -> None:
    loop = "and so on " * 40
    traces, verdicts = sampled({"a": [("1+1=2", True)] * 4, "b": [(loop, False), ("short", False)]})
    scored = score(traces, verdicts, ks=[], seed=0)
    a, b = scored.problems
    assert (a.problem_id, a.chains, a.texts, a.looped, a.tokens, a.truncated) == ("a", 1.0, 1.0, 0.0, 5.0, 0.0)
    assert (b.problem_id, b.chains, b.texts, b.looped, b.tokens) == ("b", None, None, 0.5, (len(loop) + 5) / 2)
    assert scored.report.lengths["looped"] == pytest.approx(1 / 6)


def test_the_order_of_records_makes_no_difference() -> None:
    draw = random.Random(0)
    table = {f"p{i}": [(f"{draw.randint(0, 3)}+1=2", draw.random() < 0.7) for _ in range(6)] for i in range(30)}
    traces, verdicts = sampled(table)
    expected = score(traces, verdicts, ks=[], seed=0)
    draw.shuffle(traces)
    draw.shuffle(verdicts)
    assert score(traces, verdicts, ks=[], seed=0) == expected


def test_training_traces_are_measured_over_all_problems() -> None:
    traces, verdicts = sampled({f"p{i}": [(f"{i} + 1 = {i + 1}", True), ("wrong", False)] for i in range(300)})
    found = training_diversity(list(zip(traces, verdicts, strict=True)))
    assert set(found) == {"distinct_1_in_1000", "distinct_2_in_1000", "distinct_3_in_1000", "looped"}
    assert found["looped"] == 0.0 and 0 < found["distinct_1_in_1000"] < found["distinct_3_in_1000"]
    assert training_diversity([]) == {}


def test_hostile_completions_are_measured_too() -> None:
    hostile = ["\ud800" * 10, "\x00" * 30_000, "a" * 1_000_000, "=" * 50_000, "", "1 = " * 20_000]
    found = measured({"a": [(text, True) for text in hostile * 2]})
    assert found["distinct_chains_in_4"] >= 1 and found["compression"] > 1
