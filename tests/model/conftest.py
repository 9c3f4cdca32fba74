"""A tiny model to load."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_checkpoints import save_llama


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a tiny model and its tokenizer."""
    return save_llama(tmp_path)
