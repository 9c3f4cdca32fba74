"""LeetCode-style problems: the published layout as it is, its tests against right and wrong programs, and rows that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tpt.errors import ProblemError
from tpt.problems import load_problems
from tpt.problems.code.rows import PLATFORM
from tpt.records import Outcome, Problem
from tpt.sandbox.bubblewrap import why_not
from tpt.verifiers.gold import fenced, gold_completion
from tpt.verifiers.judge import judge_one

needs_sandbox = pytest.mark.skipif(bool(why_not()), reason="no sandbox for programs")

ROW: dict[str, Any] = {
    "task_id": "add-to-each",
    "question_id": 4001,
    "difficulty": "Easy",
    "tags": ["Array"],
    "problem_description": "Return nums with k added to each number.\n",
    "starter_code": "class Solution:\n    def addToEach(self, nums: List[int], k: int) -> List[int]:\n        ",
    "estimated_date": "2025-01-01",
    "prompt": "import math\nfrom typing import *\nfrom itertools import *\n\ninf = float('inf')\n",
    "completion": "class Solution:\n    def addToEach(self, nums: List[int], k: int) -> List[int]:\n"
    "        return list(starmap(lambda a, b: a + b, zip(nums, repeat(k))))\n",
    "entry_point": "Solution().addToEach",
    "test": "def check(candidate):\n    assert candidate(nums = [1, 2],k = 3) == [4, 5]\n"
    "    assert candidate(nums = [],k = 1) == []\n",
    "input_output": [
        {"input": "nums = [1, 2], k = 3", "output": "[4, 5]"},
        {"input": "nums = [], k = 1", "output": " []"},
    ],
    "query": "Return nums with k added to each number.\n\n### Answer:",
    "response": "```python\n...\n```",
}
WRONG = "class Solution:\n    def addToEach(self, nums, k):\n        return [n + 3 for n in nums]\n"


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(tmp_path: Path, **changed: Any) -> Problem:
    row = {key: value for key, value in {**ROW, **changed}.items() if value is not None}
    return load_problems(f"leetcode:{write(tmp_path / 'mine.jsonl', row)}")[0]


def test_a_published_row_is_read_as_it_is(tmp_path: Path) -> None:
    assert load(tmp_path) == Problem(
        id="leetcode/mine/00000",
        question="Return nums with k added to each number.\n\nStart from this code:\n\n```python\nclass Solution:\n"
        "    def addToEach(self, nums: List[int], k: int) -> List[int]:\n```",
        answer="",
        kind="code",
        tests=[
            {
                "type": "assert",
                "code": ROW["test"] + "\ncheck(addToEach)\n",
                "setup": ROW["prompt"],
                "entry_point": "addToEach",
            }
        ],
        solution=ROW["completion"],
        source="leetcode",
    )


def test_older_rows_ask_by_the_query_and_bare_ones_get_the_platforms_imports(tmp_path: Path) -> None:
    old = load(tmp_path, problem_description=None, starter_code=None, prompt=None, completion=None)
    assert old.question == ROW["query"] and old.solution is None
    assert (old.tests or [])[0]["setup"] == PLATFORM
    assert load(tmp_path, starter_code=None).question == "Return nums with k added to each number."


ASSERTS = "assert candidate([1, 2], 3) == [4, 5]\nassert candidate([], k = 1) == []\n"
PAIRS = [{"input": "nums = [1, 2], k = 3", "output": "[4, 5]"}, {"input": "[0], -1", "output": "[-1]"}]


@needs_sandbox
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"entry_point": "addToEach"},
        {"test": ASSERTS},
        {"test": None},
        {"test": " ", "input_output": json.dumps(PAIRS)},
        {"prompt": None, "completion": ROW["completion"].replace("starmap", "itertools.starmap")},
    ],
)
def test_tests_pass_the_solution_and_refuse_a_wrong_program(tmp_path: Path, changed: dict[str, Any]) -> None:
    problem = load(tmp_path, **changed)
    judged = judge_one(problem, gold_completion(problem) or "")
    assert (judged.outcome, judged.strict) == (Outcome.CORRECT, True), judged.detail
    wrong = WRONG.replace("+ 3", "+ 4") if "input_output" not in changed else WRONG
    assert judge_one(problem, fenced(wrong)).outcome is Outcome.WRONG


@needs_sandbox
def test_pairs_in_the_words_of_json(tmp_path: Path) -> None:
    pairs = [{"input": "flags = [true, false, null]", "output": "true"}, {"input": "[]", "output": "False"}]
    problem = load(tmp_path, test=None, input_output=pairs, entry_point="anyTrue")
    assert len(problem.tests or []) == 2
    right = "class Solution:\n    def anyTrue(self, flags):\n        return any(flags)\n"
    assert judge_one(problem, fenced(right)).outcome is Outcome.CORRECT
    assert judge_one(problem, fenced(right.replace("any(flags)", "True"))).outcome is Outcome.WRONG


def test_lists_and_trees_are_left_out_and_keep_their_positions(tmp_path: Path) -> None:
    tree = {**ROW, "test": "def check(candidate):\n    assert candidate(root = tree_node([1])) == 1\n"}
    starter = {**ROW, "test": "", "starter_code": "class Solution:\n    def f(self, head: Optional[ListNode]): ..."}
    path = write(tmp_path / "mine.jsonl", tree, ROW, starter)
    assert [problem.id for problem in load_problems(f"leetcode:{path}")] == ["leetcode/mine/00001"]


def test_one_file_has_two_disjoint_sides(tmp_path: Path) -> None:
    rows = [{**ROW, "problem_description": f"Task {number}."} for number in range(40)]
    path = write(tmp_path / "mine.jsonl", *rows)
    sides = [{each.id for each in load_problems(f"leetcode:{path}?split={side}")} for side in ("train", "heldout")]
    assert all(sides) and not sides[0] & sides[1] and len(sides[0] | sides[1]) == 40


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"entry_point": None}, "no column 'entry_point'; the columns are task_id"),
        ({"entry_point": "solve(1)"}, "'entry_point' must hold a function's name, or Solution().NAME; got 'solve(1)'."),
        ({"problem_description": "", "query": None}, "no text in column 'problem_description' or 'query'"),
        (
            {"test": None, "input_output": []},
            "no tests in column 'test' or 'input_output', one of which must hold some",
        ),
        ({"test": "def check(candidate:"}, "'test' must hold Python ("),
        ({"test": "print(1)"}, "'test' must hold a function check(candidate), or assert lines; got 'print(1)'."),
        ({"test": 5}, "'test' must hold a function check(candidate), or assert lines; got '5'."),
        ({"test": ["x"]}, "column 'test' holds a list; expected text"),
        ({"test": None, "input_output": {"a": 1}}, "column 'input_output' must hold a list, got"),
        (
            {"test": None, "input_output": ["x"]},
            "'input_output, pair 1' must hold an object with an input and an output; got 'x'.",
        ),
        (
            {"test": None, "input_output": [PAIRS[0], {"input": "nums = ["}]},
            "'input_output, pair 2' must hold an object with an input and an output; got \"{'input': 'nums = ['}\".",
        ),
        (
            {"test": None, "input_output": [{"input": "nums = [", "output": "1"}]},
            "'input_output, pair 1, input' must hold plain arguments such as nums = [1, 2], k = 3; got 'nums = ['.",
        ),
        (
            {"test": None, "input_output": [{"input": "1).x(2", "output": "1"}]},
            "pair 1, input' must hold plain arguments",
        ),
        ({"test": None, "input_output": [{"input": "open('x')", "output": "1"}]}, "pair 1, input' must hold plain"),
        (
            {"test": None, "input_output": [{"input": "[1]", "output": "Error: list index out of range"}]},
            "'input_output, pair 1, output' must hold a plain value such as [1, 2]; got 'Error: list index out of range'.",
        ),
    ],
)
def test_a_row_that_is_no_problem_says_where_and_what_is_allowed(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    row = {key: value for key, value in {**ROW, **changed}.items() if value is not None}
    path = write(tmp_path / "mine.jsonl", ROW, row)
    with pytest.raises(ProblemError) as caught:
        load_problems(f"leetcode:{path}")
    assert str(caught.value).startswith(f"{path}, line 2: ") and message in str(caught.value)


def test_without_a_file_it_says_what_to_write() -> None:
    with pytest.raises(ProblemError, match=r"Write leetcode:FILE\.jsonl"):
        load_problems("leetcode?split=train")
