"""Records on disk: append, read, replace. A torn last line is work still owed, never a crash."""

from __future__ import annotations

import hashlib
import json
import os
import types
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from tpt.errors import RunError
from tpt.records import Example, Trace, Verdict
from tpt.system.folders import beside, sync_names

R = TypeVar("R")
_WITHOUT_FLOATS = (Trace, Verdict, Example)
"""What comes by the million. Python and msgspec write floats differently (1e-05, 0.00001), and files stay as they are."""
_ENCODER = msgspec.json.Encoder()


def to_line(record: Any) -> bytes:
    """Return a record as one line of JSON, keys in the order of its fields."""
    if isinstance(record, _WITHOUT_FLOATS):
        try:
            return msgspec.json.format(_ENCODER.encode(record), indent=0) + b"\n"
        except UnicodeEncodeError:
            pass
    return _as_json(record)


def to_table(record: Any) -> Any:
    """Return a record, or anything made of records, as plain JSON values."""
    return msgspec.to_builtins(record, str_keys=True, enc_hook=_as_builtin)


def from_table(kind: type[R], table: Any) -> R:
    """Build a record from plain JSON values.

    Raises:
        ValueError: a field is missing, unknown, or of the wrong type.
    """
    try:
        return msgspec.convert(table, kind, str_keys=True)
    except msgspec.ValidationError:
        raise ValueError(_fault(kind, table)) from None


def append_record(file: BinaryIO, record: Any) -> None:
    """Write one record as one line and hand it to the operating system at once."""
    append_records(file, [record])


def append_records(file: BinaryIO, records: Iterable[Any]) -> None:
    """Write records, a line each, and hand them to the operating system together."""
    file.writelines(map(to_line, records))
    file.flush()


def open_append(path: Path) -> BinaryIO:
    """Open a record file for appending, cutting off a torn last line first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        whole = _whole_lines(path)
        if whole < path.stat().st_size:
            os.truncate(path, whole)
    return path.open("ab")


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
    decode = msgspec.json.Decoder(kind).decode
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = decode(line)
                except (ValueError, RecursionError):
                    record = _read_line(path, number, kind, line)
                yield record, line
    except FileNotFoundError:
        raise RunError(f"{path}: no such file") from None


def replace_records(path: Path, records: Iterable[Any]) -> int:
    """Write a whole record file atomically; return its lines."""
    return replace_lines(path, map(to_line, records))


def replace_lines(path: Path, lines: Iterable[bytes]) -> int:
    """Write a whole file atomically: a reader sees the old file or the new one, never a part; return its lines."""
    partial = beside(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with partial.open("wb") as file:
            for count, line in enumerate(lines, start=1):  # noqa: B007  # the last one is returned
                file.write(line)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    # What is written next, such as a manifest, must not outlive this name when the power fails.
    sync_names(path.parent)
    return count


def drop_unwritten(path: Path) -> None:
    """Take out the lines that hold zero bytes: pages that were never written when the power failed; JSON has none."""
    with path.open("rb") as file:
        if any(b"\0" in chunk for chunk in iter(lambda: file.read(1 << 20), b"")):
            file.seek(0)
            replace_lines(path, (line for line in file if b"\0" not in line))


def write_json(path: Path, table: Any) -> None:
    """Write an indented JSON file atomically."""
    replace_lines(path, [_as_json(table, indent=2)])


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    replace_lines(path, [text.encode()])


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Write a text file atomically, part by part, for one too large to be put together in memory."""
    replace_lines(path, (part.encode() for part in parts))


def count_lines(path: Path) -> int:
    """Return how many lines a file has."""
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


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


def _as_builtin(value: object) -> object:
    """Return what a library's own kind of text or number, such as torch's version, is to JSON."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def _as_json(record: Any, indent: int | None = None) -> bytes:
    table = to_table(record)
    try:
        return f"{json.dumps(table, ensure_ascii=False, indent=indent)}\n".encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8 form; escaped, it can be written.
        return f"{json.dumps(table, indent=indent)}\n".encode()


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


def _read_line(path: Path, number: int, kind: type[R], line: bytes) -> R:
    """Read what msgspec does not, NaN and halves of surrogate pairs, or say what is wrong with the line."""
    try:
        return from_table(kind, json.loads(line))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}, line {number}: not a {kind.__name__} record: {error}") from None


def _fault(hint: Any, value: Any) -> str:
    """Return what is wrong with a value that is not of a type, at the innermost place."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        # Of a number, float is what is told; of the others, what is not None.
        hint = next(each for each in typing.get_args(hint) if each is not type(None))
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    is_record = isinstance(hint, type) and issubclass(hint, msgspec.Struct)
    inner: Iterable[tuple[Any, Any]] = ()
    if is_record and isinstance(value, dict):
        hints = typing.get_type_hints(hint)
        if unknown := value.keys() - hints.keys():
            return f"unknown field {min(unknown)!r}; {hint.__name__} has {', '.join(hints)}"
        missing = [each.name for each in msgspec.structs.fields(hint) if each.required and each.name not in value]
        if missing:
            fields = f"{len(missing)} required field{'s' * (len(missing) > 1)}"
            return f"{hint.__name__} missing {fields}: {', '.join(map(repr, missing))}"
        inner = ((hints[name], each) for name, each in value.items())
    elif origin is list and isinstance(value, list):
        inner = ((arguments[0], each) for each in value)
    elif origin is dict and isinstance(value, dict):
        inner = ((arguments[1], each) for each in value.values())
    for kind, each in inner:
        try:
            msgspec.convert(each, kind, str_keys=True)
        except msgspec.ValidationError:
            return _fault(kind, each)
    if origin is typing.Literal or issubclass(origin, Enum):
        allowed = arguments or [each.value for each in origin]
        return f"{value!r} is none of {', '.join(map(repr, allowed))}"
    return f"expected {'an object' if is_record else origin.__name__}, got {value!r:.80}"
