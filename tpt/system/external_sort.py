"""Sort more lines than memory holds: sorted parts go to a nameless temporary file and are merged from there.

The file has no name, so whatever ends the process, the kernel takes it away.
"""

from __future__ import annotations

import heapq
import marshal
import os
import tempfile
from collections.abc import Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

Row = tuple[str, int, bytes]
"""A problem id, a sample, and the line of the record that they are the key of."""

PART_BYTES = 2**27
"""Memory of the rows that are sorted at once."""
_ROW_BYTES = 250
"""What a row takes besides its line, about."""
_BLOCK_BYTES = 2**16
"""What is read back at once of each part; a block has one row at least."""
_KEY = itemgetter(0, 1)


def sorted_rows(rows: Iterable[Row], folder: Path, *, part_bytes: int = PART_BYTES) -> Iterator[Row]:
    """Yield rows in the order of their keys, rows of equal keys in the order they came.

    Memory is bounded by ``part_bytes`` and a block of every part; ``folder`` holds the rest while it is needed.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        parts: list[list[tuple[int, int]]] = []
        rest: list[Row] = []
        size = 0
        for row in rows:
            rest.append(row)
            size += len(row[2]) + _ROW_BYTES
            if size >= part_bytes:
                parts.append(_stored(sorted(rest, key=_KEY), file))
                rest, size = [], 0
        rest.sort(key=_KEY)
        yield from heapq.merge(*(_read_back(file, blocks) for blocks in parts), rest, key=_KEY)


def _stored(rows: list[Row], file: BinaryIO) -> list[tuple[int, int]]:
    """Write a sorted part; return (offset, size) of its blocks."""
    blocks: list[tuple[int, int]] = []
    block: list[Row] = []
    size = 0
    for index, row in enumerate(rows, start=1):
        block.append(row)
        size += len(row[2]) + _ROW_BYTES
        if size >= _BLOCK_BYTES or index == len(rows):
            data = marshal.dumps(block)
            blocks.append((file.tell(), len(data)))
            file.write(data)
            block, size = [], 0
    file.flush()
    return blocks


def _read_back(file: BinaryIO, blocks: list[tuple[int, int]]) -> Iterator[Row]:
    for offset, size in blocks:
        yield from marshal.loads(os.pread(file.fileno(), size, offset))
