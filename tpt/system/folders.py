"""Folders that are on disk before they are named, so that they appear complete or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def take_place(partial: Path, out: Path) -> None:
    """Bring a finished folder to the disk and give it its name; whatever had that name is gone only after that."""
    replaced = out.with_name(out.name + ".replaced")
    sync_folder(partial)
    if out.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        out.rename(replaced)
    partial.rename(out)
    sync_names(out.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Have the content of a folder's files written through to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_names(folder)


def sync_names(folder: Path) -> None:
    """Have the names in a folder written through to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
