"""The policies that comparisons need: only wrong answers written as asked, and a round of so many examples at most."""

from __future__ import annotations

import pytest

from tpt.config import PRESETS, PruneConfig, parse_config
from tpt.errors import ConfigError
from tpt.prune import Pruned, is_keepable, is_wrong_as_asked, select
from tpt.records import FinishReason, Outcome, Problem, Trace, Verdict
from tpt.verifiers.judge import judge

FORMAT_ONLY = PruneConfig(**PRESETS["format-only"]["prune"])
NUMBER = Problem("p", "How many?", "18")


def judged(problem: Problem, completion: str, finish_reason: FinishReason = "stop") -> tuple[Trace, Verdict]:
    trace = Trace(problem.id, 0, completion, finish_reason, 5, 0)
    (verdict,) = judge([trace], {problem.id: problem})
    return trace, verdict


@pytest.mark.parametrize(
    ("completion", "kept"),
    [
        ("9 * 2 = 19\n#### 19", True),
        ("#### 1,900", True),
        ("#### -3.5", True),
        ("#### 18", False),  # right
        ("#### 18.0", False),
        ("The answer is 19", False),  # wrong, but not as asked
        ("#### $19", False),
        ("#### 19\nNo, the answer is 20", False),  # its last answer is not the one after ####
        ("#### 19 apples", True),  # words after the number are allowed, and so they are to a right answer
        ("no idea", False),
        ("", False),
    ],
)
def test_format_only_keeps_wrong_answers_written_as_asked(completion: str, kept: bool) -> None:
    trace, verdict = judged(NUMBER, completion)
    assert is_keepable(trace, verdict, NUMBER, FORMAT_ONLY) == kept
    assert not is_keepable(trace, verdict, NUMBER, PruneConfig()) or not kept


@pytest.mark.parametrize(
    ("kind", "answer", "wrong", "loose"),
    [
        ("math", "\\frac{1}{2}", "so \\boxed{\\frac{1}{3}}", "so it is $\\frac{1}{3}$"),
        ("choice", "B", "Answer: C", "It might be (C) that fits"),
    ],
)
def test_other_kinds_go_by_their_own_format(kind: str, answer: str, wrong: str, loose: str) -> None:
    problem = Problem("p", "Which?\nA) 1\nB) 2\nC) 3", answer, kind=kind)
    trace, verdict = judged(problem, wrong)
    assert verdict.outcome is Outcome.WRONG
    as_asked = judge([trace], {"p": Problem("p", problem.question, str(verdict.extracted), kind=kind)})[0].strict
    assert is_wrong_as_asked(trace, verdict, problem) == as_asked
    trace, verdict = judged(problem, loose)
    assert not is_wrong_as_asked(trace, verdict, problem)


def test_a_trace_cut_off_is_never_kept_and_a_program_has_no_such_format() -> None:
    trace, verdict = judged(NUMBER, "#### 19", "length")
    assert is_wrong_as_asked(trace, verdict, NUMBER) and not is_keepable(trace, verdict, NUMBER, FORMAT_ONLY)
    program = Problem("p", "Double x.", "", kind="code", tests=[])
    assert not is_wrong_as_asked(trace, Verdict("p", 0, Outcome.WRONG, False, "x"), program)


def test_nothing_is_both_right_and_wrong() -> None:
    with pytest.raises(ConfigError, match="set correct_only = false"):
        parse_config({"prune": {"wrong_only": True}})
    assert parse_config({"preset": "format-only"}).prune.wrong_only


def round_of(most: int, *, seed: int = 0) -> Pruned:
    problems = {f"p{place}": Problem(f"p{place}", "?", "1") for place in range(6)}
    pairs = [
        (Trace(each, sample, f"{each} {sample}", "stop", 5, 0), Verdict(each, sample, Outcome.CORRECT, True, "1"))
        for each in problems
        for sample in range(3)
    ]
    return select(
        [trace for trace, _ in pairs],
        [verdict for _, verdict in pairs],
        problems,
        policy=PruneConfig(per_problem="all", size="all", max_examples=most),
        messages=lambda problem: [],
        seed=seed,
        round_index=1,
    )


def test_examples_at_most_leave_out_whole_problems() -> None:
    assert [len(round_of(most).examples) for most in (0, 18, 17, 9, 8, 3)] == [18, 18, 15, 9, 6, 3]
    assert len(round_of(1).examples) == 3  # one problem in any case
    assert round_of(9).problems_kept == 3
    kept = [{example.problem_id for example in round_of(9, seed=seed).examples} for seed in range(8)]
    assert len({frozenset(each) for each in kept}) > 1


def test_one_big_round_is_a_single_round_whatever_the_default() -> None:
    assert parse_config({"preset": "one-big-round"}).rounds == 1
    assert parse_config({"preset": "one-big-round", "rounds": 2}).rounds == 2
