"""The procedural problem source: right answers, distinct questions, disjoint splits, order-proof."""

from __future__ import annotations

import re

import pytest

from tpt.errors import ProblemError
from tpt.problems.procedural.word_problems import HELDOUT_NAMES, TRAIN_NAMES, word_problems
from tpt.records import Problem

TRAIN = word_problems(split="train", size=5000)
HELDOUT = word_problems(split="heldout", size=2000)


def test_solutions_are_true_equations_that_end_in_the_answer() -> None:
    for problem in TRAIN[:1000] + HELDOUT[:1000]:
        assert problem.solution is not None
        *lines, last = problem.solution.split("\n")
        assert last == f"#### {problem.answer}"
        assert lines[-1].endswith(f"= {problem.answer}")
        for line in lines:
            left, operator, right, result = re.fullmatch(r"(\d+) ([-+*/]) (\d+) = (\d+)", line).groups()  # type: ignore[union-attr]
            assert {
                "+": int(left) + int(right) == int(result),
                "-": int(left) - int(right) == int(result),
                "*": int(left) * int(right) == int(result),
                "/": int(left) == int(right) * int(result),
            }[operator], (problem.id, line)
        assert 1 <= int(problem.answer) <= 999


def test_every_number_of_a_question_is_used_in_its_solution() -> None:
    for problem in TRAIN[:1000]:
        used = re.findall(r"\d+", problem.solution or "")
        assert all(number in used for number in re.findall(r"\d+", problem.question)), problem.question


def test_known_problem() -> None:
    problem = HELDOUT[0]
    assert problem.id == "word_problems/heldout/00000"
    assert (problem.kind, problem.source) == ("number", "word_problems")
    assert problem.question == (
        "Jack has 55 marbles. Jack finds 40 more. Jack gives away 25. "
        "Jack shares them among 7 friends. How many marbles does each friend get?"
    )
    assert problem.answer == "10"
    assert problem.solution == "55 + 40 = 95\n95 - 25 = 70\n70 / 7 = 10\n#### 10"


def test_a_cluster_is_a_plan_of_sentences_whatever_its_names_and_numbers() -> None:
    assert HELDOUT[0].cluster == "word_problems/has gain lose share"
    many = {problem.cluster for problem in HELDOUT[:200]}
    assert 60 < len(many) < 200
    assert many & {problem.cluster for problem in TRAIN}


def test_questions_and_ids_are_distinct() -> None:
    for problems in (TRAIN, HELDOUT):
        assert len({p.question for p in problems}) == len({p.id for p in problems}) == len(problems)


def test_splits_are_disjoint_in_plans_and_names_whatever_the_seed() -> None:
    def plans(problems: list[Problem]) -> set[str]:
        return {re.sub(r"\b[A-Z]\w+\b|\b[a-z]+s\b", "", p.question) for p in problems}

    other_seed = word_problems(split="train", size=2000, seed=1)
    assert not plans(TRAIN + other_seed) & plans(HELDOUT)
    words = {word for p in HELDOUT for word in re.findall(r"\w+", p.question)}
    assert not words & set(TRAIN_NAMES)
    assert set(HELDOUT_NAMES) < words


def test_a_problem_depends_on_seed_split_and_index_alone() -> None:
    assert word_problems(split="train", size=50) == TRAIN[:50]
    assert word_problems(split="train", size=50, seed=1) != TRAIN[:50]
    assert [p.question for p in HELDOUT[:50]] != [p.question for p in TRAIN[:50]]


def test_difficulty_runs_from_two_to_five_steps() -> None:
    steps = [(p.solution or "").count("=") for p in TRAIN]
    shares = {n: steps.count(n) / len(steps) for n in set(steps)}
    assert set(shares) == {2, 3, 4, 5}
    assert min(shares.values()) > 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test", "size": 5}, "split = 'test' is unknown"),
        ({"split": "train", "size": 0}, "at least 1 problem"),
    ],
)
def test_bad_arguments_are_explained(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        word_problems(**arguments)  # type: ignore[arg-type]
