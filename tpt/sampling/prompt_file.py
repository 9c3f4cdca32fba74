"""Prompt ids of any number of problems: on disk, in a file without a name, for a million prompts are gigabytes."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType


class PromptFile(Mapping[str, tuple[int, ...]]):
    """Problem id to prompt ids, for as long as the context lasts."""

    longest: int
    """Tokens of the longest prompt; 0 without any."""

    def __init__(self, prompts: Iterable[tuple[str, Sequence[int]]], folder: Path) -> None:
        """Take (problem id, prompt ids); the file lies in ``folder``."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed on leaving the context)
        self._row: dict[str, int] = {}
        self._ends = array("q", [0])
        self.longest = 0
        try:
            for problem_id, token_ids in prompts:
                data = array("i", token_ids).tobytes()
                self._file.write(data)
                self._row[problem_id] = len(self._row)
                self._ends.append(self._ends[-1] + len(data))
                self.longest = max(self.longest, len(token_ids))
            self._file.flush()
        except BaseException:
            self._file.close()
            raise

    def __getitem__(self, problem_id: str) -> tuple[int, ...]:
        row = self._row[problem_id]
        start, end = self._ends[row], self._ends[row + 1]
        token_ids = array("i")
        token_ids.frombytes(os.pread(self._file.fileno(), end - start, start))
        return tuple(token_ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __enter__(self) -> PromptFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
