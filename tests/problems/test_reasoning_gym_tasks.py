"""Procedural problems: reproducible, distinct, split by construction, with right golds."""

import os
import re
import subprocess
import sys
from datetime import date
from enum import Enum
from typing import Literal, Optional

import pytest

from tpt.errors import ProblemError
from tpt.problems import check_disjoint, duplicates, load_problems
from tpt.problems.procedural.reasoning_gym import parse_value

TASKS = ["basic_arithmetic", "chain_sum", "gsm_symbolic", "simple_equations", "products", "gcd"]


@pytest.mark.parametrize("task", TASKS)
def test_a_smaller_size_is_the_start_of_a_larger_one(task):
    larger = load_problems(f"reasoning_gym:{task}?size=60&seed=7")
    assert load_problems(f"reasoning_gym:{task}?size=25&seed=7") == larger[:25]
    assert load_problems(f"reasoning_gym:{task}?size=25", seed=7) == larger[:25]
    assert not duplicates(larger)
    assert {problem.kind for problem in larger} == {"number"}
    assert all(re.fullmatch(rf"reasoning_gym/{task}/7/\d{{5}}", problem.id) for problem in larger)


def test_problems_are_the_same_in_every_process():
    specs = [f"reasoning_gym:{task}?size=8&seed=3" for task in [*TASKS, "calendar_arithmetic", "syllogism"]]
    specs.append("reasoning_gym:chain_sum?size=8&max_digits=2&split=heldout")
    program = "import sys; from tpt.problems import load_problems\nfor spec in sys.argv[1:]: print(load_problems(spec))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, *specs],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert "".join(f"{load_problems(spec)}\n" for spec in specs) in outputs


def test_neighbouring_seeds_share_no_draws():
    first, second = (load_problems(f"reasoning_gym:chain_sum?min_digits=4&size=300&seed={s}") for s in (7, 8))
    check_disjoint(first, second)


def test_splits_of_a_small_space_are_disjoint_and_exhaust_it():
    spec = "reasoning_gym:chain_sum?min_terms=2&max_terms=2&max_digits=1"
    everything = load_problems(f"{spec}&size=200")
    heldout_size = int(re.search(r"only (\d+)", refusal(f"{spec}&size=200&split=heldout"))[1])
    heldout = load_problems(f"{spec}&size={heldout_size}&split=heldout&seed=1")
    train = load_problems(f"{spec}&size={200 - heldout_size}&split=train&seed=2")
    check_disjoint(train, heldout)
    assert {p.question for p in train + heldout} == {p.question for p in everything}
    assert 20 <= heldout_size <= 60


def refusal(spec: str) -> str:
    with pytest.raises(ProblemError) as caught:
        load_problems(spec)
    return str(caught.value)


def test_parameters_tell_ids_apart_but_defaults_do_not():
    plain, same, other = (
        load_problems(f"reasoning_gym:chain_sum?size=1{more}")[0].id for more in ("", "&max_terms=6", "&max_terms=3")
    )
    assert plain == same == "reasoning_gym/chain_sum/0/00000"
    assert re.fullmatch(r"reasoning_gym/chain_sum-[0-9a-f]{8}/0/00000", other)


@pytest.mark.parametrize(("task", "most"), [("gsm_symbolic", 100), ("arc_1d", 100)])
def test_problems_of_one_template_are_a_cluster(task, most):
    clusters = [problem.cluster for problem in load_problems(f"reasoning_gym:{task}?size=200&seed=2")]
    assert all(each.startswith(f"reasoning_gym/{task}/") for each in clusters)
    assert 10 < len(set(clusters)) <= most


@pytest.mark.parametrize("task", ["chain_sum", "calendar_arithmetic"])
def test_tasks_without_many_templates_have_no_clusters(task):
    assert {problem.cluster for problem in load_problems(f"reasoning_gym:{task}?size=20")} == {""}


