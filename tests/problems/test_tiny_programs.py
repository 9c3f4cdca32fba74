"""The tiny programming tasks: deterministic, disjoint, and their tests tell right from nearly right."""

from collections import Counter
from typing import Any

import pytest

from tpt.errors import ProblemError
from tpt.problems import check_disjoint, load_problems
from tpt.problems.procedural.tiny_families import FAMILIES
from tpt.problems.procedural.tiny_programs import TESTS, question_of, split_of, tasks_of, tiny_programs

ALL = {split: tiny_programs(split=split, size=len(tasks_of(split))) for split in ("train", "heldout")}


def passes(function: Any, tests: list[dict[str, Any]]) -> bool:
    return all(function(*test["args"]) == test["expected"] for test in tests)


def function_of(problem: Any) -> Any:
    names: dict[str, Any] = {}
    exec(problem.solution, names)
    return names[problem.tests[0]["name"]]


def test_problem_i_depends_on_the_seed_the_split_and_i_alone():
    assert load_problems("tiny_programs?split=train&size=40&seed=3")[:7] == tiny_programs(split="train", size=7, seed=3)
    assert tiny_programs(split="train", size=30, seed=3) != tiny_programs(split="train", size=30, seed=4)
    assert load_problems("tiny_programs?split=heldout&size=5", seed=3)[4].id == "tiny_programs/heldout/00004"


def test_no_task_and_no_question_is_on_both_sides():
    sides = {split: {(task.family.name, task.constants) for task in tasks_of(split)} for split in ("train", "heldout")}
    assert not sides["train"] & sides["heldout"]
    assert len(sides["heldout"]) > 60
    check_disjoint(ALL["train"], ALL["heldout"])
    assert split_of(FAMILIES[0], (7,)) in ("train", "heldout")


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_question_is_there_once_with_tests_that_differ(split):
    problems = ALL[split]
    assert len({problem.question for problem in problems}) == len(problems)
    for problem in problems:
        assert len(problem.tests or []) == TESTS
        results = Counter(repr(test.get("expected", test.get("output"))) for test in problem.tests or [])
        assert max(results.values()) < TESTS, problem
        inputs = {repr(test.get("args", test.get("input"))) for test in problem.tests or []}
        assert len(inputs) == TESTS
        assert "{" not in problem.question


def test_every_reference_passes_its_own_tests():
    functions = [each for problems in ALL.values() for each in problems if "def " in (each.solution or "")]
    assert len(functions) > 1000
    assert all(passes(function_of(each), each.tests or []) for each in functions)


@pytest.mark.parametrize("name", ["larger", "smaller", "is_multiple", "is_greater", "sum_exceeds", "count_above"])
def test_a_constant_off_by_one_fails(name):
    problems = [each for each in ALL["train"] if each.tests and each.tests[0].get("name") == name]
    caught = 0
    for problem in problems:
        constant = next(task.constants[0] for task in tasks_of("train") if question_of(task) == problem.question)
        wrong = (problem.solution or "").replace(str(constant), str(int(constant) + 1))
        names: dict[str, Any] = {}
        exec(wrong, names)
        caught += not passes(names[name], problem.tests or [])
    assert caught == len(problems) > 0


def test_a_program_reads_one_number_a_line_and_its_reference_is_a_program():
    problem = next(each for each in ALL["train"] if each.tests and each.tests[0]["type"] == "stdin")
    assert "standard input" in problem.question
    assert "input()" in (problem.solution or "")
    assert all(test["input"].endswith("\n") and test["output"].endswith("\n") for test in problem.tests or [])


@pytest.mark.parametrize(
    "spec", ["tiny_programs?split=train&size=5000", "tiny_programs:x?split=train", "tiny_programs"]
)
def test_a_bad_spec_is_explained(spec):
    with pytest.raises(ProblemError, match="tiny_programs"):
        load_problems(spec)
