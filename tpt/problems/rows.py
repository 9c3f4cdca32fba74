"""JSONL, JSON, CSV, TSV and Parquet files as rows that know where they stand, numbers kept as they were written.

Files are not believed: a compressed one may be a bomb, so no line and no whole text is read beyond a limit.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice, zip_longest
from pathlib import Path
from typing import IO, Any, cast

from tpt.errors import ProblemError, did_you_mean
from tpt.problems.cells import cell_at
from tpt.problems.spec import COMPRESSED, TABLE_SUFFIXES, table_suffix
from tpt.system.url import require_no_url

LONGEST_LINE = 2**28
"""Bytes of one line, decompressed; beyond, a file is no file of rows."""
_MOST_BYTES = 2**31
"""Of a file that is read as a whole, decompressed."""
_LISTS = ("data", "examples", "items", "problems", "questions", "rows", "samples")
"""Under what names an object holds the rows of a file."""
_EXCERPT = 60
_CONTENTS = {
    b"\x1f\x8b": "a gzip file, whose name must end in .gz",
    b"\x28\xb5\x2f\xfd": "a Zstandard file, which is not read: unpack it",
    b"pk\x03\x04": "a ZIP archive, as spreadsheets are too: unpack it, or save it as CSV UTF-8",
    b"par1": "a Parquet file, whose name must end in .parquet",
    b"version https://git-lfs": "a pointer of Git LFS: get the file itself with git lfs pull",
    b"<!doctype html": "a web page: download the file itself",
    b"<html": "a web page: download the file itself",
}
"""How files begin that have another name than what is in them, in lower case, and what to say of them."""
_CELL_LIMIT = 2**31 - 1


class WrittenNumber(str):
    """A number in the digits it was written in: ``2125362.0`` and 50-digit integers survive."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file."""

    where: str
    """For messages: ``data.jsonl, line 3``."""
    cells: dict[str, Any]
    """Column to value: text, WrittenNumber, bool, None, or lists and dicts of those."""


def read_rows(path: Path) -> list[Row]:
    """Read every row of a file by its suffix; blank lines are left out.

    Raises:
        ProblemError: the file is missing, empty, damaged, or a row is not a table of columns.
    """
    return list(iter_rows(path))


def iter_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file one by one, as ``read_rows`` would list them, for files larger than memory."""
    _require_file(path)
    try:
        _require_content(path)
        rows = _rows_of(path)
        first = next(rows, None)
        if first is None:
            raise ProblemError(f"{path}: the file is empty, or nothing but a header; expected at least one row.")
        yield first
        yield from rows
    # A damaged gzip file is an OSError, EOFError or zlib.error.
    except (OSError, EOFError, zlib.error) as error:
        raise ProblemError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def cell_text(row: Row, column: str) -> str | None:
    """Return a cell as text, numbers as written; None for null, NaN or an absent cell; ``a.b[0]`` is part of one.

    Raises:
        ProblemError: the cell is a list or an object, or holds characters that no text file can.
    """
    value = cell_at(row.cells, column)
    if value is None or (isinstance(value, WrittenNumber) and value.lower() == "nan"):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        raise ProblemError(f"{row.where}: column {column!r} holds {_kind_of(value)}; expected text or a number.")
    if "\0" in value:
        raise ProblemError(f"{row.where}: column {column!r} holds a NUL character; the file may be damaged.")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ProblemError(f"{row.where}: column {column!r} holds half a surrogate pair, which is no character.")
    return str(value)


def plain(value: Any) -> Any:
    """Return a cell with its numerals as int and float; ValueError when one has no such form."""
    if isinstance(value, WrittenNumber):
        return json.loads(value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value


def to_cell(value: Any, where: str) -> Any:
    """Return a value of Parquet or of the Hub as a cell, numbers as WrittenNumber."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float | Decimal):
        return WrittenNumber(value)
    if isinstance(value, list):
        return [to_cell(each, where) for each in value]
    if isinstance(value, dict):
        return {name: to_cell(each, where) for name, each in value.items()}
    if isinstance(value, bytes):
        return utf8_text(value, where)
    return str(value)


