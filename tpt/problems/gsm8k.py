"""GSM8K, 7,473 training and 1,319 test word problems, from the Hub or from local files."""

from __future__ import annotations

import re
from pathlib import Path

from tpt.errors import ProblemError
from tpt.problems.rows import Row, cell_text, read_rows
from tpt.problems.spec import TABLE_SUFFIXES, Spec, allow_params, choice_param
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
    path = Path(spec.rest).expanduser() if spec.rest else None
    split = choice_param(spec, "split", SPLITS, default=_split_of_name(path) if path else None)
    if path and path.suffix.lower() in TABLE_SUFFIXES and _split_of_name(path) not in (None, split):
        raise ProblemError(f"problem source {spec.text!r}: split={split}, but the file is named as the other split.")
    rows = read_rows(_local_file(path, split)) if path else _hub_rows(split)
    return [_problem(row, f"gsm8k/{split}/{index:05d}", kind or "number") for index, row in enumerate(rows)]


def _split_of_name(path: Path) -> str | None:
    """Return the split that a file's name speaks of, if it is one and a file's."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    named = [split for split in SPLITS if split in words]
    return named[0] if len(named) == 1 else None


def _local_file(path: Path, split: str) -> Path:
    if not path.is_dir():
        return path
    names = [f"{stem}{suffix}" for stem in (split, f"gsm8k_{split}") for suffix in TABLE_SUFFIXES]
    candidates = [path / name for name in names]
    candidates += sorted(path.glob(f"{split}-*.parquet")) + sorted(path.glob(f"main/{split}-*.parquet"))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    there = ", ".join(sorted(each.name for each in path.iterdir())[:20]) or "nothing"
    raise ProblemError(
        f"{path}: no GSM8K {split} split here; looked for {split}.jsonl, gsm8k_{split}.jsonl and the like. "
        f"The folder holds: {there}."
    )


def _hub_rows(split: str) -> list[Row]:
    import datasets

    try:
        dataset = datasets.load_dataset(HUB_ID, "main", split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ProblemError(
            f"{HUB_ID} could not be loaded from the Hugging Face Hub: {error}. Without the Hub, put the original "
            f"{split}.jsonl into a folder and use gsm8k:FOLDER?split={split}."
        ) from error
    return [Row(f"{HUB_ID}, {split}, row {number}", dict(cells)) for number, cells in enumerate(dataset, start=1)]


def _problem(row: Row, problem_id: str, kind: str) -> Problem:
    question = cell_text(row, "question")
    solution = cell_text(row, "answer")
    if not question or not solution:
        raise ProblemError(
            f"{row.where}: no GSM8K row; expected text in question and answer, got columns {', '.join(row.cells)}."
        )
    _, mark, answer = solution.rpartition("####")
    answer = _THOUSANDS_COMMA.sub("", answer.strip())
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
