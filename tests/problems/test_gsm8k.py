"""GSM8K from local files, and what is said when it is not there."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from real_data import DATA

from tpt.audit.check import check
from tpt.errors import ProblemError
from tpt.problems import load_problems
from tpt.records import Problem
from tpt.verifiers.judge import judge

ROWS = [
    {"question": "How much?", "answer": "It is 2*500=$<<2*500=1000>>1000.\nPlus 80: <<1000+80=1080>>1,080\n#### 1,080"},
    {"question": "How many?", "answer": "None, less <<3>>3.\n#### -3"},
]
PROBLEMS = [
    Problem(
        "gsm8k/test/00000",
        "How much?",
        "1080",
        solution="It is 2*500=$1000.\nPlus 80: 1,080\n#### 1,080",
        source="gsm8k",
    ),
    Problem("gsm8k/test/00001", "How many?", "-3", solution="None, less 3.\n#### -3", source="gsm8k"),
]


@pytest.mark.parametrize("name", ["test.jsonl", "gsm8k_test.jsonl", "main/test-00000-of-00001.parquet"])
def test_local_files_are_found_under_their_usual_names(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert load_problems(f"gsm8k:{tmp_path}?split=test") == PROBLEMS
    assert load_problems(f"gsm8k:{path}") == PROBLEMS


def test_the_wrong_split_or_an_empty_folder_is_an_error(tmp_path):
    (tmp_path / "gsm8k_test.jsonl").write_text(json.dumps(ROWS[0]))
    with pytest.raises(ProblemError, match="split=train, but the file is named as the other split"):
        load_problems(f"gsm8k:{tmp_path}/gsm8k_test.jsonl?split=train")
    with pytest.raises(ProblemError, match=r"no GSM8K train split here.*The folder holds: gsm8k_test\.jsonl"):
        load_problems(f"gsm8k:{tmp_path}?split=train")


def test_an_answer_without_its_mark_is_an_error(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"question": "q", "answer": "so it is 7"}')
    with pytest.raises(ProblemError, match=r"line 2: the answer does not end in '#### N': 'so it is 7'"):
        load_problems(f"gsm8k:{tmp_path}?split=train")


def test_without_the_hub_the_error_names_the_local_way():
    program = "from tpt.problems import load_problems; load_problems('gsm8k?split=test')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": "/nonexistent/datasets"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "ProblemError: openai/gsm8k could not be loaded" in done.stderr
    assert "put the original test.jsonl into a folder and use gsm8k:FOLDER?split=test" in done.stderr


def data_folder() -> Path:
    return DATA / "math"


@pytest.mark.real_data
@pytest.mark.skipif(not (data_folder() / "gsm8k_train.jsonl").is_file(), reason="GSM8K is not in TPT_DATA/math")
def test_all_of_gsm8k_loads_and_passes_the_check_in_seconds():
    start = time.monotonic()
    train, test = (load_problems(f"gsm8k:{data_folder()}?split={split}") for split in ("train", "test"))
    assert (len(train), len(test)) == (7473, 1319)
    assert (train[42].id, test[-1].id) == ("gsm8k/train/00042", "gsm8k/test/01318")
    assert all(re.fullmatch(r"-?\d+(\.\d+)?", problem.answer) for problem in train + test)
    assert not any("<<" in (problem.solution or "") for problem in train + test)
    found = check(train, test, judge=judge)
    found.require()
    assert len(found.closest) == 5
    assert found.closest[0].share < 0.7
    assert time.monotonic() - start < 10
