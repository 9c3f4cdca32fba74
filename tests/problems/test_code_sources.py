"""Programming problems from files in the layouts of their data sets."""

import base64
import json
import pickle
import sys
import zlib
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from real_data import DATA

from tpt.audit.check import check
from tpt.errors import ProblemError
from tpt.problems import load_problems, load_wrong_programs
from tpt.problems.code.rows import PLATFORM
from tpt.problems.math.rows import Hub, iter_hub_rows
from tpt.records import Outcome, Problem
from tpt.verifiers.code.verify import verify_code
from tpt.verifiers.judge import judge

CONTEST: dict[str, Any] = {
    "name": "1_A. Sum",
    "description": "Print a + b.\n",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["4 5\n", "0 0\n"], "output": ["9\n", "0\n"]},
    "generated_tests": {"input": ["9 9\n"], "output": ["18\n"]},
    "solutions": {"language": [2, 3, 3], "solution": ["int main", "print(1)", "print(2)"]},
    "incorrect_solutions": {"language": [3, 1], "solution": ["print(0)", "print 0"]},
    "time_limit": {"seconds": 1, "nanos": 500_000_000},
    "memory_limit_bytes": 256 << 20,
    "input_file": "",
}
LIMITS = {"time_limit_s": 4.5, "memory_mb": 256}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_code_contests_in_the_official_layout(tmp_path, suffix):
    path = tmp_path / f"sample{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([CONTEST]), path)
    else:
        write(path, CONTEST)
    cases = [("1 2\n", "3\n"), ("4 5\n", "9\n"), ("0 0\n", "0\n"), ("9 9\n", "18\n")]
    problem = Problem(
        id="code_contests/sample/00000",
        question="Print a + b.\n\nWrite a program that reads the input from standard input and writes the answer to "
        "standard output.",
        answer="",
        kind="code",
        tests=[{"type": "stdin", "input": a, "output": b, "compare": "tokens", **LIMITS} for a, b in cases],
        solution="print(1)",
        source="code_contests",
    )
    assert load_problems(f"code_contests:{path}") == [problem]
    assert load_wrong_programs(f"code_contests:{path}") == {problem.id: ("print(0)",)}
    assert len(load_problems(f"code_contests:{path}?max_tests=3")[0].tests or []) == 3
    assert (load_problems(f"code_contests:{path}?time_factor=2")[0].tests or [])[0]["time_limit_s"] == 3.0
    assert load_problems(f"code_contests:{path}", kind="own.py:judge")[0].kind == "own.py:judge"


def test_code_contests_leaves_out_images_and_named_files_and_keeps_positions(tmp_path):
    image = {**CONTEST, "description": "See <image> below."}
    named = {**CONTEST, "input_file": "sum.in"}
    path = write(tmp_path / "rows.jsonl", image, named, {**CONTEST, "time_limit": None, "memory_limit_bytes": 0})
    found = load_problems(f"code_contests:{path}")
    assert [problem.id for problem in found] == ["code_contests/rows/00002"]
    test = (found[0].tests or [])[0]
    assert (test["time_limit_s"], test["memory_mb"]) == (6, 1024)
    kept = load_problems(f"code_contests:{path}?images=keep")
    assert [problem.id for problem in kept] == ["code_contests/rows/00000", "code_contests/rows/00002"]


def test_a_folder_holds_splits_and_a_file_is_split_by_hash(tmp_path):
    rows = [{**CONTEST, "description": f"Task {index}"} for index in range(40)]
    write(tmp_path / "train-00000.jsonl", *rows[:25])
    write(tmp_path / "train-00001.jsonl", *rows[25:])
    write(tmp_path / "test.jsonl", *rows[:2])
    train = load_problems(f"code_contests:{tmp_path}?split=train")
    assert [train[0].id, train[25].id, len(train)] == ["code_contests/train/00000", "code_contests/train/00025", 40]
    assert len(load_problems(f"code_contests:{tmp_path}?split=test", limit=1)) == 1
    with pytest.raises(
        ProblemError, match=r"no valid\*\.parquet or valid\*\.jsonl here. The folder holds: test\.jsonl"
    ):
        load_problems(f"code_contests:{tmp_path}?split=valid")
    path = write(tmp_path / "all.jsonl", *rows)
    sides = [load_problems(f"code_contests:{path}?split={side}") for side in ("train", "heldout")]
    assert sorted(each.id for side in sides for each in side) == [
        each.id for each in load_problems(f"code_contests:{path}")
    ]