def test_gsm_symbolic_problems_of_a_cluster_differ_in_names_and_numbers_alone():
    by_cluster = {}
    for problem in load_problems("reasoning_gym:gsm_symbolic?size=150&seed=1"):
        last = re.sub(r"[\d,.$]+|[A-Z]\w+", "", problem.question).split()[-3:]
        by_cluster.setdefault(problem.cluster, []).append(tuple(last))
    pairs = [ends for ends in by_cluster.values() if len(ends) > 1]
    assert len(pairs) > 20
    assert sum(len(set(ends)) == 1 for ends in pairs) > len(pairs) / 2


def test_golds_are_right_where_the_library_is_known_to_err():
    for problem in load_problems("reasoning_gym:basic_arithmetic?allow_parentheses=false&size=100"):
        expression = problem.question.removeprefix("Calculate ").removesuffix(".")
        assert re.fullmatch(r"[-+*/() \d]+", expression)
        assert eval(expression) == pytest.approx(int(problem.answer), rel=1e-12)
    assert not any("0 = 0" in p.question for p in load_problems("reasoning_gym:simple_equations?size=300"))


def test_the_kind_is_the_tasks_own_and_can_be_forced():
    assert load_problems("reasoning_gym:calendar_arithmetic?size=1")[0].kind == "exact"
    assert load_problems("reasoning_gym:chain_sum?size=1", kind="exact")[0].kind == "exact"
    with pytest.raises(ProblemError, match=r"the gold of reasoning_gym/caesar_cipher/0/00000 is no number"):
        load_problems("reasoning_gym:caesar_cipher", kind="number")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("reasoning_gym:chain_sm", "task 'chain_sm' is unknown. Did you mean 'chain_sum'.*basic_arithmetic"),
        ("reasoning_gym", "Write reasoning_gym:TASK with one of"),
        ("reasoning_gym:composite", "'composite' is unknown"),
        ("reasoning_gym:word_ladder", "could not be repeated"),
        ("reasoning_gym:chain_sum?max_term=2", "Did you mean 'max_terms'.*Allowed: allow_negation, max_digits"),
        ("reasoning_gym:chain_sum?max_terms=two", "max_terms = 'two' is not allowed. Allowed: a whole number"),
        ("reasoning_gym:chain_sum?min_terms=9", "max_terms must be >= min_terms"),
        ("reasoning_gym:chain_sum?seed=-1", "a whole number from 0 up"),
        ("reasoning_gym:basic_arithmetic?format_style=plain", "Allowed: one of simple, natural"),
        ("reasoning_gym:basic_arithmetic?operators=%2B,!", "unsupported operator: !"),
        ("reasoning_gym:arc_agi?board_format_opts=x", "cannot be set in a spec"),
        ("reasoning_gym:graph_color", "has no gold answer"),
        ("reasoning_gym:chain_sum?max_digits=1&max_terms=2&size=201", "only 200 distinct questions were found"),
    ],
)
def test_what_cannot_be_generated_is_explained(spec, message):
    assert re.search(message, refusal(spec))


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "-3", -3),
        (float, "0.25", 0.25),
        (bool, "True", True),
        (str, "a,b", "a,b"),
        (Optional[int], "none", None),  # noqa: UP045, as in the library
        (int | None, "4", 4),
        (Literal["a", "b"], "b", "b"),
        (list[str], "+,-", ["+", "-"]),
        (list[str], '["a,b", "c"]', ["a,b", "c"]),
        (list[list[float]], "[[0.5, 1], [2, 3]]", [[0.5, 1.0], [2.0, 3.0]]),
        (tuple[str, ...], "x,y", ("x", "y")),
        (tuple, "x", ("x",)),
        (list[Colour], "red", [Colour.RED]),
        (date, "2024-02-29", date(2024, 2, 29)),
    ],
)
def test_values_are_read_by_type(hint, text, value):
    assert parse_value(hint, text) == value
