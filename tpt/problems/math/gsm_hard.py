"""GSM-Hard: GSM8K's 1,319 test questions with large numbers put in. To score on only: its questions are test questions."""

from __future__ import annotations

from tpt.problems.math.rows import hub_rows, local_path, local_rows, require_texts, without_exponent
from tpt.problems.rows import Row
from tpt.problems.spec import Spec, allow_params
from tpt.records import Problem

HUB_ID = "reasoning-machines/gsm-hard"

_TITLE = "GSM-Hard"


def load_gsm_hard(spec: Spec, *, kind: str | None) -> list[Problem]:
    """Load GSM-Hard; the ids are ``gsm_hard/00042``, the position in the set.

    The spec is ``gsm_hard`` for the Hub, or ``gsm_hard:PATH`` where PATH is a file with the columns input and target, or
    a folder that holds ``gsm_hard.jsonl``, ``gsmhardv2.jsonl`` or a download of the Hub's files.
    """
    allow_params(spec, [])
    path = local_path(spec)
    if path:
        rows = local_rows(path, title=_TITLE, stems=["gsm_hard", "gsmhardv2", "train"], folders=["data"])
    else:
        # The Hub has the whole set under the name train; it is none.
        rows = hub_rows(HUB_ID, "train", instead="use gsm_hard:PATH with a file of the columns input and target.")
    return [_problem(row, index, kind or "number") for index, row in enumerate(rows)]


def _problem(row: Row, index: int, kind: str) -> Problem:
    question, target = require_texts(row, _TITLE, ["input", "target"])
    return Problem(f"gsm_hard/{index:05d}", question, without_exponent(row, target), kind, source="gsm_hard")