def test_fractions_are_compared_as_numbers(tmp_path):
    row = {**CONTEST, "private_tests": {"input": ["7"], "output": ["-0.25 x"]}}
    tests = load_problems(f"code_contests:{write(tmp_path / 'f.jsonl', row)}")[0].tests or []
    assert {(test["compare"], test["tolerance"]) for test in tests} == {("float", 1e-6)}


def test_yes_and_no_are_right_in_any_case(tmp_path):
    row = {**CONTEST, "private_tests": {"input": ["7"], "output": ["Yes\n1 2"]}}
    problem = load_problems(f"code_contests:{write(tmp_path / 'f.jsonl', {**row, 'public_tests': None})}?max_tests=1")[
        0
    ]
    said = [
        verify_code(problem, f"```python\nprint({text!r})\n```").outcome for text in ("YES\n1 2", "yes 1 2", "No\n1 2")
    ]
    assert said == [Outcome.CORRECT, Outcome.CORRECT, Outcome.WRONG]


def test_apps_programs_functions_and_methods(tmp_path):
    program = {
        "question": "Add.",
        "solutions": json.dumps(["print(1)"]),
        "input_output": json.dumps({"inputs": ["1\n2\n", ["1", "2"]], "outputs": ["3\n", ["3"]]}),
        "starter_code": "",
    }
    function = {
        "question": "Double.",
        "solutions": "",
        "input_output": {"fn_name": "double", "inputs": [[2], [[1, 2]]], "outputs": [[4], [[1, 2, 1, 2]]]},
        "starter_code": "def double(x):\n\t",
    }
    method = {
        "question": "Halve.",
        "input_output": {"fn_name": "halve", "inputs": [[4, True]], "outputs": [2]},
        "starter_code": "class Solution:\n    def halve(self, x: int, whole: bool) -> int:\n        ",
    }
    empty = {"question": "None.", "input_output": ""}
    found = load_problems(f"apps:{write(tmp_path / 'a.jsonl', program, function, method, empty)}")
    assert [problem.id for problem in found] == ["apps/a/00000", "apps/a/00001", "apps/a/00002"]
    assert [test["input"] for test in found[0].tests or []] == ["1\n2\n", "1\n2"]
    assert found[0].solution == "print(1)"
    assert found[1].tests == [
        {"type": "function", "name": "double", "args": [2], "expected": 4},
        {"type": "function", "name": "double", "args": [[1, 2]], "expected": [1, 2, 1, 2]},
    ]
    assert "Start from this code:\n\n```python\ndef double(x):\n```" in found[1].question
    assert found[1].solution is None
    halve = {"type": "function", "name": "halve", "args": [4, True], "expected": 2, "setup": PLATFORM}
    assert found[2].tests == [halve]
    annotated = "class Solution:\n    def halve(self, x: List[int], whole: bool): return x // 2"
    assert verify_code(found[2], f"```python\n{annotated}\n```").outcome is Outcome.CORRECT


def test_human_eval_and_mbpp(tmp_path):
    human = {
        "task_id": "HumanEval/0",
        "prompt": "from typing import List\n\ndef one(x: int) -> int:\n    ''' One. '''\n",
        "entry_point": "one",
        "canonical_solution": "    return 1\n",
        "test": "\n\ndef check(candidate):\n    assert candidate(3) == 1\n",
    }
    found = load_problems(f"human_eval:{write(tmp_path / 'h.jsonl', human)}")[0]
    assert found.tests == [
        {
            "type": "assert",
            "code": "def check(candidate):\n    assert candidate(3) == 1\n\ncheck(one)\n",
            "setup": human["prompt"],
            "entry_point": "one",
        }
    ]
    assert found.solution == human["prompt"] + human["canonical_solution"]
    basic = {
        "task_id": 3,
        "text": "Write a function to add.",
        "code": "import math\r\ndef plus(a, b):\r\n    return a + b",
        "test_list": ["assert plus(1, 2) == 3", "assert plus(0, 0) == 0"],
        "test_setup_code": "",
    }
    clean = {"prompt": "Subtract.", "code": "def minus(a, b): return a - b", "test_imports": ["import math"]}
    clean["test_list"] = ["assert math.isclose(minus(2, 1), 1)"]
    first, second = load_problems(f"mbpp:{write(tmp_path / 'm.jsonl', basic, clean)}")
    assert first.question.endswith("It must pass tests such as:\n\nassert plus(1, 2) == 3")
    assert first.tests == [
        {"type": "assert", "code": "assert plus(1, 2) == 3", "entry_point": "plus", "time_limit_s": 10},
        {"type": "assert", "code": "assert plus(0, 0) == 0", "entry_point": "plus", "time_limit_s": 10},
    ]
    assert first.solution == "import math\ndef plus(a, b):\n    return a + b"
    assert (second.tests or [])[0] | {"code": ""} == {
        "type": "assert",
        "code": "",
        "setup": "import math",
        "entry_point": "minus",
        "time_limit_s": 10,
    }
    assert "plus(0, 0)" in load_problems(f"mbpp:{tmp_path / 'm.jsonl'}?shown=2")[0].question


