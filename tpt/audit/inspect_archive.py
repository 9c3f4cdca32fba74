"""The samples of an inspect_ai log in its own format: a ZIP archive with a JSON document a sample.

Nothing of an archive is believed or written to disk: names are only compared, sizes only allowed up to a limit.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from tpt.errors import ProblemError
from tpt.problems.rows import Row, parse_json, utf8_text

MOST_BYTES = 2**26
"""Of one sample, unpacked."""
MOST_RATIO = 400
"""Of unpacked to packed bytes; text is packed to a tenth, a bomb to a thousandth."""
_NAME = re.compile(r"samples/[^/]+\.json")
_ZSTANDARD = 93
_LOCAL_HEADER = struct.Struct("<26xHH")


def archive_rows(path: Path) -> Iterator[Row]:
    """Yield the samples of an archive, in the order of their names.

    Raises:
        ProblemError: the file is no such archive, is damaged, or unpacks to more than a log can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = sorted((each for each in archive.infolist() if _NAME.fullmatch(each.filename)), key=_place)
            if not infos:
                raise ProblemError(f"{path}: no samples in it; expected an inspect_ai log with samples/*.json")
            _require_bounded(path, infos)
            for info in infos:
                where = f"{path}, {info.filename[:200]!r}"
                value = parse_json(utf8_text(_unpacked(path, archive, info), where), where)
                if not isinstance(value, dict):
                    raise ProblemError(f"{where}: expected a JSON object with one sample")
                yield Row(where, value)
    except ProblemError:
        raise
    except FileNotFoundError:
        raise ProblemError(f"{path}: no such file") from None
    # What a damaged archive can raise, an encrypted one too.
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise ProblemError(f"{path}: not a readable inspect_ai log: {error}") from None


def _place(info: zipfile.ZipInfo) -> tuple[int, str]:
    return len(info.filename), info.filename


def _require_bounded(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Refuse a bomb before anything is unpacked; entries may share their packed bytes, so their sum counts too."""
    packed, unpacked = path.stat().st_size, sum(each.file_size for each in infos)
    largest = max(infos, key=lambda each: each.file_size)
    if largest.file_size > MOST_BYTES or unpacked > MOST_RATIO * packed:
        raise ProblemError(
            f"{path}: {packed:,} bytes that unpack to {unpacked:,}, {largest.file_size:,} of them {largest.filename[:80]!r}. "
            f"Allowed: {MOST_RATIO} times its size, {MOST_BYTES:,} for a sample. Write the log again without its events"
        )


def _unpacked(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with archive.open(info) as file:
            return file.read(info.file_size)
    if info.compress_type != _ZSTANDARD:
        raise ProblemError(f"{path}, {info.filename[:80]!r}: packed in a way ({info.compress_type}) that no log is")
    import pyarrow

    # zipfile of this Python knows no Zstandard, in which inspect_ai packs: the packed bytes lie behind the local header.
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        file.seek(name + extra, 1)
        packed = file.read(info.compress_size)
    with pyarrow.input_stream(pyarrow.py_buffer(packed), compression="zstd") as stream:
        return bytes(stream.read(info.file_size))  # never more than the size that was checked
