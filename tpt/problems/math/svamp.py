"""SVAMP, 1,000 short word problems that test whether the question was read at all."""

from __future__ import annotations

import re

from tpt.problems.math.rows import hub_rows, local_path, local_rows, require_texts, without_exponent
from tpt.problems.rows import Row, cell_text
from tpt.problems.spec import Spec, allow_params, choice_param
from tpt.records import Problem

HUB_ID = "ChilleD/SVAMP"

_TITLE = "SVAMP"
_SPLITS = ("all", "train", "test")
_ID = re.compile(r"chal-([1-9][0-9]{0,5})")


def load_svamp(spec: Spec, *, kind: str | None) -> list[Problem]:
    """Load SVAMP; the id ``svamp/00041`` is the problem that SVAMP itself calls ``chal-42``, wherever it is loaded from.

    The spec is ``svamp?split=all|train|test`` for the Hub, where ``all`` is the default, or ``svamp:PATH`` where PATH is
    SVAMP's own JSON file with all problems, or a folder that holds it. Rows without an ``ID`` are counted.
    """
    path = local_path(spec)
    allow_params(spec, [] if path else ["split"])
    if path:
        rows = local_rows(path, title=_TITLE, stems=["SVAMP", "svamp"])
    else:
        split = choice_param(spec, "split", _SPLITS, default="all")
        names = _SPLITS[1:] if split == "all" else (split,)
        rows = [row for name in names for row in hub_rows(HUB_ID, name, instead="use svamp:PATH with SVAMP.json.")]
    problems = [_problem(row, index, kind or "number") for index, row in enumerate(rows)]
    return sorted(problems, key=lambda problem: problem.id)


def _problem(row: Row, index: int, kind: str) -> Problem:
    body, question, answer = require_texts(row, _TITLE, ["Body", "Question", "Answer"])
    named = _ID.fullmatch(cell_text(row, "ID") or "")
    position = int(named[1]) - 1 if named else index
    # One blank between the two, as others join them, so that scores can be compared.
    text = f"{body.strip()} {question.strip()}"
    return Problem(f"svamp/{position:05d}", text, without_exponent(row, answer), kind, source="svamp")
