"""Every value of every policy, and that what is chosen depends on the seed alone."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace
from scipy.stats import chisquare

from tpt.config import PruneConfig
from tpt.errors import RunError
from tpt.mix import wanted_size
from tpt.prune import Pruned, select
from tpt.records import FinishReason, Message, Outcome, Problem, Trace, Verdict
from tpt.run.problem_order import problem_order

Pair = tuple[Trace, Verdict]


def pair(
    problem_id: str,
    sample: int,
    completion: str = "",
    *,
    outcome: Outcome = Outcome.CORRECT,
    strict: bool = True,
    finish_reason: FinishReason = "stop",
    tokens: int = 5,
) -> Pair:
    text = completion or f"{problem_id} in its own way {sample}"
    return (
        Trace(problem_id, sample, text, finish_reason, tokens, 0),
        Verdict(problem_id, sample, outcome, strict, None),
    )


def ask(problem: Problem) -> list[Message]:
    return [{"role": "user", "content": problem.question}]


def prune(pairs: list[Pair], *, seed: int = 0, round_index: int = 1, **policy: Any) -> Pruned:
    problems = {trace.problem_id: Problem(trace.problem_id, f"{trace.problem_id}?", "1") for trace, _ in pairs}
    return select(
        [trace for trace, _ in pairs],
        [verdict for _, verdict in pairs],
        problems,
        policy=PruneConfig(**policy),
        messages=ask,
        seed=seed,
        round_index=round_index,
    )


def kept(pruned: Pruned) -> list[tuple[str, int]]:
    return [(example.problem_id, example.sample) for example in pruned.examples]


WRONG = {"outcome": Outcome.WRONG, "strict": False}


def mixed() -> list[Pair]:
    """Four problems: right in the format, right without it, wrong, and cut off."""
    return [
        pair("a", 0),
        pair("b", 0, strict=False),
        pair("c", 0, outcome=Outcome.WRONG, strict=False),
        pair("d", 0, finish_reason="length"),
    ]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, ["a"]),
        ({"require_format": False}, ["a", "b"]),
        ({"correct_only": False}, ["a", "b", "c"]),
        ({"correct_only": False, "require_format": False}, ["a", "b", "c"]),
    ],
)
def test_which_traces_may_be_kept(policy: dict[str, bool], expected: list[str]) -> None:
    pruned = prune(mixed(), **policy)
    assert [problem_id for problem_id, _ in kept(pruned)] == expected
    assert pruned.problems == 4 and pruned.solved_problems == pruned.keepable_traces == len(expected)


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.CORRECT])
def test_nothing_but_correct_is_correct(outcome: Outcome) -> None:
    assert not kept(prune([pair("a", 0, outcome=outcome, strict=True)], require_format=False))


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, ["right"]), (0.1, ["half", "right", "slow"]), (0.5, ["half", "right"]), (0.51, ["right"])],
)
def test_wrong_programs_are_kept_by_their_share_of_tests_only_when_asked(share: float, expected: list[str]) -> None:
    def judged(name: str, outcome: Outcome, passed: int | None, finish_reason: FinishReason = "stop") -> Pair:
        trace, verdict = pair(name, 0, outcome=outcome, strict=outcome is Outcome.CORRECT, finish_reason=finish_reason)
        return trace, replace(verdict, tests_passed=passed, tests_total=None if passed is None else 10)

    pairs = [
        judged("right", Outcome.CORRECT, 10),
        judged("half", Outcome.WRONG, 5),
        judged("slow", Outcome.TIMEOUT, 1),
        judged("none", Outcome.WRONG, 0),
        judged("number", Outcome.WRONG, None),
        judged("error", Outcome.ERROR, 9),
        judged("cut", Outcome.WRONG, 9, "length"),
    ]
    pruned = prune(pairs, min_tests_passed=share)
    assert [problem_id for problem_id, _ in kept(pruned)] == expected
    assert pruned.partly_right_traces == len(expected) - 1


def test_an_example_is_the_prompt_and_the_whole_completion() -> None:
    example = prune([pair("a", 3, " text with spaces \n#### 1 ")]).examples[0]
    assert example.messages == [
        {"role": "user", "content": "a?"},
        {"role": "assistant", "content": " text with spaces \n#### 1 "},
    ]


def several(problem_id: str = "a") -> list[Pair]:
    """Five traces of a problem: lengths 5, 3, 9, 3, 7."""
    return [pair(problem_id, sample, tokens=tokens) for sample, tokens in enumerate([5, 3, 9, 3, 7])]


@pytest.mark.parametrize(
    ("pick", "count", "expected"),
    [
        ("first", 2, [0, 1]),
        ("shortest", 1, [1]),
        ("shortest", 3, [0, 1, 3]),
        ("longest", 2, [2, 4]),
        ("first", "all", [0, 1, 2, 3, 4]),
        ("random", "all", [0, 1, 2, 3, 4]),
        ("diverse", "all", [0, 1, 2, 3, 4]),
        ("longest", 99, [0, 1, 2, 3, 4]),
    ],
)
def test_which_traces_of_a_problem_are_picked(pick: str, count: int | str, expected: list[int]) -> None:
    assert [sample for _, sample in kept(prune(several(), pick=pick, per_problem=count))] == expected


def test_a_random_pick_is_uniform_over_the_traces() -> None:
    counts = Counter(kept(prune(several(), seed=seed))[0][1] for seed in range(600))
    assert chisquare([counts[sample] for sample in range(5)]).pvalue > 0.01


def test_a_diverse_pick_takes_what_is_least_alike() -> None:
    pairs = [
        pair("a", 0, "one two three four"),
        pair("a", 1, "one two three five"),
        pair("a", 2, "six seven eight nine"),
    ]
    for seed in range(8):
        samples = [sample for _, sample in kept(prune(pairs, seed=seed, pick="diverse", per_problem=2))]
        assert len(samples) == 2 and 2 in samples


SAME = [
    pair("a", 0, "He has 2+3=5.\n#### 5"),
    pair("a", 1, "  He has 2+3=5.\n#### 5\n"),
    pair("a", 2, "So 2 + 3 = 5 in all\n#### 5"),
    pair("a", 3, "3+2=5\n#### 5"),
    pair("a", 4, "clearly five"),
    pair("a", 5, "obviously five"),
    pair("a", 6, "clearly five"),
]


@pytest.mark.parametrize(
    ("dedupe", "expected"),
    [("none", [0, 1, 2, 3, 4, 5, 6]), ("exact", [0, 2, 3, 4, 5]), ("equations", [0, 3, 4, 5])],
)
def test_what_makes_two_traces_the_same(dedupe: str, expected: list[int]) -> None:
    pruned = prune(SAME, dedupe=dedupe, per_problem="all")
    assert [sample for _, sample in kept(pruned)] == expected
    assert pruned.duplicate_traces == len(SAME) - len(expected)
    assert pruned.keepable_traces == len(SAME)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, "1234"), (0.0, 0.99, "123"), (0.5, 1.0, "234"), (0.5, 0.5, "2"), (0.3, 0.49, ""), (1.0, 1.0, "4")],
)
def test_problems_may_be_left_out_by_their_solve_rate(low: float, high: float, expected: str) -> None:
    """Problem n of four has n right samples of four, one of them without the format: it counts as right all the same."""
    right = [[pair(str(n), sample, strict=sample > 0) for sample in range(n)] for n in range(5)]
    wrong = [[pair(str(n), sample, outcome=Outcome.WRONG, strict=False) for sample in range(n, 4)] for n in range(5)]
    pruned = prune(
        [each for group in (*right, *wrong) for each in group],
        min_solve_rate=low,
        max_solve_rate=high,
        require_format=False,
        size="all",
    )
    assert "".join(problem_id for problem_id, _ in kept(pruned)) == expected
    assert pruned.problems_outside_band == sum(not low <= n / 4 <= high for n in range(5))
    assert pruned.problems_kept == len(expected)


def test_the_same_text_for_two_problems_is_no_duplicate() -> None:
    assert len(kept(prune([pair("a", 0, "5"), pair("b", 0, "5")]))) == 2


def many(count: int = 12) -> list[Pair]:
    return [each for number in range(count) for each in several(f"p/{number:02d}")]


def test_size_counts_problems_and_all_takes_every_solved_one() -> None:
    pruned = prune(many(), size=5, per_problem=2)
    assert len({problem_id for problem_id, _ in kept(pruned)}) == pruned.problems_kept == pruned.size_wanted == 5
    assert len(kept(pruned)) == 10 and kept(pruned) == sorted(kept(pruned))
    everything = prune([*many(), pair("q", 0, **WRONG)], size="all")
    assert (everything.problems, everything.problems_kept, everything.size_wanted) == (13, 12, None)


def test_fewer_solved_problems_than_wanted_are_all_taken() -> None:
    pruned = prune(many(3), size=5)
    assert (pruned.problems_kept, pruned.size_wanted, len(pruned.examples)) == (3, 5, 3)


@pytest.mark.parametrize(
    ("size", "growth", "sizes"),
    [(10, 1.0, [10, 10, 10]), (10, 1.5, [10, 15, 22]), (10, 0.1, [10, 1, 1]), ("all", 2.0, [None] * 3)],
)
def test_size_grows_from_round_to_round(size: int | str, growth: float, sizes: list[int | None]) -> None:
    policy = PruneConfig.model_validate({"size": size, "growth": growth})
    assert [wanted_size(policy, index) for index in (1, 2, 3)] == sizes


@pytest.mark.parametrize("pick", ["random", "first", "shortest", "longest", "diverse"])
@pytest.mark.parametrize("dedupe", ["exact", "equations", "none"])
def test_the_choice_does_not_depend_on_the_order_of_the_traces(pick: str, dedupe: str) -> None:
    pairs = [*many(), *SAME]
    expected = prune(pairs, size=6, per_problem=2, pick=pick, dedupe=dedupe)
    for seed in range(3):
        random.Random(seed).shuffle(pairs)
        assert prune(pairs, size=6, per_problem=2, pick=pick, dedupe=dedupe) == expected


def test_the_order_of_the_verdicts_makes_no_difference_either() -> None:
    traces, verdicts = [trace for trace, _ in mixed()], [verdict for _, verdict in mixed()]
    assert kept(prune(list(zip(traces, verdicts, strict=True)))) == kept(
        prune(list(zip(traces, reversed(verdicts), strict=True)))
    )


def test_a_trace_without_a_verdict_is_an_error() -> None:
    with pytest.raises(RunError, match="problem 'a', sample 1: the trace has no verdict"):
        prune([pair("a", 0), (pair("a", 1)[0], pair("a", 0)[1])])


def test_rounds_and_seeds_choose_differently_and_each_the_same_again() -> None:
    chosen = [kept(prune(many(), size=6, seed=seed, round_index=index)) for seed in (0, 1) for index in (1, 2)]
    assert len({tuple(each) for each in chosen}) == 4
    assert chosen[0] == kept(prune(many(), size=6))


def test_problems_are_walked_in_the_order_that_sampling_walks_them() -> None:
    pairs = many()
    order = problem_order(sorted({trace.problem_id for trace, _ in pairs}), 3, 2)
    chosen = {problem_id for problem_id, _ in kept(prune(pairs, seed=3, round_index=2, size=4))}
    assert chosen == set(order[:4])


def test_every_solved_problem_is_as_likely_as_another() -> None:
    unsolved = [pair(f"q/{number}", 0, **WRONG) for number in range(5)]
    # Easy and hard ones: a problem with many right traces must not be favoured.
    solved = [pair(f"p/{number}", sample) for number in range(8) for sample in range(number + 1)]
    counts: Counter[str] = Counter()
    for seed in range(800):
        counts.update(problem_id for problem_id, _ in kept(prune([*solved, *unsolved], seed=seed, size=3)))
    assert counts.total() == 2400 and set(counts) == {f"p/{number}" for number in range(8)}
    assert chisquare(list(counts.values())).pvalue > 0.01
