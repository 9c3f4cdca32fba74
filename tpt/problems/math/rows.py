"""What published problem sets share: rows from the Hub, and local files under their usual names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from tpt.errors import ProblemError
from tpt.problems.rows import Row, cell_text, read_rows, to_cell
from tpt.problems.spec import TABLE_SUFFIXES, Spec, table_suffix
from tpt.system.hub_reach import cache_alone_when_offline

_LONGEST_NUMBER = 60


def local_path(spec: Spec) -> Path | None:
    """Return the path that a spec names after its colon; None for the Hub."""
    return Path(spec.rest).expanduser() if spec.rest else None


@dataclass(frozen=True, slots=True)
class Hub:
    """Where a data set lives on the Hugging Face Hub."""

    id: str
    """Such as ``openai/gsm8k``."""
    splits: tuple[str, ...] = ()
    config: str | None = None
    """The Hub's name of the subset."""
    files: str = ""
    """For data sets behind a loading script, which is never run: the JSONL files, ``{split}`` being the split."""


def iter_hub_rows(hub: Hub, split: str, *, instead: str) -> Iterator[Row]:
    """Yield the rows of a data set's split one by one, for data sets larger than memory.

    ``instead`` is a sentence for the error message: what to do where there is no Hub.

    Raises:
        ProblemError: it cannot be loaded.
    """
    import datasets

    try:
        with cache_alone_when_offline():
            if hub.files:
                dataset = datasets.load_dataset("json", data_files=hub.files.format(split=split), split="train")
            else:
                dataset = datasets.load_dataset(hub.id, hub.config, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ProblemError(
            f"{hub.id} could not be loaded from the Hugging Face Hub: {error}. Without the Hub, {instead}"
        ) from error
    name = ", ".join(part for part in (hub.id, hub.config, split) if part)
    for number, cells in enumerate(dataset, start=1):
        where = f"{name}, row {number}"
        yield Row(where, {column: to_cell(value, where) for column, value in cells.items()})


def hub_rows(hub_id: str, split: str, *, config: str | None = None, instead: str) -> list[Row]:
    """Load a split of a data set, as ``iter_hub_rows`` yields it."""
    return list(iter_hub_rows(Hub(hub_id, config=config), split, instead=instead))


def split_of_name(path: Path, splits: Sequence[str]) -> str | None:
    """Return the split that a file's name speaks of; None for folders, and where it names none or several."""
    words = re.split(r"[^a-z]+", path.stem.lower())
    named = [split for split in splits if split in words]
    return named[0] if len(named) == 1 and table_suffix(path) else None


def local_rows(path: Path, *, title: str, stems: Sequence[str], folders: Sequence[str] = ()) -> list[Row]:
    """Read a file, or the first file of a folder that has one of the usual names.

    ``stems`` are file names without their suffix; a download of the Hub's Parquet files is found by ``STEM-*.parquet``,
    in the subfolders ``folders`` too. ``title`` is the problem set's, for the error message.

    Raises:
        ProblemError: there is no such file, or it cannot be read.
    """
    if not path.is_dir():
        return read_rows(path)
    candidates = [path / f"{stem}{suffix}" for stem in stems for suffix in TABLE_SUFFIXES]
    for folder in (path, *(path / each for each in folders)):
        candidates += [file for stem in stems for file in sorted(folder.glob(f"{stem}-*.parquet"))]
    for candidate in candidates:
        if candidate.is_file():
            return read_rows(candidate)
    there = ", ".join(sorted(each.name for each in path.iterdir())[:20]) or "nothing"
    named = ", ".join(f"{stem}.jsonl" for stem in stems)
    raise ProblemError(f"{path}: no {title} here; looked for {named} and the like. The folder holds: {there}.")


def require_texts(row: Row, title: str, columns: Sequence[str]) -> list[str]:
    """Return the texts of columns that must all be there.

    Raises:
        ProblemError: one is missing or empty.
    """
    texts = [cell_text(row, column) or "" for column in columns]
    if not all(text.strip() for text in texts):
        raise ProblemError(
            f"{row.where}: no {title} row; expected text in {', '.join(columns)}, got columns {', '.join(row.cells)}."
        )
    return texts


def without_exponent(row: Row, text: str) -> str:
    """Return a number without exponent and without a fraction of zeros: ``51.0`` is ``51``.

    Raises:
        ProblemError: it is no number.
    """
    try:
        number = Decimal(text.strip())
        if not number.is_finite() or abs(number.adjusted()) > _LONGEST_NUMBER:
            raise InvalidOperation
    except InvalidOperation:
        raise ProblemError(f"{row.where}: the answer {text[:80]!r} is not a number.") from None
    plain = f"{number:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
