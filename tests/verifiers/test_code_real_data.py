"""Programs of published data sets get the verdicts that are known of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from code_cases import judge_programs, needs_bubblewrap
from msgspec.structs import replace
from real_data import DATA

from tpt.problems import load_problems, load_wrong_programs
from tpt.records import Outcome, Problem

pytestmark = [needs_bubblewrap, pytest.mark.real_data]


def data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"TPT_DATA holds no {name}")
    return path


def wrongly_judged(pairs: list[tuple[Problem, str]], known: list[bool]) -> list[str]:
    found = judge_programs(pairs)
    return [
        pair[0].id.split("/", 1)[1]
        for pair, judgement, right in zip(pairs, found, known, strict=True)
        if (judgement.outcome is Outcome.CORRECT) != right
    ]


def references(spec: str, every: int = 1) -> list[tuple[Problem, str]]:
    return [(each, each.solution) for each in load_problems(spec)[::every] if each.solution]


@pytest.mark.parametrize(
    ("source", "name", "every", "wrong"),
    [
        ("human_eval", "code/humaneval.jsonl", 1, []),
        ("mbpp", "code/mbpp.jsonl", 15, []),
        ("apps", "code/apps_train5_coderl.jsonl", 1, []),
    ],
)
def test_reference_programs_pass(source, name, every, wrong):
    pairs = references(f"{source}:{data(name)}", every)
    assert pairs and wrongly_judged(pairs, [True] * len(pairs)) == wrong


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_verdicts_agree_with_published_labels(name):
    path = data(f"model_outputs/ldb_{name}_seeds.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = []
    for each, row in zip(load_problems(f"human_eval:{path}"), rows, strict=True):
        setup = row["prompt"] if name == "humaneval" else ""
        pairs.append((replace(each, tests=[{**test, "setup": setup} for test in each.tests or []]), row["solution"]))
    assert wrongly_judged(pairs[::15], [row["is_solved"] for row in rows[::15]]) == []


def test_contest_programs_are_judged_as_at_the_contest():
    spec = f"code_contests:{data('code/codecontests_sample.jsonl')}?images=keep"
    problems = load_problems(spec)
    right = [(each, each.solution) for each in problems[::20] if each.solution]
    rejected = load_wrong_programs(spec)
    wrong = [(each, text) for each in problems for text in rejected.get(each.id, ())]
    assert len(right) == 14 and wrongly_judged(right, [True] * len(right)) == []
    assert len(wrong) == 21
    # These pass every test there is.
    passing = [f"codecontests_sample/{number:05d}" for number in (5, 50, 77, 130, 262)]
    assert wrongly_judged(wrong, [False] * len(wrong)) == passing
