"""Files of other tools as samples: logs in a layout that is known, rows of plain columns, folders of one file a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from tpt.audit.inspect_archive import archive_rows
from tpt.audit.log_layouts import FAILED, GOLDS, PLAIN, QUESTIONS, Cells, finish_reason, layout_of, samples_of
from tpt.errors import ConfigError, ProblemError, did_you_mean
from tpt.problems.cells import cell_at, last_question, turns_of
from tpt.problems.rows import LONGEST_LINE, Row, cell_text, iter_rows, utf8_text
from tpt.problems.spec import table_suffix
from tpt.records import FinishReason, well_formed
from tpt.run.directory import require_no_run

FIELDS: dict[str, tuple[str, ...]] = {
    "problem_id": ("problem_id", "id", "task_id", "idx"),
    "completion": ("completion", "text", "response", "output"),
    "answer": GOLDS,
    "question": QUESTIONS,
    "solution": (),
    "sample": ("sample",),
    "finish_reason": ("finish_reason",),
    "completion_tokens": ("completion_tokens",),
    "correct": (),
    "extracted": (),
}
"""What a column can be mapped to, and the names it is looked for under where it is not mapped.

``correct`` is the other tool's own verdict, which then stands; ``extracted`` the answer it read.
"""
ARCHIVE = ".eval"
TEXTS = (".txt", ".md", ".out")
"""What files of one completion each end in."""
_LISTS = ("completion", "correct", "extracted", "finish_reason")
_TRUTH = {"true": True, "1": True, "1.0": True, "c": True, "false": False, "0": False, "0.0": False, "i": False}


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One imported row, or one item of its lists."""

    where: str
    """For messages."""
    problem_id: str
    """Empty: the question says which problem it is."""
    has_id: bool
    """Whether ``problem_id`` is surely an id and no row number: its column is called so, or the user says so."""
    completion: str | None
    """None: the request failed, and there is no sample."""
    answer: str
    question: str
    solution: str | None
    sample: int | None
    finish_reason: FinishReason
    completion_tokens: int
    correct: bool | None
    extracted: str | None


@dataclass(frozen=True, slots=True)
class Reading:
    """How files of samples are read."""

    columns: Mapping[str, str]
    """Field to column, ``a.b[0]`` being part of one; this wins over what the layout says."""
    layout: str = ""
    """One of the layouts, or ``rows`` for plain columns; empty: whichever knows the first row."""
    has_problems: bool = False
    """Whether gold answers come from elsewhere, so that samples may be without."""
    needs_text: bool = False
    """Whether a row without a completion is an error, and no empty completion."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown field."""
        for field in self.columns:
            if field not in FIELDS:
                raise ConfigError(
                    f"--column {field}: no such field.{did_you_mean(field, FIELDS)} Fields: {', '.join(FIELDS)}"
                )


def sample_files(path: Path) -> list[Path]:
    """Return the files that a path means: itself, or all in a folder that can hold samples; links are not followed.

    Raises:
        ProblemError: the folder holds none.
        RunError: it is a run directory.
    """
    if not path.is_dir():
        return [path]
    of_round = f"{path}/round-1/traces.jsonl, or, of held-out problems, {path}/round-1/evaluate/traces.jsonl"
    require_no_run(path, f"the samples of a round: {of_round}")
    found = sorted(each for each in path.rglob("*") if each.is_file() and not each.is_symlink() and _can_hold(each))
    if not found:
        raise ProblemError(f"{path} is a folder without files of samples, such as .jsonl, .json, {ARCHIVE} or .txt")
    return found


def read_samples(path: Path, root: Path, reading: Reading) -> Iterator[ImportedRow]:
    """Yield the samples of a file; one of a text file, whose path below ``root`` names its problem.

    Raises:
        ProblemError: the file cannot be read, or a column or a value is missing or of the wrong kind.
    """
    if path.suffix.lower() in TEXTS and path.is_file():
        yield _text_sample(path, root)
        return
    rows = archive_rows(path) if path.suffix.lower() == ARCHIVE else iter_rows(path)
    first = next(rows)
    layout = layout_of(first, reading.layout)
    rows = chain([first], rows)
    mapping: dict[str, str] = dict(reading.columns)
    found = _plain(rows, path, mapping, reading) if layout == PLAIN else _mapped(samples_of(layout, rows), reading)
    for row, cells in found:
        for each in _each_sample(row, cells):
            yield _sample(row, each, mapping, reading)


def _mapped(samples: Iterator[tuple[Row, Cells]], reading: Reading) -> Iterator[tuple[Row, Cells]]:
    """Yield a log's samples, with the user's columns in the place of what the layout says; a column's completions are all."""
    before: Row | None = None
    for row, cells in samples:
        if row is not before or "completion" not in reading.columns:
            yield row, cells | {field: cell_at(row.cells, column) for field, column in reading.columns.items()}
        before = row


def _can_hold(path: Path) -> bool:
    return bool(table_suffix(path)) or path.suffix.lower() in (ARCHIVE, *TEXTS)


def _text_sample(path: Path, root: Path) -> ImportedRow:
    with path.open("rb") as file:
        data = file.read(LONGEST_LINE + 1)
    if len(data) > LONGEST_LINE:
        raise ProblemError(f"{path}: longer than {LONGEST_LINE:,} bytes, so this is no completion")
    name = path.relative_to(root).with_suffix("").as_posix()
    text = utf8_text(data, str(path)).replace("\0", "\ufffd")
    return ImportedRow(str(path), name, False, text, "", "", None, None, "stop", 0, None, None)


