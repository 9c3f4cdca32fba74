"""Your own function: found, called, and never believed blindly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tpt.config import VerifyConfig
from tpt.errors import VerifierError
from tpt.records import Outcome, Problem, Trace
from tpt.system.own_code import absolute_name, is_own_code
from tpt.verifiers import Judgement
from tpt.verifiers.judge import formats_of, judge, judge_one

LIMITS = VerifyConfig(timeout_s=1.5, memory_mb=1024, workers=2)
SOURCE = """
import os, time
import beside
from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement

def lengths(problem: Problem, completion: str) -> Judgement:
    right = len(completion) == int(problem.answer)
    return Judgement(Outcome.CORRECT if right else Outcome.WRONG, right, str(len(completion)), beside.NOTE)

def acts(problem: Problem, completion: str) -> bool:
    print("printed", completion)
    if completion == "raise": return inner(completion)
    if completion == "loop":
        while True: pass
    if completion == "sleep": time.sleep(100)
    if completion == "exit": raise SystemExit(0)
    if completion == "die": os._exit(0)
    if completion == "eat": return bytearray(10**11) == b""
    if completion == "three": return 3
    if completion == "bad": return Judgement("FINE", True, None)
    return completion == problem.answer

def inner(completion):
    raise ValueError("no " + completion)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "beside.py").write_text('NOTE = "from beside"\n', encoding="utf-8")
    path = folder / "mine.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def acts(file: Path, completions: list[str]) -> list[tuple[Outcome, str]]:
    problem = Problem("p", "?", "right", f"{file}:acts")
    traces = [Trace("p", n, completion, "stop", 0, 0) for n, completion in enumerate(completions)]
    return [(each.outcome, each.detail) for each in judge(traces, {"p": problem}, limits=LIMITS)]


def test_a_function_that_returns_judgements(file: Path) -> None:
    problem = Problem("p", "?", "3", f"{file}:lengths")
    assert judge_one(problem, "abc", limits=LIMITS) == Judgement(Outcome.CORRECT, True, "3", "from beside")
    assert judge_one(problem, "ab", limits=LIMITS) == Judgement(Outcome.WRONG, False, "2", "from beside")


def test_whatever_it_does_its_neighbours_are_judged(file: Path) -> None:
    bad = ["raise", "loop", "sleep", "exit", "die", "eat", "three", "bad"]
    found = acts(file, [each for word in bad for each in ("right", word, "wrong")])
    assert [outcome for outcome, _ in found[0::3]] == [Outcome.CORRECT] * len(bad)
    assert [outcome for outcome, _ in found[2::3]] == [Outcome.WRONG] * len(bad)
    said = dict(zip(bad, found[1::3], strict=True))
    assert [outcome for outcome, _ in said.values()] == [
        Outcome.ERROR, Outcome.TIMEOUT, Outcome.TIMEOUT, *[Outcome.ERROR] * 5,
    ]  # fmt: skip
    assert said["raise"][1].endswith("ValueError: no raise")
    assert "in inner" in said["raise"][1]
    assert "tpt/verifiers" not in said["raise"][1]
    assert "SystemExit" in said["exit"][1]
    assert "died" in said["die"][1]
    assert "memory limit of 1024 MB" in said["eat"][1]
    assert "returned 3 of type int; expected a bool or a tpt.verifiers.Judgement" in said["three"][1]
    assert "'FINE'" in said["bad"][1]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("{folder}/mine.py:lenghts", "Did you mean 'lengths'?"),
        ("{folder}/none.py:f", "no such file"),
        ("{folder}/broken.py:f", 'broken.py", line 2'),
        ("no_such_package.module:f", "No module named 'no_such_package'"),
    ],
)
def test_what_cannot_be_loaded_is_explained(file: Path, kind: str, message: str) -> None:
    (file.parent / "broken.py").write_text("x = 1\ny = x + z\n", encoding="utf-8")
    with pytest.raises(VerifierError) as error:
        judge_one(Problem("p", "", "1", kind.format(folder=file.parent)), "1", limits=LIMITS)
    assert message in str(error.value)


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "verifiers.md").read_text(encoding="utf-8")
    example = next(block for block in page.split("```") if "def anagram" in block).removeprefix("python\n")
    path = tmp_path / "my_verifiers.py"
    path.write_text(example, encoding="utf-8")
    problem = Problem("p", "An anagram?", "listen", f"{path}:anagram")
    assert judge_one(problem, "#### silent", limits=LIMITS) == Judgement(Outcome.CORRECT, True, "silent")
    assert judge_one(problem, "It is\nenlist", limits=LIMITS) == Judgement(Outcome.CORRECT, False, "enlist")
    assert judge_one(problem, "#### listen", limits=LIMITS).outcome is Outcome.WRONG
    assert judge_one(problem, "", limits=LIMITS).outcome is Outcome.NO_ANSWER
    assert judge_one(Problem("p", "", "4", f"{path}:is_even"), "#### 4", limits=LIMITS).strict


def test_a_function_by_module_name() -> None:
    problem = Problem("p", "", "5", "tpt.verifiers.number.verify:verify_number")
    assert judge_one(problem, "#### 5", limits=LIMITS).strict


def test_kinds_that_are_functions() -> None:
    assert (
        is_own_code("mine.py:f")
        and is_own_code("a/b.py:f")
        and is_own_code("package.module:f")
        and is_own_code("/a b/c.py:f")
    )
    assert (
        not is_own_code("number") and not is_own_code("numbre") and not is_own_code("mine.py") and not is_own_code(":f")
    )
    assert absolute_name("mine.py:f") == f"{Path.cwd() / 'mine.py'}:f"
    assert absolute_name("package.module:f") == "package.module:f"


def test_an_unknown_kind_is_explained() -> None:
    with pytest.raises(VerifierError, match=r"'numbre'.*Did you mean 'number'\?"):
        judge_one(Problem("p", "", "5", "numbre"), "5")


def test_the_manifest_sees_a_change_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    kind = f"{path}:f"
    path.write_text("def f(p, c): return True\n", encoding="utf-8")
    before = formats_of({"number", kind})
    path.write_text("def f(p, c): return False\n", encoding="utf-8")
    after = formats_of({"number", kind})
    assert before["number"] == after["number"]
    assert before[kind] != after[kind]
