"""MATH, MATH-500, SVAMP, AQuA-RAT and GSM-Hard: what becomes of their rows, and that every local row loads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from real_data import DATA

from tpt.errors import ProblemError
from tpt.problems import load_problems
from tpt.problems.math import gsm_hard, math
from tpt.problems.math.math import SUBJECTS, last_boxed
from tpt.problems.math.rows import hub_rows
from tpt.records import Problem

Write = Callable[[str, Any], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes rows as JSONL, as a JSON list, or as Parquet, by the name."""

    def put(name: str, rows: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        elif path.suffix == ".json":
            path.write_text(json.dumps(rows, indent=1))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return put


MATH = {"problem": "What is $1+1$?", "level": "Level 1", "type": "Counting & Probability"}


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        (r"So $x = \boxed{2}$.", "2"),
        (r"first \boxed{1}, then \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\left\{ x : x \} \right\}}", r"\left\{ x : x \} \right\}"),
        (r"the answers are $\boxed{-2}$ and $\boxed{1}$.", "-2, 1"),
        (r"$x =\boxed{ -\tfrac32}$ and $x = \boxed{-\tfrac34},$ respectively", r"-\tfrac32, -\tfrac34"),
        (r"$\boxed{1}$, $\boxed{2}$, and $\boxed{3}$", "1, 2, 3"),
        (r"= \boxed{15\frac{39}{40}},$ or $\boxed{\frac{639}{40}}$ inches", r"\frac{639}{40}"),
        (r"It is \boxed 5.", "5"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxedtext{3} and \boxed{unfinished", None),
        ("no box", None),
    ],
)
def test_the_gold_of_math_is_the_last_box_of_the_solution(write: Write, solution: str, answer: str | None) -> None:
    assert last_boxed(solution) == answer
    path = write("rows.jsonl", [{**MATH, "solution": solution}])
    if answer:
        problem = Problem(
            "math/rows/00000", "What is $1+1$?", answer, "math", solution=solution, source="math", level="1"
        )
        assert load_problems(f"math:{path}") == [problem]
    else:
        with pytest.raises(ProblemError, match=r"line 1: no MATH row; expected problem and answer, or a solution with"):
            load_problems(f"math:{path}")


def test_many_boxes_are_read_in_no_time() -> None:
    assert last_boxed("\\boxed{" * 20_000) is None
    assert last_boxed("\\boxed{" * 20_000 + "3" + "}" * 20_000) == "3"


def test_ids_are_positions_before_the_filters(write: Write) -> None:
    rows = [
        {**MATH, "solution": rf"\boxed{{{number}}}", "level": f"Level {1 + number % 5}", "type": kind}
        for number, kind in enumerate(["Algebra", "Geometry", "Number Theory", "Algebra", "Counting & Probability"] * 2)
    ]
    path = write("test.jsonl", rows)
    chosen = load_problems(f"math:{path}?subject=algebra,counting_and_probability&level=4,5")
    assert [problem.id for problem in chosen] == [f"math/test/{n:05d}" for n in (3, 4, 8, 9)]
    assert load_problems(f"math:{path.parent}?split=test&level=1")[0].answer == "0"
    with pytest.raises(ProblemError, match=r"none of its 10 problems has this subject and level"):
        load_problems(f"math:{path}?subject=precalculus")
    with pytest.raises(ProblemError, match=r"subject = 'algbra' is not allowed. Did you mean 'algebra'"):
        load_problems(f"math:{path}?subject=algbra")
    with pytest.raises(ProblemError, match=r"parameter 'split' is unknown"):
        load_problems(f"math500:{path}?split=test")
    bare = write("bare.jsonl", [{"problem": "q", "answer": "1"}])
    with pytest.raises(ProblemError, match=r"line 1: no level here, so the filter level= cannot be used"):
        load_problems(f"math:{bare}?level=1")


def test_math_comes_in_the_hub_s_folders_too_and_without_the_asked_format(write: Write, tmp_path: Path) -> None:
    for subject in SUBJECTS:
        row = {**MATH, "type": subject, "solution": rf"\boxed{{{subject}}}"}
        write(f"math/{subject}/train-00000-of-00001.parquet", [row])
    found = load_problems(f"math:{tmp_path}/math?split=train")
    assert [(problem.id, problem.answer) for problem in found][::6] == [
        ("math/train/00000", "algebra"),
        ("math/train/00006", "precalculus"),
    ]
    prompt = "What is it?\nPlease reason step by step, and put your final answer within \\boxed{}."
    path = write("math500.jsonl", [{"prompt": prompt, "answer": "x=5"}])
    expected = Problem("math500/00000", "What is it?", "x=5", "math", source="math500")
    assert load_problems(f"math500:{path}") == load_problems(f"math500:{path.parent}") == [expected]


def test_svamp_keeps_its_own_numbers(write: Write) -> None:
    rows = [
        {"ID": "chal-12", "Body": "A pack costs 76 dollars ", "Question": "How much is it? ", "Answer": 51.0},
        {"ID": "chal-2", "Body": "B.", "Question": "C?", "Answer": "-0.50"},
    ]
    found = load_problems(f"svamp:{write('SVAMP.json', rows)}")
    assert [(problem.id, problem.question, problem.answer) for problem in found] == [
        ("svamp/00001", "B. C?", "-0.5"),
        ("svamp/00011", "A pack costs 76 dollars How much is it?", "51"),
    ]
    with pytest.raises(ProblemError, match=r"item 1: no SVAMP row; expected text in Body, Question, Answer"):
        load_problems(f"svamp:{write('other.json', [{'Body': 'b', 'Question': 'q'}])}")
    with pytest.raises(ProblemError, match=r"item 1: the answer 'many' is not a number"):
        load_problems(f"svamp:{write('text.json', [{**rows[0], 'Answer': 'many'}])}")


def test_aqua_lists_its_options_under_the_question(write: Write) -> None:
    row = {
        "question": "How fast? ",
        "options": ["A)3 : 5", "(B) 6\nkm", "c. 7"],
        "rationale": "Because.",
        "correct": "b",
    }
    path = write("aqua_dev.jsonl", [row])
    expected = Problem(
        "aqua/dev/00000",
        "How fast?\nA) 3 : 5\nB) 6 km\nC) 7",
        "B",
        "choice",
        solution="Because.",
        source="aqua",
    )
    assert load_problems(f"aqua:{path}") == load_problems(f"aqua:{path.parent}?split=dev") == [expected]
    with pytest.raises(ProblemError, match=r"needs \?split=train or \?split=dev or \?split=test"):
        load_problems(f"aqua:{path.parent}")
    with pytest.raises(ProblemError, match=r"no AQuA-RAT train split here; looked for train.jsonl, aqua_train.jsonl"):
        load_problems(f"aqua:{path.parent}?split=train")
    for bad, message in (
        ({"correct": "E"}, "correct is 'E', but the options are A, B, C"),
        ({"options": ["3", "4"]}, r"no option, or one given twice: '3'; expected 'A\)text'"),
        ({"options": ["A)3", "A)4"]}, "no option, or one given twice"),
        ({"options": "A)3 B)4"}, "options must be a list"),
    ):
        with pytest.raises(ProblemError, match=f"line 1: {message}"):
            load_problems(f"aqua:{write('test.jsonl', [{**row, **bad}])}")


def test_gsm_hard_targets_are_plain_numbers(write: Write) -> None:
    targets = [-9867630.0, 3244047.0999999996, 1.5e-05, 1e21]
    path = write("gsm_hard.jsonl", [{"input": "q", "target": target, "code": ""} for target in targets])
    found = load_problems(f"gsm_hard:{path}")
    assert [problem.answer for problem in found] == [
        "-9867630",
        "3244047.0999999996",
        "0.000015",
        "1000000000000000000000",
    ]
    assert (found[3].id, found[3].kind, found[3].source) == ("gsm_hard/00003", "number", "gsm_hard")
    huge = path.parent / "huge.jsonl"
    huge.write_text('{"input": "q", "target": 1e999999999}\n')
    with pytest.raises(ProblemError, match="is not a number"):
        load_problems(f"gsm_hard:{huge}")


def test_rows_of_the_hub_are_like_rows_of_files(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set in a folder is loaded by the same library in the same way as one of the Hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    configs = []
    for subject in SUBJECTS:
        write(f"hub/{subject}/test.jsonl", [{**MATH, "solution": rf"\boxed{{{subject}}}"}])
        configs.append({"config_name": subject, "data_files": [{"split": "test", "path": f"{subject}/test.jsonl"}]})
    (tmp_path / "hub" / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    monkeypatch.setattr(math, "HUB_ID", str(tmp_path / "hub"))
    found = load_problems("math?split=test")
    assert [problem.answer for problem in found] == list(SUBJECTS)
    assert found[6].id == "math/test/00006"
    write("hard/train.jsonl", [{"input": "q", "target": -9867630.0, "code": None}])
    monkeypatch.setattr(gsm_hard, "HUB_ID", str(tmp_path / "hard"))
    assert [problem.answer for problem in load_problems("gsm_hard")] == ["-9867630"]
    with pytest.raises(
        ProblemError, match=r"could not be loaded from the Hugging Face Hub: .* Without the Hub, walk\."
    ):
        hub_rows(str(tmp_path / "hub"), "train", config="algebra", instead="walk.")


def test_without_the_hub_the_error_names_the_local_way() -> None:
    program = (
        "from tpt.problems import load_problems\n"
        "from tpt.errors import ProblemError\n"
        "for spec in ('math?split=test', 'math500', 'svamp', 'aqua?split=dev', 'gsm_hard'):\n"
        "    try: load_problems(spec)\n"
        "    except ProblemError as error: print(str(error)[-110:])\n"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": "/nonexistent/datasets"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    for local in (
        "use math:PATH",
        "use math500:PATH",
        "use svamp:PATH with SVAMP.json.",
        "use aqua:FOLDER?split=dev",
        "use gsm_hard:PATH",
    ):
        assert f"Without the Hub, {local}" in done.stdout


def data_folder() -> Path:
    return DATA / "math"


@pytest.mark.real_data
@pytest.mark.skipif(not data_folder().is_dir(), reason="the data sets are not in TPT_DATA/math")
def test_every_row_of_the_local_files_loads() -> None:
    folder = data_folder()
    sources = {
        f"math:{folder}/math_sample1000.jsonl": 1000,
        f"math500:{folder}": 500,
        f"svamp:{folder}": 1000,
        f"aqua:{folder}?split=dev": 254,
        f"aqua:{folder}/aqua_test.jsonl": 254,
        f"gsm_hard:{folder}": 1319,
    }
    loaded = {spec: load_problems(spec) for spec in sources}
    assert {spec: len(problems) for spec, problems in loaded.items()} == sources
    everything = [problem for problems in loaded.values() for problem in problems]
    assert len({problem.id for problem in everything}) == len(everything)
    assert Counter(problem.kind for problem in everything) == {"math": 1500, "number": 2319, "choice": 508}
    numbers = [problem.answer for problem in everything if problem.kind == "number"]
    assert all(re.fullmatch(r"-?(0|[1-9]\d*)(\.\d*[1-9])?", answer) for answer in numbers)
    assert sum(answer.startswith("-") for answer in numbers) == 146
    assert not any("Please reason step by step" in problem.question for problem in everything)
    assert all(problem.question.count("\nE) ") == 1 for problem in everything if problem.kind == "choice")
    sample = loaded[f"math:{folder}/math_sample1000.jsonl"]
    assert (sample[834].answer, sample[753].answer) == ("-2, 1", "161")
