"""Folders that are on disk before they are named, so that they appear complete or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

_NO_FSYNC_OF_FOLDERS = (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_INSTEAD = {
    **dict.fromkeys(_FULL, "Make room there, or use another disk"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Get the right to it, or name another path"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG), "Name another path"),
}
"""What to do about an error of the system."""


def io_fault(error: BaseException) -> str | None:
    """Return what the system said where an error, or one that it comes from, is of reading or writing files; else None."""
    if isinstance(error, OSError):
        return said_of(error)
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, OSError) and each.errno in _FULL:
            return said_of(each)
        # safetensors says "(os error 28)"; torch says neither number nor reason.
        if found := re.search(r"\(os error ([0-9]+)\)", str(each)):
            return os.strerror(int(found[1]))
        if "PytorchStreamWriter failed writing" in str(each) or "file write failed" in str(each):
            return "a file could not be written, as happens on a full disk"
        each = each.__cause__ or each.__context__
    return None


def said_of(error: OSError) -> str:
    """Return an error of the system as a sentence: which path, what is wrong, what to do."""
    if not error.strerror:
        return str(error)
    # Of two paths, such as those of a renaming, the second is the one that was asked for.
    path = error.filename if error.filename2 is None else error.filename2
    said = error.strerror if path is None else f"{os.fsdecode(path)}: {error.strerror}"
    return f"{said}. {_INSTEAD[error.errno]}" if error.errno in _INSTEAD else said


def beside(path: Path, what: str = "partial") -> Path:
    """Return the hidden name beside a path under which it is written, or lies while it is replaced: nobody else's."""
    return path.with_name(f".{path.name}.{what}")


def take_place(partial: Path, out: Path) -> None:
    """Bring a finished folder to the disk and give it its name; whatever had that name is gone only after that."""
    replaced = beside(out, "replaced")
    sync_folder(partial)
    if out.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        out.rename(replaced)
    partial.rename(out)
    sync_names(out.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Have a folder's files, their content and their names, written through to the disk."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_names(path)
        elif path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_names(folder)


def sync_names(folder: Path) -> None:
    """Have the names in a folder written through to the disk, where its file system can be asked to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC_OF_FOLDERS:
            raise
    finally:
        os.close(descriptor)
