"""The user's own problems: one row each of a JSONL, JSON, CSV, TSV or Parquet file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tpt.errors import ProblemError, did_you_mean
from tpt.problems.overlap import hash_split
from tpt.problems.rows import Row, cell_text, parse_json, plain, read_rows
from tpt.problems.spec import Spec, allow_params, choice_param
from tpt.records import Problem

FIELDS = ("question", "answer", "id", "solution", "kind", "tests", "source", "cluster", "level")
"""What a column can be mapped to; all but question and answer are optional."""


def load_table(spec: Spec, *, columns: Mapping[str, str], kind: str | None) -> list[Problem]:
    """Read problems from the file that the spec names.

    A column has the name of its field unless ``columns`` maps the field to another. Without an ``id`` column the ids
    are ``FILESTEM/00042``, the row's position in the whole file. A ``kind`` column wins over ``kind``; without either,
    rows with tests are "code" and others "number". With ``split=train`` or ``split=heldout`` only one side of
    ``hash_split`` is taken. A file of Problem records reads back as it was written.
    """
    allow_params(spec, ["split"])
    split = choice_param(spec, "split", ["all", "train", "heldout"], default="all")
    path = Path(spec.rest).expanduser()
    rows = read_rows(path)
    mapping = _mapping(path, rows, columns)
    problems = [_problem(row, index, mapping, path=path, kind=kind) for index, row in enumerate(rows)]
    _require_unique_ids(problems, rows)
    if split == "all":
        return problems
    chosen = [problem for problem in problems if hash_split(problem.question) == split]
    if not chosen:
        raise ProblemError(f"{path}: none of its {len(problems)} problems falls into split={split}. Add problems.")
    return chosen


def _mapping(path: Path, rows: Sequence[Row], columns: Mapping[str, str]) -> dict[str, str]:
    """Return field to column, for the fields that the file has."""
    for field in columns:
        if field not in FIELDS:
            raise ProblemError(
                f"problems.columns: {field!r} is unknown.{did_you_mean(field, FIELDS)} Allowed: {', '.join(FIELDS)}."
            )
    there = list(dict.fromkeys(name for row in rows for name in row.cells))
    mapping = {field: columns.get(field, field) for field in FIELDS}
    tests_there = mapping["tests"] in there
    for field, column in mapping.items():
        required = field == "question" or (field == "answer" and not tests_there)
        if column not in there and (required or field in columns):
            raise ProblemError(
                f"{path}: there is no column {column!r} for the {field}.{did_you_mean(column, there)} "
                f'Columns there: {", ".join(there)}. Name the right one: problems.columns = {{ {field} = "..." }}.'
            )
    return {field: column for field, column in mapping.items() if column in there}


def _problem(row: Row, index: int, mapping: Mapping[str, str], *, path: Path, kind: str | None) -> Problem:
    texts = {field: cell_text(row, column) for field, column in mapping.items() if field != "tests"}
    tests = _tests(row, mapping["tests"]) if "tests" in mapping else None
    question = texts.get("question")
    if question is None or not question.strip():
        raise ProblemError(f"{row.where}: the question (column {mapping['question']!r}) is missing or empty.")
    answer = texts.get("answer")
    if (answer is None or not answer.strip()) and not tests:
        raise ProblemError(f"{row.where}: the answer (column {mapping.get('answer', 'answer')!r}) is missing or empty.")
    problem_id = texts.get("id", f"{path.stem}/{index:05d}")
    if not problem_id:
        raise ProblemError(f"{row.where}: the id (column {mapping['id']!r}) is missing or empty.")
    own = texts.get("kind") or ""
    if ":" in own and not _is_named(own, kind):
        raise ProblemError(
            f"{row.where}: the kind (column {mapping['kind']!r}) is {own[:200]!r}, which names a function to be imported. A data "
            f'file runs no code by itself. If the function is yours, name it where you start: problems.kind = "{own[:200]}" in '
            f"the config, or --kind; else take it out of the column."
        )
    source = texts.get("source")
    return Problem(
        id=problem_id,
        question=question,
        answer=answer or "",
        kind=own or kind or ("code" if tests else "number"),
        tests=tests,
        solution=texts.get("solution"),
        source=path.name if source is None else source,
        cluster=texts.get("cluster") or "",
        level=texts.get("level") or "",
    )


def _is_named(own: str, kind: str | None) -> bool:
    """Tell whether a row's own verifier is the one that the user named, the path of its file written either way."""
    file, _, function = own.rpartition(":")
    return kind is not None and kind in (own, f"{Path(file).absolute()}:{function}")


def _tests(row: Row, column: str) -> list[Any] | None:
    """Return the row's tests; in CSV they stand as JSON text."""
    value = row.cells.get(column)
    if isinstance(value, str):
        value = parse_json(value, f"{row.where}, tests in column {column!r}")
    if value is None:
        return None
    if not isinstance(value, list):
        raise ProblemError(f"{row.where}: the tests (column {column!r}) must be a list, got {str(value)[:60]!r}.")
    try:
        return list(plain(value))
    except ValueError as error:
        raise ProblemError(f"{row.where}: the tests (column {column!r}) hold a number too large: {error}") from None


def _require_unique_ids(problems: Sequence[Problem], rows: Sequence[Row]) -> None:
    first: dict[str, str] = {}
    for problem, row in zip(problems, rows, strict=True):
        if problem.id in first:
            raise ProblemError(
                f"{row.where}: id {problem.id!r} is already that of {first[problem.id]}. "
                "Ids must be unique, as traces are joined by them."
            )
        first[problem.id] = row.where
