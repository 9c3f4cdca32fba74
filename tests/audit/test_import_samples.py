"""Samples of other tools: read, judged, and scored as the field's own estimators score them."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import pytest
from command_line import Tpt
from real_data import DATA

from tpt.audit.import_rows import Reading
from tpt.audit.import_samples import Gold, ImportedDir, import_samples
from tpt.audit.known_problems import SampleKeys
from tpt.errors import ConfigError, ProblemError, RunError
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.system.jsonl import read_records

MODEL_OUTPUTS = DATA / "model_outputs"
ROWS = [
    {"problem_id": "a", "text": "#### 5", "gold": "5"},
    {"problem_id": "b", "text": "It is 7.", "gold": 6},
    {"problem_id": "a", "text": "The answer is 5.", "gold": "5"},
    {"problem_id": "b", "text": "hm", "gold": 6},
]
Written = Callable[..., Path]


def load(file: Path, to: Path, kind: str = "", **columns: str) -> list[Verdict]:
    import_samples([file], to, Reading(columns), Gold((), "", kind))
    return read_records(ImportedDir(to).verdicts, Verdict)


def test_one_row_a_sample_is_judged(tmp_path: Path, problem_file: Written) -> None:
    found = load(problem_file("samples.jsonl", ROWS), tmp_path / "in")
    assert [(v.problem_id, v.sample, v.outcome, v.strict) for v in found] == [
        ("a", 0, Outcome.CORRECT, True),
        ("a", 1, Outcome.CORRECT, False),
        ("b", 0, Outcome.WRONG, False),
        ("b", 1, Outcome.NO_ANSWER, False),
    ]
    folder = ImportedDir(tmp_path / "in")
    assert [p.answer for p in read_records(folder.problems, Problem)] == ["5", "6"]
    assert [t.completion for t in read_records(folder.traces, Trace)][1] == "The answer is 5."
    assert json.loads(folder.manifest.read_text())["verdicts"] == "verified here"


def test_half_a_surrogate_pair_is_a_replacement_character(tmp_path: Path, problem_file: Written) -> None:
    load(problem_file("samples.jsonl", [{**ROWS[0], "text": "\ud83d #### 5"}]), tmp_path / "in")
    assert read_records(ImportedDir(tmp_path / "in").traces, Trace)[0].completion == "\ufffd #### 5"


def test_lists_nested_columns_and_the_file_s_own_verdicts(tmp_path: Path, problem_file: Written) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "q", "run": {"texts": ["x", "y"], "ok": [True, False], "read": ["1", None]}},
        {"question": "r", "run": {"texts": ["z"], "ok": [0], "read": ["3"]}},
    ]
    columns = {"completion": "run.texts", "correct": "run.ok", "extracted": "run.read"}
    found = load(problem_file("lists.json", rows), tmp_path / "in", **columns)
    assert sorted((v.sample, str(v.outcome), v.extracted) for v in found) == [
        (0, "CORRECT", "1"),
        (0, "WRONG", "3"),
        (1, "WRONG", None),
    ]
    assert len({v.problem_id for v in found}) == 2


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([{"text": "x"}], {}, "no column for the problem_id. Name it: --column problem_id=COLUMN. Columns there: text"),
        ([{"id": "a", "gold": "5"}], {}, "no column for the completion"),
        ([{"id": "a", "text": "x"}], {}, "no column for the answer"),
        (ROWS, {"completion": "tekst"}, r"line 1: no column 'tekst' for the completion. Did you mean 'text'\?"),
        ([{"id": "a", "text": ["x"], "gold": "5", "ok": []}], {"correct": "ok"}, "1 of completion, 0 of correct"),
        ([{**ROWS[0], "gold": None}], {}, "line 1: the answer .column 'gold'. is missing"),
        (
            [ROWS[0], {**ROWS[0], "gold": "6"}],
            {},
            "line 2: problem 'a' has another answer than before, '6' and not '5'",
        ),
        ([{**ROWS[0], "sample": 1}, {**ROWS[0], "sample": 1}], {}, "sample 1 of problem 'a' was there before"),
        ([{**ROWS[0], "sample": -1}], {}, "whole number, got '-1'"),
        ([{**ROWS[0], "ok": "maybe"}], {"correct": "ok"}, "true or false, got 'maybe'"),
        ([{**ROWS[0], "ok": True}, {**ROWS[1], "ok": None}], {"correct": "ok"}, "1 of 2 samples say whether"),
        ([{**ROWS[0], "gold": "five"}], {}, "1 of 1 gold answers fail their own verifier .number., such as 'five'"),
        ([], {}, "the file is empty"),
    ],
)
def test_a_file_that_is_none_is_explained(
    tmp_path: Path, problem_file: Written, rows: list[dict[str, Any]], columns: dict[str, str], said: str
) -> None:
    with pytest.raises(ProblemError, match=said):
        load(problem_file("bad.jsonl", rows), tmp_path / "in", **columns)
    assert not (tmp_path / "in").exists()


def test_a_folder_that_is_taken_and_an_unknown_field_are_refused(tmp_path: Path, problem_file: Written) -> None:
    file = problem_file("samples.jsonl", ROWS)
    load(file, tmp_path / "in")
    with pytest.raises(RunError, match="not an empty folder"):
        load(file, tmp_path / "in")
    # What a killed import left is made anew.
    killed = ImportedDir(tmp_path / "in")
    killed.manifest.rename(killed.begun)
    load(file, tmp_path / "in")
    assert killed.exists() and not killed.begun.exists()
    (tmp_path / "mine").mkdir()
    mine = Path(shutil.copy(file, tmp_path / "mine" / "problems.jsonl"))
    with pytest.raises(RunError, match="not an empty folder"):
        load(file, tmp_path / "mine")
    assert mine.read_bytes() == file.read_bytes(), "a file of the user's that has the name of one of ours"
    with pytest.raises(ConfigError, match=r"--column answr: no such field\. Did you mean 'answer'"):
        load(file, tmp_path / "other", answr="gold")


def test_imported_samples_can_be_reported_and_compared(tpt: Tpt, tmp_path: Path, problem_file: Written) -> None:
    file, better = problem_file("samples.jsonl", ROWS), [{**row, "text": f"#### {row['gold']}"} for row in ROWS]
    code, out, err = tpt("import", file, "--to", tmp_path / "one", "--column", "completion=text")
    assert (code, err) == (0, "") and "traces: 4" in out
    assert tpt("import", problem_file("better.jsonl", better), "--to", tmp_path / "two").code == 0
    told = json.loads(tpt("report", tmp_path / "one", "--format", "json").out)
    assert [(row["k"], row["strict"], row["lenient"]) for row in told["pass@k"]] == [(1, 0.25, 0.5), (2, 0.5, 0.5)]
    assert told["never solved leniently"] == 1 and told["maj@k"][0]["lenient"] == 0.5
    rows = json.loads(tpt("pass-at-k", tmp_path / "one", "--format", "json").out)
    assert [row["strict"] for row in rows] == [0.25, 0.5]
    compared = tpt("report", tmp_path / "one", "--compare", tmp_path / "two").out
    assert "on 2 shared held-out problems" in compared and "Strict +75.0" in compared


@pytest.mark.real_data
@pytest.mark.skipif(not MODEL_OUTPUTS.is_dir(), reason=f"no data in {DATA}")
@pytest.mark.parametrize(
    ("name", "columns", "k"),
    [
        ("ldb_humaneval_seeds.jsonl", {"completion": "solution", "correct": "is_solved"}, 3),
        ("ldb_mbpp_seeds.jsonl", {"completion": "solution", "correct": "is_solved"}, 2),
        ("qwen_math_cot_100x8.jsonl", {"completion": "code", "correct": "score", "extracted": "pred"}, 4),
    ],
)
def test_real_samples_score_as_enumeration_does(
    tpt: Tpt, tmp_path: Path, name: str, columns: dict[str, str], k: int
) -> None:
    mapped = [part for field, column in columns.items() for part in ("--column", f"{field}={column}")]
    assert tpt("import", MODEL_OUTPUTS / name, "--to", tmp_path / "in", "--kind", "math", *mapped).code == 0
    right: dict[str, list[bool]] = defaultdict(list)
    for line in (MODEL_OUTPUTS / name).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        values = row[columns["correct"]]
        right[str(row.get("task_id", row.get("idx")))] += values if isinstance(values, list) else [values]
    subsets = [list(combinations(each, k)) for each in right.values()]
    by_hand = sum(sum(map(any, each)) / len(each) for each in subsets) / len(subsets)
    found = json.loads(tpt("pass-at-k", tmp_path / "in", "--k", k, "--format", "json").out)
    assert found[0]["lenient"] == pytest.approx(by_hand, abs=5e-5)


@pytest.mark.parametrize("seed", range(20))
def test_numbers_of_samples_are_those_of_the_file_or_the_first_free(seed: int) -> None:
    random = Random(seed)
    keys, taken = SampleKeys(), set[int]()
    for _ in range(40):
        asked = random.choice([None, random.randrange(25)])
        if asked is not None:
            keys.begin_file()
        key = keys.key("line 1", "p", asked)
        first = 0 if asked is None else asked
        assert key == ("p", next(each for each in range(first, 99) if each not in taken))
        taken.add(key[1])
