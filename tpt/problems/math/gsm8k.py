"""GSM8K, 7,473 training and 1,319 test word problems, from the Hub or from local files."""

from __future__ import annotations

import re

from tpt.errors import ProblemError
from tpt.problems.math.rows import hub_rows, local_path, local_rows, require_texts, split_of_name
from tpt.problems.rows import Row
from tpt.problems.spec import Spec, allow_params, choice_param
from tpt.records import Problem

HUB_ID = "openai/gsm8k"
SPLITS = ("train", "test")

_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def load_gsm8k(spec: Spec, *, kind: str | None) -> list[Problem]:
    """Load a split of GSM8K; the ids are ``gsm8k/train/00042``, the position in the split.

    The spec is ``gsm8k?split=train`` for the Hub, or ``gsm8k:PATH?split=train`` where PATH is a folder with
    ``train.jsonl``, ``gsm8k_train.jsonl`` or a download of the Hub's Parquet files, or one such file.
    """
    allow_params(spec, ["split"])
    path = local_path(spec)
    named = split_of_name(path, SPLITS) if path else None
    split = choice_param(spec, "split", SPLITS, default=named)
    if named not in (None, split):
        raise ProblemError(f"problem source {spec.text!r}: split={split}, but the file is named as the other split.")
    if path:
        rows = local_rows(path, title=f"GSM8K {split} split", stems=[split, f"gsm8k_{split}"], folders=["main"])
    else:
        instead = f"put the original {split}.jsonl into a folder and use gsm8k:FOLDER?split={split}."
        rows = hub_rows(HUB_ID, split, config="main", instead=instead)
    return [_problem(row, f"gsm8k/{split}/{index:05d}", kind or "number") for index, row in enumerate(rows)]


def _problem(row: Row, problem_id: str, kind: str) -> Problem:
    question, solution = require_texts(row, "GSM8K", ["question", "answer"])
    _, mark, answer = solution.rpartition("####")
    # The paper's rule compares letters, so its gold stays as the data set writes it.
    answer = answer.strip() if kind == "paper" else _THOUSANDS_COMMA.sub("", answer.strip())
    if not mark or not answer:
        raise ProblemError(f"{row.where}: the answer does not end in '#### N': {solution[-60:]!r}.")
    return Problem(
        id=problem_id,
        question=question,
        answer=answer,
        kind=kind,
        solution=_CALCULATOR.sub("", solution),
        source="gsm8k",
    )
