"""The user's own problems: one row each of JSONL, JSON, CSV, TSV or Parquet files, as people have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from msgspec.structs import replace

from tpt.errors import ProblemError, did_you_mean
from tpt.problems.cells import CHATS, cell_at, last_question, reply, turns_of
from tpt.problems.math.math import last_boxed
from tpt.problems.overlap import hash_split
from tpt.problems.rows import Row, cell_text, parse_json, plain, read_rows
from tpt.problems.spec import Spec, allow_params, choice_param, table_files, table_stem
from tpt.records import Problem
from tpt.system.own_code import absolute_name

FIELDS = ("question", "answer", "id", "solution", "kind", "tests", "source", "cluster", "level")
"""What a column can be mapped to; all but question and answer are optional."""


def load_table(spec: Spec, *, columns: Mapping[str, str], kind: str | None) -> list[Problem]:
    r"""Read problems from the file that the spec names, the files of a pattern such as ``part-*.jsonl``, or of a folder.

    A column has the name of its field unless ``columns`` maps the field to another; ``a.b[0]`` is part of one. Rows
    without a question may have a chat (``messages``, ``conversations``): its last user turn is the question, its last
    assistant turn the solution. Without an ``answer`` column the answer is what the solution ends in, ``#### N`` or
    ``\\boxed{N}``. Without an ``id`` column the ids are ``FILESTEM/00042``, the row's position in its file; of several
    files, ids that are row numbers are told apart by ``FILESTEM/``. A ``kind`` column wins over ``kind``; without either,
    rows with tests are "code" and others "number". With ``split=train`` or ``split=heldout`` only one side of
    ``hash_split`` is taken. A file of Problem records reads back as it was written.
    """
    allow_params(spec, ["split"])
    split = choice_param(spec, "split", ["all", "train", "heldout"], default="all")
    files = table_files(spec.rest)
    found = [pair for path in files for pair in _of_file(path, columns, kind, is_alone=len(files) == 1)]
    _require_unique_ids(found)
    problems = [problem for problem, _ in found]
    if split == "all":
        return problems
    chosen = [problem for problem in problems if hash_split(problem.question) == split]
    if not chosen:
        raise ProblemError(f"{spec.rest}: none of its {len(problems)} problems falls into split={split}. Add problems.")
    return chosen


def _of_file(path: Path, columns: Mapping[str, str], kind: str | None, *, is_alone: bool) -> list[tuple[Problem, str]]:
    """Return the problems of a file, each with where it stands."""
    rows = read_rows(path)
    mapping = _mapping(path, rows, columns)
    problems = [_problem(row, index, mapping, path=path, kind=kind) for index, row in enumerate(rows)]
    if not is_alone:
        stem = table_stem(path)
        problems = [replace(each, id=f"{stem}/{each.id}") if each.id.isdigit() else each for each in problems]
    return [(problem, row.where) for problem, row in zip(problems, rows, strict=True)]


def _mapping(path: Path, rows: Sequence[Row], columns: Mapping[str, str]) -> dict[str, str]:
    """Return field to column, for the fields that the file has."""
    for field in columns:
        if field not in FIELDS:
            raise ProblemError(
                f"problems.columns: {field!r} is unknown.{did_you_mean(field, FIELDS)} Allowed: {', '.join(FIELDS)}."
            )
    there = list(dict.fromkeys(name for row in rows for name in row.cells))
    mapping = {field: columns.get(field, field) for field in FIELDS}
    chat = next((name for name in CHATS if name in there), None)
    if chat is not None and mapping["question"] not in there and "question" not in columns:
        mapping["question"] = chat
        if mapping["solution"] not in there:
            mapping["solution"] = chat
    found = {field: column for field, column in mapping.items() if _is_column(column, there, rows)}
    for field, column in mapping.items():
        required = field == "question" or (field == "answer" and not found.keys() & {"tests", "solution"})
        if field not in found and (required or field in columns):
            raise ProblemError(
                f"{path}: there is no column {column!r} for the {field}.{did_you_mean(column, there)} "
                f'Columns there: {", ".join(there) or "none"}. Name the right one: problems.columns = {{ {field} = "..." }}, '
                f"or --column {field}=..."
            )
    return found


def _is_column(column: str, there: Sequence[str], rows: Sequence[Row]) -> bool:
    return column in there or any(cell_at(row.cells, column) is not None for row in rows)


def _problem(row: Row, index: int, mapping: Mapping[str, str], *, path: Path, kind: str | None) -> Problem:
    texts = {field: _text(row, field, column) for field, column in mapping.items() if field != "tests"}
    tests = _tests(row, mapping["tests"]) if "tests" in mapping else None
    question = texts.get("question")
    if question is None or not question.strip():
        raise ProblemError(f"{row.where}: the question (column {mapping['question']!r}) is missing or empty.")
    solution = texts.get("solution")
    answer = texts.get("answer") if "answer" in mapping else answer_in(solution or "")
    if (answer is None or not answer.strip()) and not tests:
        _no_answer(row, mapping)
    problem_id = texts.get("id", f"{table_stem(path)}/{index:05d}")
    if not problem_id:
        raise ProblemError(f"{row.where}: the id (column {mapping['id']!r}) is missing or empty.")
    own = texts.get("kind") or ""
    if ":" in own and not _is_named(own, kind):
        raise ProblemError(
            f"{row.where}: the kind (column {mapping['kind']!r}) is {own[:200]!r}, which names a function to be imported. A data "
            f'file runs no code by itself. If the function is yours, name it where you start: problems.kind = "{own[:200]}" in '
            f"the config, or --kind; else take it out of the column."
        )
    source, kind = texts.get("source"), own or kind or ("code" if tests else "number")
    if kind in ("number", "math") and answer and "####" in answer:
        solution, answer = solution or answer, answer_in(answer)
        if not answer:
            raise ProblemError(f"{row.where}: the answer (column {mapping['answer']!r}) has nothing after its ####.")
    return Problem(
        id=problem_id,
        question=question,
        answer=answer or "",
        kind=kind,
        tests=tests,
        solution=solution,
        source=path.name if source is None else source,
        cluster=texts.get("cluster") or "",
        level=texts.get("level") or "",
    )


def _text(row: Row, field: str, column: str) -> str | None:
    """Return a cell as text; of a chat, the turn that the field means."""
    turns = turns_of(cell_at(row.cells, column)) if field in ("question", "solution") else []
    if not turns:
        return cell_text(row, column)
    text = last_question(turns) if field == "question" else reply(turns)
    return cell_text(Row(row.where, {column: text}), column)


def answer_in(solution: str) -> str | None:
    r"""Return the answer that a solution names in the data sets' two ways, ``#### 72`` or ``\boxed{72}``; None without."""
    _, mark, after = solution.rpartition("####")
    return (after.strip() or None) if mark else last_boxed(solution)


def _no_answer(row: Row, mapping: Mapping[str, str]) -> NoReturn:
    if "answer" in mapping or "solution" not in mapping:
        raise ProblemError(f"{row.where}: the answer (column {mapping.get('answer', 'answer')!r}) is missing or empty.")
    raise ProblemError(
        f"{row.where}: there is no column for the answer, and the solution (column {mapping['solution']!r}) ends in neither "
        '#### N nor \\boxed{N}. Name the answer\'s column: problems.columns = { answer = "..." }, or --column answer=...'
    )


def _is_named(own: str, kind: str | None) -> bool:
    """Tell whether a row's own verifier is the one that the user named, the path of its file written either way."""
    return kind in (own, absolute_name(own))


def _tests(row: Row, column: str) -> list[Any] | None:
    """Return the row's tests; in CSV they stand as JSON text."""
    value = cell_at(row.cells, column)
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


def _require_unique_ids(found: Sequence[tuple[Problem, str]]) -> None:
    first: dict[str, str] = {}
    for problem, where in found:
        if problem.id in first:
            raise ProblemError(
                f"{where}: id {problem.id!r} is already that of {first[problem.id]}. "
                "Ids must be unique, as traces are joined by them."
            )
        first[problem.id] = where
