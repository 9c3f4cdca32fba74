"""Rows of another tool's file as samples: one row a sample, or one row a problem with lists of samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpt.errors import ConfigError, ProblemError, did_you_mean
from tpt.problems.rows import Row, cell_text, iter_rows
from tpt.records import well_formed

FIELDS: dict[str, tuple[str, ...]] = {
    "problem_id": ("problem_id", "id", "task_id", "idx"),
    "completion": ("completion", "text", "response", "output"),
    "answer": ("answer", "gold", "gt", "target"),
    "question": ("question", "prompt", "problem"),
    "sample": ("sample",),
    "correct": (),
    "extracted": (),
}
"""What a column can be mapped to, and the names it is looked for under where it is not mapped.

``correct`` is the other tool's own verdict, which then stands; ``extracted`` the answer it read.
"""
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One imported row, or one item of its lists."""

    where: str
    """For messages."""
    problem_id: str
    completion: str
    answer: str
    question: str
    sample: int | None
    correct: bool | None
    extracted: str | None


def read_samples(file: Path, columns: Mapping[str, str]) -> Iterator[ImportedRow]:
    """Yield the samples of a file; ``columns`` maps fields to columns, ``a.b`` being part b of the objects in column a.

    Raises:
        ConfigError: a field is unknown.
        ProblemError: the file cannot be read, or a column or a value is missing or of the wrong kind.
    """
    for field in columns:
        if field not in FIELDS:
            raise ConfigError(
                f"--column {field}: no such field.{did_you_mean(field, FIELDS)} Fields: {', '.join(FIELDS)}"
            )
    mapping: dict[str, str] = {}
    for row in iter_rows(file):
        mapping = mapping or _mapping(file, row, columns)
        cells = {field: _cell(row, column) for field, column in mapping.items()}
        for each in _each_sample(row, cells):
            yield _sample(row, each, mapping)


def _mapping(file: Path, row: Row, columns: Mapping[str, str]) -> dict[str, str]:
    """Return field to column, for the fields that the file has."""
    there = ", ".join(row.cells)
    mapping = dict(columns)
    for field, names in FIELDS.items():
        found = next((name for name in names if name in row.cells), None)
        if found is not None:
            mapping.setdefault(field, found)
    for field, column in columns.items():
        if column not in row.cells and _cell(row, column) is None:
            raise ProblemError(
                f"{row.where}: no column {column!r} for the {field}.{did_you_mean(column, row.cells)} Columns there: {there}"
            )
    named = "problem_id" in mapping or "question" in mapping
    missing = [] if named else ["problem_id"]
    missing += [] if "completion" in mapping else ["completion"]
    missing += [] if "answer" in mapping or "correct" in mapping else ["answer"]
    if missing:
        raise ProblemError(
            f"{file}: no column for the {missing[0]}. Name it: --column {missing[0]}=COLUMN. Columns there: {there}"
        )
    return mapping


def _cell(row: Row, column: str) -> Any:
    if column in row.cells:
        return row.cells[column]
    value: Any = row.cells
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _each_sample(row: Row, cells: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the cells of each sample of a row, whose lists must be of one length."""
    if not isinstance(cells["completion"], list):
        yield dict(cells)
        return
    lists = {
        field: cells[field] for field in ("completion", "correct", "extracted") if isinstance(cells.get(field), list)
    }
    if len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{len(values)} of {field}" for field, values in lists.items())
        raise ProblemError(f"{row.where}: lists of different lengths: {lengths}")
    for index in range(len(cells["completion"])):
        yield {**cells, **{field: values[index] for field, values in lists.items()}}


def _sample(row: Row, cells: Mapping[str, Any], mapping: Mapping[str, str]) -> ImportedRow:
    written = {field: cells[field] for field in ("completion", "extracted") if type(cells.get(field)) is str}
    cells = {**cells, **{field: well_formed(value) for field, value in written.items()}}
    # The checks of a cell are those of a problem file's, with the user's name of the column in the message.
    text = {field: cell_text(Row(row.where, {mapping[field]: cell}), mapping[field]) for field, cell in cells.items()}
    question = text.get("question") or ""
    problem_id = text.get("problem_id") or (_name(question) if question and "problem_id" not in mapping else None)
    for field, value in (
        ("problem_id", problem_id),
        ("answer", text.get("answer") if "correct" not in mapping else ""),
    ):
        if value is None:
            raise ProblemError(
                f"{row.where}: the {field} (column {mapping.get(field, 'question')!r}) is missing or empty"
            )
    sample, correct = text.get("sample"), text.get("correct")
    if sample is not None and not (sample.isascii() and sample.isdigit()):
        raise ProblemError(f"{row.where}: the sample must be a whole number, got {sample!r:.80}")
    if correct is not None and correct.lower() not in _TRUTH:
        raise ProblemError(f"{row.where}: correct must be true or false, got {correct!r:.80}")
    return ImportedRow(
        where=row.where,
        problem_id=problem_id or "",
        completion=text.get("completion") or "",
        answer=text.get("answer") or "",
        question=question,
        sample=None if sample is None else int(sample),
        correct=None if correct is None else _TRUTH[correct.lower()],
        extracted=text.get("extracted"),
    )


def _name(question: str) -> str:
    """Return an id for a problem that has none: samples of one question belong together."""
    return hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
