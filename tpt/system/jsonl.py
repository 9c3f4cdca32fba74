"""Records on disk: append, read, replace. A torn last line is work still owed, never a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, TextIO, TypeVar

from tpt.errors import RunError

R = TypeVar("R")
_ATOMS = frozenset({str, int, float, bool, type(None)})
"""Types whose values are JSON as they are."""
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_DECODER = json.JSONDecoder()


def to_line(record: Any) -> str:
    """Return a record as one line of JSON, keys in the order of its fields, without the line break."""
    return _as_json(record)


def to_table(record: Any) -> Any:
    """Return a record, or anything made of records, as plain JSON values."""
    if names := _names(type(record)):  # type: ignore[arg-type]  # a class is hashable
        values = ((name, getattr(record, name)) for name in names)
        return {name: value if type(value) in _ATOMS else to_table(value) for name, value in values}
    if isinstance(record, Enum):
        return record.value
    if isinstance(record, dict):
        return {str(key): to_table(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_table(value) for value in record]
    return record


def from_table(kind: type[R], table: Any) -> R:
    """Build a record from plain JSON values.

    Raises:
        ValueError: a field is missing, unknown, or of the wrong type.
    """
    if not isinstance(table, dict):
        raise ValueError(f"expected an object, got {table!r:.80}")
    fields = _fields(kind)  # type: ignore[arg-type]  # a class is hashable
    unknown = table.keys() - fields.keys()
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}; {kind.__name__} has {', '.join(fields)}")
    try:
        return kind(**{name: _coerced(fields[name], value) for name, value in table.items()})
    except TypeError as error:
        raise ValueError(str(error).replace(".__init__()", "")) from None


def append_record(file: TextIO, record: Any) -> None:
    """Write one record as one line and hand it to the operating system at once."""
    append_records(file, [record])


def append_records(file: TextIO, records: Iterable[Any]) -> None:
    """Write records, a line each, and hand them to the operating system together."""
    file.writelines(to_line(record) + "\n" for record in records)
    file.flush()


def open_append(path: Path) -> TextIO:
    """Open a record file for appending, cutting off a torn last line first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        whole = _whole_lines(path)
        if whole < path.stat().st_size:
            os.truncate(path, whole)
    return path.open("a", encoding="utf-8", newline="\n")


def read_records(path: Path, kind: type[R]) -> list[R]:
    """Read a record file; see ``iterate_records``."""
    return list(iterate_records(path, kind))


def iterate_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a file, leaving out a torn last line.

    Raises:
        RunError: the file is missing, or a whole line is no record of this kind.
    """
    return (record for record, _ in iterate_lines(path, kind))


def iterate_lines(path: Path, kind: type[R]) -> Iterator[tuple[R, bytes]]:
    """Yield the records of a file, each with its line as it stands there; see ``iterate_records``."""
    quick = _quick_reader(kind)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                record = quick(line)
                yield (_read_line(path, number, kind, line) if record is None else record), line
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None


def replace_records(path: Path, records: Iterable[Any]) -> int:
    """Write a whole record file atomically: a reader sees the old file or the new one, never a part; return its lines."""
    count = 0
    with _atomic(path) as file:
        for record in records:
            file.write(to_line(record) + "\n")
            count += 1
    return count


def replace_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write a whole record file atomically from lines that end in a line break."""
    with _atomic(path) as file:
        file.buffer.writelines(lines)


