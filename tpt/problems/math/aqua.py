"""AQuA-RAT: algebra word problems with five options each, from the Hub or from local files."""

from __future__ import annotations

import re

from tpt.errors import ProblemError
from tpt.problems.math.rows import hub_rows, local_path, local_rows, require_texts, split_of_name
from tpt.problems.rows import Row, cell_text
from tpt.problems.spec import Spec, allow_params, choice_param
from tpt.records import Problem

HUB_ID = "deepmind/aqua_rat"
SPLITS = ("train", "dev", "test")

_TITLE = "AQuA-RAT"
_OPTION = re.compile(r"\s*\(?([A-Ja-j])\s*[).:]\s*(.*?)\s*", re.DOTALL)


def load_aqua(spec: Spec, *, kind: str | None) -> list[Problem]:
    """Load a split of AQuA-RAT; the ids are ``aqua/test/00042``, the position in the split.

    The spec is ``aqua?split=train|dev|test`` for the Hub, or ``aqua:PATH?split=...`` where PATH is a file with the
    columns question, options, rationale and correct, or a folder that holds ``test.json``, ``aqua_test.jsonl`` or a
    download of the Hub's files. The options stand under the question, one a line, ``A) 32400``.
    """
    allow_params(spec, ["split"])
    path = local_path(spec)
    split = choice_param(spec, "split", SPLITS, default=split_of_name(path, SPLITS) if path else None)
    hub_name = "validation" if split == "dev" else split
    if path:
        stems = [split, f"aqua_{split}", hub_name]
        rows = local_rows(path, title=f"{_TITLE} {split} split", stems=stems, folders=["raw"])
    else:
        rows = hub_rows(
            HUB_ID, hub_name, config="raw", instead=f"use aqua:FOLDER?split={split} with {split}.json in it."
        )
    return [_problem(row, f"aqua/{split}/{index:05d}", kind or "choice") for index, row in enumerate(rows)]


def _problem(row: Row, problem_id: str, kind: str) -> Problem:
    question, correct = require_texts(row, _TITLE, ["question", "correct"])
    options = _options(row)
    letter = correct.strip().upper()
    if letter not in options:
        raise ProblemError(f"{row.where}: correct is {correct[:40]!r}, but the options are {', '.join(options)}.")
    listed = "\n".join(f"{name}) {text}" for name, text in options.items())
    return Problem(
        id=problem_id,
        question=f"{question.rstrip()}\n{listed}",
        answer=letter,
        kind=kind,
        solution=cell_text(row, "rationale"),
        source="aqua",
    )


def _options(row: Row) -> dict[str, str]:
    """Return letter to text of the options ``["A)32400", ...]``."""
    options: dict[str, str] = {}
    cells = row.cells.get("options")
    for cell in cells if isinstance(cells, list) else []:
        match = _OPTION.fullmatch(cell) if isinstance(cell, str) else None
        if match is None or match[1].upper() in options:
            raise ProblemError(f"{row.where}: no option, or one given twice: {str(cell)[:60]!r}; expected 'A)text'.")
        options[match[1].upper()] = " ".join(match[2].split())
    if len(options) < 2:
        raise ProblemError(f"{row.where}: options must be a list such as ['A)1', 'B)2'], got {str(cells)[:60]!r}.")
    return options
