"""Reading a GGUF file's header at the speed of its bytes.

A vocabulary is hundreds of thousands of short strings, and the reader of the package gguf cuts each out of a ``numpy.memmap``,
which takes four times as long as out of a plain array on the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gguf
import numpy as np


class _PlainReader(gguf.GGUFReader):
    """The package's reader, with the file's bytes as a plain array."""

    @property
    def data(self) -> Any:
        """The file's bytes."""
        return self._bytes

    @data.setter
    def data(self, mapped: Any) -> None:
        self._bytes = np.asarray(mapped)


@contextmanager
def plain_arrays() -> Iterator[None]:
    """Have transformers read GGUF files by plain arrays."""
    kept, gguf.GGUFReader = gguf.GGUFReader, _PlainReader  # type: ignore[misc]
    try:
        yield
    finally:
        gguf.GGUFReader = kept  # type: ignore[misc]