def write_json(path: Path, table: Any) -> None:
    """Write an indented JSON file atomically."""
    with _atomic(path) as file:
        file.write(_as_json(table, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with _atomic(path) as file:
        file.write(text)


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Write a text file atomically, part by part, for one too large to be put together in memory."""
    with _atomic(path) as file:
        file.writelines(parts)


def read_json(path: Path) -> Any:
    """Read a JSON file; RunError when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged: {error}. Delete it to have it made again") from None


def read_table(path: Path, kind: type[R]) -> R:
    """Read a JSON file that holds one record; RunError when it is missing or damaged."""
    try:
        return from_table(kind, read_json(path))
    except ValueError as error:
        raise RunError(f"{path}: not a {kind.__name__}: {error}. Delete it to have it made again") from None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _atomic:
    """A text file that appears under its name only when it is whole and on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> TextIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = self.partial.open("w", encoding="utf-8", newline="\n")
        return self.file

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
                self.file.close()
                os.replace(self.partial, self.path)
        finally:
            # Closing flushes again, so on a full disk it fails like the write before it, which is the one to report.
            with contextlib.suppress(OSError):
                self.file.close()
            self.partial.unlink(missing_ok=True)


def _as_json(record: Any, indent: int | None = None) -> str:
    table = to_table(record)
    text = _ENCODER.encode(table) if indent is None else json.dumps(table, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8 form; escaped, it survives the round trip.
        return json.dumps(table, indent=indent)
    return text


def _whole_lines(path: Path) -> int:
    """Return the size in bytes up to and with the last line break."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


@cache
def _names(kind: type) -> tuple[str, ...]:
    """Return the field names of a class of records; none for any other class."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def _read_line(path: Path, number: int, kind: type[R], line: bytes) -> R:
    try:
        return from_table(kind, json.loads(line))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}, line {number}: not a {kind.__name__} record: {error}") from None


def _quick_reader(kind: type[R]) -> Callable[[bytes], R | None]:
    """Return a function from a line to its record, several times faster than ``from_table``.

    It takes lines that hold every field, in types that need no look inside, and gives None for all others, wrong ones
    included: those are left to ``from_table``, which alone decides and says what is wrong.
    """
    hints = _fields(kind)  # type: ignore[arg-type]  # a class is hashable
    flat = [_flat(hint) for hint in hints.values()]
    signatures = set(itertools.product(*(types for types, _ in flat)))
    chosen = [(at, values) for at, (_, values) in enumerate(flat) if values is not None]
    fields, count = itemgetter(*hints), len(hints)

    def read(line: bytes) -> R | None:
        try:
            text = line.decode()
            table, end = _DECODER.raw_decode(text)
            values = fields(table)
            if len(table) != count or end != len(text) - 1 or tuple(map(type, values)) not in signatures:
                return None
            if chosen:
                values = [*values]
                for at, known in chosen:
                    values[at] = known[values[at]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return kind(*values)

    return read


def _flat(hint: Any) -> tuple[tuple[type, ...], dict[Any, Any] | None]:
    """Return the JSON types of a field's values that can be told by type alone, and the values where they are few."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and type(None) in arguments:
        allowed, values = _flat(next(each for each in arguments if each is not type(None)))
        return (*allowed, type(None)), None if values is None else {None: None, **values}
    if origin is typing.Literal:
        return tuple({type(each) for each in arguments}), {each: each for each in arguments}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return tuple({type(each.value) for each in hint}), {each.value: each for each in hint}
    if hint is float:
        return (float, int), None
    return ((hint,) if hint in (str, int, bool) else ()), None


@cache
def _fields(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _coerced(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _coerced(next(each for each in arguments if each is not type(None)), value)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{value!r} is none of {', '.join(map(repr, arguments))}")
        return value
    if (origin in (dict, list) and not isinstance(value, origin)) or (
        hint is float and type(value) not in (int, float)
    ):
        raise ValueError(f"expected {getattr(origin or hint, '__name__', hint)}, got {value!r:.80}")
    if origin is dict:
        key, item = arguments
        return {key(name): _coerced(item, each) for name, each in value.items()}
    if origin is list:
        return [_coerced(arguments[0], each) for each in value]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_table(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if isinstance(hint, type) and hint in (str, int, bool) and type(value) is not hint:
        raise ValueError(f"expected {hint.__name__}, got {value!r:.80}")
    return value