def parse_json(text: str, where: str) -> Any:
    """Parse JSON with its numbers as WrittenNumber.

    Raises:
        ProblemError: with an excerpt around the place that is not valid, or a key that stands twice in an object.
    """

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise ProblemError(f"{where}: the key {twice!r} stands twice in one object; leave the one that is meant.")
        return found

    try:
        return json.loads(
            text,
            parse_int=WrittenNumber,
            parse_float=WrittenNumber,
            parse_constant=WrittenNumber,
            object_pairs_hook=table,
        )
    except json.JSONDecodeError as error:
        start = max(0, error.pos - _EXCERPT // 2)
        raise ProblemError(
            f"{where}, column {error.colno}: not valid JSON: {error.msg}, at {text[start : start + _EXCERPT]!r}."
        ) from None
    except RecursionError:
        raise ProblemError(f"{where}: JSON nested too deeply, from {text[:_EXCERPT]!r} on.") from None


def _rows_of(path: Path) -> Iterator[Row]:
    suffix = table_suffix(path)
    if suffix == ".parquet":
        return _parquet_rows(path)
    if suffix in (".csv", ".tsv"):
        return _csv_rows(path, "\t" if suffix == ".tsv" else ",")
    if suffix == ".json" and not _is_json_lines(path):
        return _document_rows(path)
    return _line_rows(path)


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    if path.is_dir():
        raise ProblemError(f"{path} is a folder; expected a file ending in {', '.join(TABLE_SUFFIXES)}.")
    require_no_url(path, ProblemError)
    if path.is_symlink():
        raise ProblemError(f"{path}: a link that leads to no file.")
    folder = path.parent
    if not folder.is_dir():
        raise ProblemError(f"{path}: no such file; the folder {folder} does not exist.")
    names = sorted(each.name for each in folder.iterdir() if table_suffix(each))
    raise ProblemError(f"{path}: no such file.{did_you_mean(path.name, names)}")


def _require_content(path: Path) -> None:
    """Refuse a file that holds something else than its name says: that it is no UTF-8 would lead nowhere."""
    with path.open("rb") as file:
        begin = file.read(32).lower()
    named = {COMPRESSED: b"\x1f\x8b", ".parquet": b"par1"}.get(path.suffix.lower())
    told = next((told for mark, told in _CONTENTS.items() if begin.startswith(mark) and mark != named), None)
    if told is not None:
        raise ProblemError(f"{path}: by its first bytes this is {told}.")


def _open(path: Path) -> IO[bytes]:
    is_compressed = path.name.lower().endswith(COMPRESSED)
    return cast(IO[bytes], gzip.open(path, "rb")) if is_compressed else path.open("rb")


def _whole(path: Path) -> bytes:
    with _open(path) as file:
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ProblemError(f"{path}: more than {_MOST_BYTES:,} bytes to be read as a whole. Write it as JSONL")
    return data


def lines_of(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; ProblemError at one that is longer than a row can be."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise ProblemError(
                f"{path}, line {number}: longer than {LONGEST_LINE:,} bytes, so this is no file of rows."
            )
        yield line


def _is_json_lines(path: Path) -> bool:
    """Return whether a file called ``.json`` is JSONL: its first two lines are objects each."""
    with _open(path) as file:
        if file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"{":
            return False
        file.seek(0)
        lines = (line.removeprefix(b"\xef\xbb\xbf").strip() for line in lines_of(file, path))
        first, second = [*islice(filter(None, lines), 2), b""][:2]
    return first.endswith(b"}") and second.startswith(b"{")


def utf8_text(data: bytes, where: str) -> str:
    """Return UTF-8 as text, its signature left off; ProblemError where it is none."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProblemError(
            f"{where}{f', line {line}' if line > 1 else ''}: not UTF-8: byte 0x{data[error.start]:02x} at offset "
            f"{error.start}. Save the file as UTF-8."
        ) from None


def _row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise ProblemError(f"{where}: expected a JSON object with one problem's columns, got {_kind_of(value)}.")
    return Row(where, value)


def _kind_of(value: Any) -> str:
    kinds = {WrittenNumber: "a number", str: "text", bool: "true or false", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")


def _line_rows(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for number, data in enumerate(lines_of(file, path), start=1):
            where = f"{path}, line {number}"
            text = utf8_text(data, where) if number == 1 else _decode_line(data, where)
            if text.strip():
                yield _row(parse_json(text, where), where)


def _decode_line(data: bytes, where: str) -> str:
    """Decode a line after the first: there a byte order mark is content and no signature."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return utf8_text(data, where)


def _document_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON array, also of one that an object holds as its ``data`` or the like; else its one row."""
    value = parse_json(text, str(path)) if (text := utf8_text(_whole(path), str(path))).strip() else []
    if isinstance(value, dict):
        lists = [value[name] for name in _LISTS if isinstance(value.get(name), list)]
        value = lists[0] if len(lists) == 1 else [value]
    for number, each in enumerate(value if isinstance(value, list) else [value], start=1):
        yield _row(each, f"{path}, item {number}")


def _require_delimiter(header: list[str], delimiter: str, path: Path) -> None:
    """Refuse a header of a single column that another mark parts: spreadsheets write semicolons in many countries."""
    other = next((mark for mark in ";\t|," if len(header) == 1 and mark in header[0]), None)
    if other is not None:
        raise ProblemError(
            f"{path}, line 1: the header is a single column, {header[0]!r}. Cells must be parted by {delimiter!r}, not by "
            f"{other!r}: save the file so."
        )


def _csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    text = utf8_text(_whole(path), str(path))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(_CELL_LIMIT)
    line = 1
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise ProblemError(f"{path}, line 1: column {twice!r} is there twice. Rename one of them.")
        _require_delimiter(header, delimiter, path)
        line = reader.line_num + 1
        for cells in reader:
            where = f"{path}, line {line}"
            if len(cells) > len(header):
                raise ProblemError(f"{where}: {len(cells)} cells, but the header names {len(header)} columns.")
            if cells:
                yield Row(where, {name: cell or None for name, cell in zip_longest(header, cells)})
            line = reader.line_num + 1
    except csv.Error as error:
        raise ProblemError(f"{path}, from line {line} on: not valid CSV: {error}. Check the quotes.") from None
    finally:
        csv.field_size_limit(limit)


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        values = pyarrow.parquet.read_table(path).to_pylist()
    # A column name that is not UTF-8 is a plain ValueError.
    except (pyarrow.ArrowException, ValueError) as error:
        raise ProblemError(f"{path}: not a readable Parquet file: {error}") from None
    for number, value in enumerate(values, start=1):
        where = f"{path}, row {number}"
        yield Row(where, {name: to_cell(each, where) for name, each in value.items()})
