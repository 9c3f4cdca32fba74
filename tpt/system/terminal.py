"""Text for a terminal: as wide as it is, tables that leave out columns by priority, nothing that it would obey."""

from __future__ import annotations

import os
import textwrap
import unicodedata
from collections.abc import Collection, Sequence
from typing import TextIO

_GAP = "  "
_UNKNOWN_WIDTH = 80


def columns_of(stream: TextIO) -> int | None:
    """Return how many columns a stream's terminal has; None where it is no terminal: lines may be of any length."""
    if not stream.isatty():
        return None
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isascii() and wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _UNKNOWN_WIDTH
    except OSError:
        return _UNKNOWN_WIDTH


def tell(text: str, stream: TextIO) -> None:
    """Print sentences, broken at words where the stream is a terminal."""
    print(wrapped(text, columns_of(stream)), file=stream, flush=True)


def wrapped(text: str, width: int | None, *, hanging: str = "  ") -> str:
    """Return lines broken at words; what follows the break is indented like its line, and by ``hanging`` more.

    A word longer than a line, such as a path, is never broken.
    """
    if width is None:
        return text
    return "\n".join(_broken(line, width, hanging) for line in text.split("\n"))


def text_table(
    rows: Sequence[Sequence[str]], *, width: int | None = None, left: Collection[int] = (0,), drop: Sequence[int] = ()
) -> list[str]:
    """Return rows as aligned columns, the first row being the headings.

    Args:
        rows: All of the same length.
        width: Characters that a line may take; None: as many as it needs.
        left: Columns of words; the others are aligned to the right.
        drop: Columns that may be left out where there is no room, the first to go first; which ones were is said below
            the table. Where that does not suffice, each row is written as lines of ``heading: value``.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown, dropped = list(range(len(widths))), []
    for column in drop:
        if width is None or _line_width(widths, shown) <= width:
            break
        shown.remove(column)
        dropped.append(column)
    if width is not None and _line_width(widths, shown) > width:
        return _as_blocks(rows, width)
    lines = [
        _GAP.join(row[at].ljust(widths[at]) if at in left else row[at].rjust(widths[at]) for at in shown).rstrip()
        for row in rows
    ]
    names = [rows[0][at] for at in sorted(dropped) if rows[0][at] and any(row[at] for row in rows[1:])]
    if names:
        said = f"(no room for: {', '.join(names)}; a wider terminal, a pipe or --format json shows them)"
        lines += wrapped(said, width, hanging=" ").split("\n")
    return lines


def printable(text: str) -> str:
    """Return model output without anything a terminal would obey: control, bidi and invisible format characters."""
    return "".join(char if char in "\n\t" or not _is_control(char) else f"\\u{{{ord(char):x}}}" for char in text)


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _line_width(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[at] for at in shown) + len(_GAP) * (len(shown) - 1)


def _as_blocks(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    lines = []
    for row in rows[1:]:
        pairs = [(name, value) for name, value in zip(rows[0], row, strict=True) if value]
        for number, (name, value) in enumerate(pairs):
            lead = "" if number == 0 else "  "
            lines += wrapped(f"{lead}{name}: {value}" if name else f"{lead}{value}", width).split("\n")
    return lines


def _broken(line: str, width: int, hanging: str) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(),
        max(width, len(indent) + len(hanging) + 20),
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