def _plain(rows: Iterable[Row], path: Path, mapping: dict[str, str], reading: Reading) -> Iterator[tuple[Row, Cells]]:
    """Yield rows of plain columns; what the columns of fields are is put into ``mapping``, needed ones by the first row."""
    for index, row in enumerate(rows):
        if index == 0:
            mapping |= _mapping(path, row, reading)
        else:
            mapping |= {field: name for field, name in _columns(row).items() if field not in mapping}
        yield row, {field: cell_at(row.cells, column) for field, column in mapping.items()}


def _mapping(path: Path, row: Row, reading: Reading) -> dict[str, str]:
    """Return field to column, for the fields that the file has."""
    there = ", ".join(row.cells)
    mapping = {**_columns(row), **reading.columns}
    for field, column in reading.columns.items():
        if column not in row.cells and cell_at(row.cells, column) is None:
            raise ProblemError(
                f"{row.where}: no column {column!r} for the {field}.{did_you_mean(column, row.cells)} Columns there: {there}"
            )
    named = "problem_id" in mapping or "question" in mapping
    missing = [] if named else ["problem_id"]
    missing += [] if "completion" in mapping else ["completion"]
    missing += [] if reading.has_problems or mapping.keys() & {"answer", "correct"} else ["answer"]
    if missing:
        gold = ", or take gold answers from a source: --problems SOURCE" if missing[0] == "answer" else ""
        raise ProblemError(
            f"{path}: no column for the {missing[0]}. Name it: --column {missing[0]}=COLUMN{gold}. Columns there: {there}"
        )
    return mapping


def _columns(row: Row) -> dict[str, str]:
    """Return field to column, for the fields that a row has under one of their names."""
    found = ((field, next((name for name in names if name in row.cells), "")) for field, names in FIELDS.items())
    return {field: name for field, name in found if name}


def _each_sample(row: Row, cells: Cells) -> Iterator[Cells]:
    """Yield the cells of each sample of a row, whose lists must be of one length."""
    if not isinstance(cells["completion"], list):
        yield dict(cells)
        return
    lists = {field: cells[field] for field in _LISTS if isinstance(cells.get(field), list)}
    if len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{len(values)} of {field}" for field, values in lists.items())
        raise ProblemError(f"{row.where}: lists of different lengths: {lengths}")
    for index in range(len(cells["completion"])):
        yield {**cells, **{field: values[index] for field, values in lists.items()}}


def _sample(row: Row, cells: Cells, mapping: Mapping[str, str], reading: Reading) -> ImportedRow:
    failed = cells.pop(FAILED, False)
    if turns := turns_of(cells.get("question")):
        cells["question"] = last_question(turns)
    written = {field: cell for field, cell in cells.items() if type(cell) is str}
    # What a model wrote may hold anything; a NUL and half a surrogate pair become replacement characters.
    cells = {**cells, **{field: well_formed(text).replace("\0", "\ufffd") for field, text in written.items()}}
    # The checks of a cell are those of a problem file's, with the user's name of the column in the message.
    text = {field: cell_text(Row(row.where, {name: cell}), name) for field, name, cell in _named(cells, mapping)}
    question, answer = text.get("question") or "", text.get("answer")
    problem_id = text.get("problem_id") or ""
    if not problem_id and not ("problem_id" not in mapping and question):
        raise ProblemError(
            f"{row.where}: the problem_id (column {mapping.get('problem_id', 'question')!r}) is missing or empty"
        )
    if answer is None and not reading.has_problems and cells.get("correct") is None:
        raise ProblemError(
            f"{row.where}: the answer (column {mapping.get('answer', 'answer')!r}) is missing or empty. Take gold answers from a "
            "source: --problems SOURCE, or the file's own verdicts: --column correct=COLUMN"
        )
    if reading.needs_text and not failed and text.get("completion") is None:
        raise ProblemError(
            f"{row.where}: the completion (column {mapping.get('completion', 'completion')!r}) is missing"
        )
    return ImportedRow(
        where=row.where,
        problem_id=problem_id,
        has_id="problem_id" in reading.columns or mapping.get("problem_id") == "problem_id",
        completion=None if failed else text.get("completion") or "",
        answer=answer or "",
        question=question,
        solution=text.get("solution"),
        sample=_whole(row, "sample", text.get("sample")),
        finish_reason=finish_reason(text.get("finish_reason")),
        completion_tokens=_whole(row, "completion_tokens", text.get("completion_tokens")) or 0,
        correct=_truth(row, text.get("correct")),
        extracted=text.get("extracted"),
    )


def _named(cells: Cells, mapping: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    return ((field, mapping.get(field, field), cell) for field, cell in cells.items())


def _whole(row: Row, field: str, text: str | None) -> int | None:
    # A column with gaps comes out of a data frame as 12.0.
    text = None if text is None else text.removesuffix(".0")
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ProblemError(f"{row.where}: the {field} must be a whole number, got {text!r:.80}")
    return None if text is None else int(text)


def _truth(row: Row, text: str | None) -> bool | None:
    if text is not None and text.lower() not in _TRUTH:
        raise ProblemError(f"{row.where}: correct must be true or false, got {text!r:.80}")
    return None if text is None else _TRUTH[text.lower()]


def name_of(question: str) -> str:
    """Return an id for a problem that has none: samples of one question belong together."""
    return hashlib.blake2b(question.encode(), digest_size=6).hexdigest()
