"""Scores from verdicts, against tables worked out by hand."""

from __future__ import annotations

import random
from math import comb, log

import pytest

from tpt.errors import EstimateError
from tpt.records import FinishReason, Outcome, Trace, Verdict
from tpt.scoring.score import count_verdicts, default_ks, score

OUTCOMES = {"S": Outcome.CORRECT, "C": Outcome.CORRECT, "W": Outcome.WRONG, "N": Outcome.NO_ANSWER}
OUTCOMES |= {"T": Outcome.TIMEOUT, "E": Outcome.ERROR}


def verdicts(**rows: str) -> list[Verdict]:
    """Each problem's samples by letter: S right and in the format, C right, W wrong, N none, T timeout, E error."""
    return [
        Verdict(problem_id, sample, OUTCOMES[letter], letter == "S", "7" if letter == "W" else None)
        for problem_id, row in rows.items()
        for sample, letter in enumerate(row)
    ]


def traces_of(found: list[Verdict], completion: str = "1+1=2", reason: FinishReason = "stop") -> list[Trace]:
    return [Trace(v.problem_id, v.sample, completion, reason, 10 + v.sample, 0) for v in found]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("strict", [True, False])
def test_pass_at_k_is_the_mean_over_problems(k: int, strict: bool) -> None:
    found = verdicts(a="SCWN", b="WWWW", c="SSSS", d="CWTE")
    right = {"a": 1, "b": 0, "c": 4, "d": 0} if strict else {"a": 2, "b": 0, "c": 4, "d": 1}
    by_hand = sum(1 - comb(4 - c, k) / comb(4, k) for c in right.values()) / 4
    assert count_verdicts(found).pass_at_k(k, strict=strict).mean == pytest.approx(by_hand)


def test_a_k_beyond_the_samples_names_the_problem() -> None:
    with pytest.raises(EstimateError, match="pass@3 needs at least 3 samples of every problem; problem b has 2"):
        count_verdicts(verdicts(a="SSS", b="SW")).pass_at_k(3, strict=True)
    found = verdicts(a="SSS", b="SW")
    with pytest.raises(EstimateError, match="problem b has 2"):
        score(traces_of(found), found, ks=[3], seed=0)


@pytest.mark.parametrize(
    ("samples", "ks"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])],
)
def test_default_ks_are_powers_of_two_and_all_samples(samples: int, ks: list[int]) -> None:
    assert default_ks(count_verdicts(verdicts(a="S" * samples, b="W" * (samples + 3)))) == ks


def test_a_report_adds_up() -> None:
    found = verdicts(a="SCWN", b="TEWW", c="SSSC")
    report = score(traces_of(found), found, ks=[], seed=0).report
    assert (report.problems, report.samples) == (3, 4)
    assert report.outcomes == {"CORRECT": 6, "WRONG": 3, "NO_ANSWER": 1, "TIMEOUT": 1, "ERROR": 1}
    assert sum(report.outcomes.values()) == report.problems * report.samples
    assert list(report.pass_at_k) == list(report.pass_at_k_lenient) == [1, 2, 4]
    assert report.pass_at_k[1].mean == pytest.approx(4 / 12)
    assert report.pass_at_k_lenient[1].mean == pytest.approx(6 / 12)
    assert all(report.pass_at_k[k].mean <= report.pass_at_k_lenient[k].mean for k in report.pass_at_k)


def test_asked_ks_come_with_pass_at_1() -> None:
    found = verdicts(a="SCWN", b="TEWW")
    report = score(traces_of(found), found, ks=[3], seed=0).report
    assert list(report.pass_at_k) == [1, 3] and list(report.maj_at_k) == [3]


def named(problem_id: str, sample: int, extracted: str | None, *, right: bool = False) -> Verdict:
    outcome = Outcome.CORRECT if right else Outcome.WRONG if extracted else Outcome.NO_ANSWER
    return Verdict(problem_id, sample, outcome, right, extracted)


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([("5", True), ("5.0", True), ("7", False)], 1.0),
        ([("5", True), ("7", False), ("7.00", False)], 0.0),
        ([("5", True), ("7", False)], 0.5),
        ([("5", True), (None, False), (None, False)], 1.0),
        ([(None, False), (None, False)], 0.0),
        ([("$5", True), ("7", False), ("$7", False), ("five", True)], 0.5),
        ([("5", True), ("the gold answer", False), ("the gold answer", False)], 0.0),
        ([("5", True), ("7,000", False), ("7000", False)], 0.0),
    ],
)
def test_majority_votes_are_counted_by_value(votes: list[tuple[str | None, bool]], expected: float) -> None:
    found = [named("a", sample, extracted, right=right) for sample, (extracted, right) in enumerate(votes)]
    report = score(traces_of(found), found, ks=[], seed=0).report
    assert report.maj_at_k[len(votes)].mean == expected


def test_diversity_counts_chains_of_right_traces_and_spread_of_answers() -> None:
    found = verdicts(a="SSSSWW", b="SSSWWW")
    chains = ["1+1=2", "2*1=2", "1+1=2", "2*1=2", "3+3=6", "4+4=8"]
    traces = [Trace(v.problem_id, v.sample, chains[v.sample], "stop", 1, 0) for v in found]
    report = score(traces, found, ks=[], seed=0).report
    # Problem b has too few right traces to compare; the wrong ones of a do not count.
    assert report.diversity["distinct_chains_in_4"] == pytest.approx(2.0)
    spread_a = -(4 / 6 * log(4 / 6) + 2 / 6 * log(2 / 6))
    assert report.diversity["answer_entropy"] == pytest.approx((spread_a + log(2)) / 2)
    rows = {row.problem_id: row for row in score(traces, found, ks=[], seed=0).problems}
    assert (rows["a"].chains, rows["b"].chains) == (pytest.approx(2.0), None)
    assert (rows["a"].answer_entropy, rows["b"].tokens) == (pytest.approx(spread_a), 1.0)


def test_lengths_are_of_all_traces() -> None:
    found = verdicts(a="SW", b="NN")
    traces = [*traces_of(found[:3]), *traces_of(found[3:], reason="length")]
    lengths = score(traces, found, ks=[], seed=0).report.lengths
    assert lengths["mean"] == 10.5 and lengths["truncated"] == 0.25 and 10 < lengths["p95"] <= 11


def test_the_order_of_records_makes_no_difference() -> None:
    found = verdicts(a="SCWNW", b="TEWWS", c="SSSCC")
    traces = traces_of(found)
    expected = score(traces, found, ks=[2], seed=1).report
    random.Random(0).shuffle(found)
    random.Random(1).shuffle(traces)
    assert score(traces, found, ks=[2], seed=1).report == expected


def test_shares_are_of_samples_and_in_the_order_of_problem_ids() -> None:
    counts = count_verdicts(verdicts(b="SCWN", a="WWWW"))
    assert (counts.problem_ids, counts.shares.tolist()) == (("a", "b"), [[0.0, 0.0], [0.25, 0.5]])