@pytest.mark.parametrize(
    ("source", "row"),
    [
        ("human_eval", {"prompt": "def one():\n", "entry_point": "one", "test": "def check(f): pass"}),
        ("mbpp", {"text": "Add.", "code": "def plus(): pass", "test_list": ["assert plus(1, 2) == 3"] * 2}),
        ("code_contests", CONTEST),
    ],
)
def test_every_source_of_programs_takes_a_time_limit(tmp_path, source, row):
    path = write(tmp_path / "rows.jsonl", row)
    problem = load_problems(f"{source}:{path}?time_limit_s=40")[0]
    assert {test["time_limit_s"] for test in problem.tests or []} == {40}
    with pytest.raises(ProblemError, match=r"time_limit_s.*a whole number from 1 up"):
        load_problems(f"{source}:{path}?time_limit_s=0")


def test_a_slow_solution_is_told_what_gives_it_more_time(tmp_path):
    slow = {"text": "Wait.", "code": "def busy():\n    while True: pass", "test_list": ["assert busy() is None"]}
    problems = load_problems(f"mbpp:{write(tmp_path / 'm.jsonl', slow)}?time_limit_s=1")
    with pytest.raises(ProblemError, match="right but slow gets more time: programs with time_limit_s"):
        check(problems, judge=judge).require()


def live_row(private: str, **columns: Any) -> dict[str, Any]:
    public = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
    row = {"question_content": "Add one.", "starter_code": "", "metadata": "{}"}
    return {**row, "public_test_cases": json.dumps(public), "private_test_cases": private, **columns}


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


HIDDEN = json.dumps([{"input": "4\n", "output": "5\n", "testtype": "stdin"}])


@pytest.mark.parametrize("private", [HIDDEN, packed(pickle.dumps(HIDDEN)), packed(pickle.dumps(HIDDEN, protocol=2))])
def test_hidden_tests_come_as_json_or_as_one_pickled_string(tmp_path, private):
    problem = load_problems(f"live_code_bench:{write(tmp_path / 'l.jsonl', live_row(private))}")[0]
    assert [(test["input"], test["output"]) for test in problem.tests or []] == [("1\n", "2\n"), ("4\n", "5\n")]


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_that_does_something_is_refused_and_not_run(tmp_path):
    trap = packed(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ProblemError, match="a pickle that is more than one string"):
        load_problems(f"live_code_bench:{write(tmp_path / 'l.jsonl', live_row(trap))}")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("private", "message"),
    [
        ("!!", "neither JSON nor base64"),
        (packed(b"\x80"), "not a readable pickle"),
        (packed(pickle.dumps(("a", "b"))), "more than one string"),
        (packed(b"0" * (2**28 + 1)), "unpacks to more than 256 MiB"),
    ],
)
def test_damaged_hidden_tests_are_explained(tmp_path, private, message):
    with pytest.raises(ProblemError, match=message):
        load_problems(f"live_code_bench:{write(tmp_path / 'l.jsonl', live_row(private))}")


def test_functional_live_code_bench_tests_call_the_method(tmp_path):
    public = [{"input": '[1, 2]\n"a"', "output": "null", "testtype": "functional"}]
    row = live_row("", metadata='{"func_name": "find"}', starter_code="class Solution:\n    def find(self, x, y):\n")
    problem = load_problems(f"live_code_bench:{write(tmp_path / 'l.jsonl', {**row, 'public_test_cases': public})}")[0]
    find = {"type": "function", "name": "find", "args": [[1, 2], "a"], "expected": None, "setup": PLATFORM}
    assert problem.tests == [find]
    permuting = "class Solution:\n    def find(self, x, y): return None if permutations(x) else y"
    assert verify_code(problem, f"```python\n{permuting}\n```").outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("spec", "row", "message"),
    [
        ("code_contests", {"description": "x"}, "no tests in public_tests"),
        ("code_contests", {"text": "x"}, "no column 'description'"),
        ("code_contests", {**CONTEST, "public_tests": {"input": ["1"], "output": []}}, "lists of the same length"),
        ("code_contests", {**CONTEST, "solutions": [1]}, "'solutions' must hold an object"),
        ("apps", {"question": "x"}, "no column 'input_output'"),
        ("mbpp", {"text": "x", "code": "", "test_list": []}, "no assertions in test_list"),
        ("human_eval", {"prompt": "x"}, "no column 'entry_point'"),
        ("live_code_bench", live_row("", public_test_cases=[{"input": "1"}]), "a test is not of the form"),
    ],
)
def test_a_row_of_another_layout_is_explained(tmp_path, spec, row, message):
    path = write(tmp_path / "rows.jsonl", row)
    with pytest.raises(ProblemError, match=rf"rows\.jsonl, line 1.*{message}"):
        load_problems(f"{spec}:{path}")


def test_live_code_bench_without_a_file_says_what_to_write():
    with pytest.raises(ProblemError, match=r"Write live_code_bench:FILE\.jsonl"):
        load_problems("live_code_bench?split=all")


def test_rows_of_the_hub_come_one_by_one_and_like_rows_of_files(tmp_path, monkeypatch):
    """A data set in a folder is loaded by the same library in the same way as one of the Hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [{**CONTEST, "description": f"Task {index}"} for index in range(3)]
    (tmp_path / "hub").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "hub" / "test-00000.parquet")
    monkeypatch.setattr(
        sys.modules["tpt.problems.code.code_contests"], "HUB", Hub(str(tmp_path / "hub"), ("train", "test"))
    )
    from_hub = load_problems("code_contests?split=test")
    path = write(tmp_path / "test.jsonl", *rows)
    assert from_hub == load_problems(f"code_contests:{path}") and len(from_hub) == 3
    assert load_wrong_programs("code_contests?split=test", limit=1) == {"code_contests/test/00000": ("print(0)",)}
    read = iter_hub_rows(Hub(str(tmp_path / "hub")), "test", instead="walk.")
    assert next(read).cells["description"] == "Task 0"
    with pytest.raises(ProblemError, match=r"Without the Hub, use a copy .* code_contests:FOLDER\?split=train or"):
        load_problems("code_contests?split=train")


def test_files_of_the_hub_behind_a_loading_script_are_read_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    row = {"question": "Add.", "solutions": '["print(1)"]', "starter_code": ""}
    row["input_output"] = json.dumps({"inputs": ["1 2"], "outputs": ["3"]})
    write(tmp_path / "test.jsonl", row)
    hub = Hub("codeparrot/apps", ("train", "test"), files=str(tmp_path / "{split}.jsonl"))
    monkeypatch.setattr(sys.modules["tpt.problems.code.apps"], "HUB", hub)
    assert load_problems("apps?split=test") == load_problems(f"apps:{tmp_path / 'test.jsonl'}")


def data_folder() -> Path:
    return DATA / "code"


@pytest.mark.real_data
@pytest.mark.skipif(not data_folder().is_dir(), reason="the code data sets are not in TPT_DATA/code")
@pytest.mark.parametrize(
    ("spec", "count", "tests", "wrong"),
    [
        ("code_contests:{}/codecontests_sample.jsonl", 143, 2077, 14),
        ("code_contests:{}/codecontests_sample.jsonl?images=keep", 264, 4194, 21),
        ("apps:{}/apps_train5_coderl.jsonl", 5, 14, 0),
        ("human_eval:{}/humaneval.jsonl", 164, 164, 0),
        ("human_eval:{}/mbpp_sanitized_codet.jsonl", 427, 427, 0),
        ("mbpp:{}/mbpp.jsonl", 974, 2922, 0),
    ],
)
def test_real_files_load_whole(spec, count, tests, wrong):
    problems = load_problems(spec.format(data_folder()))
    assert len(problems) == count
    assert sum(len(problem.tests or []) for problem in problems) == tests
    assert all(problem.solution for problem in problems)
    assert sum(map(len, load_wrong_programs(spec.format(data_folder())).values())) == wrong
