"""A disk that fails where it is told to: every call that changes a folder is counted, logged, and made to fail.

The files are real, in a folder of the memory's file system; what is simulated is what goes wrong. A process that is
killed dies in the middle of a call, half of a write done, and does nothing after it, whatever handlers it has. Writes of
native code, such as weights that torch saves, are not seen.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

Fault = Literal["EIO", "ENOSPC", "short", "kill"]
"""``EIO``: the call fails, once. ``ENOSPC``: it fails, and so does all that needs room after it. ``short``: a write takes
half of what it is given, then the disk is full. ``kill``: the process dies in the call."""
NEEDS_ROOM = ("write", "create", "mkdir")
_CREATES = os.O_CREAT | os.O_WRONLY | os.O_RDWR
_REAL = {
    name: getattr(os, name)
    for name in (
        "open",
        "replace",
        "rename",
        "unlink",
        "remove",
        "rmdir",
        "mkdir",
        "truncate",
        "ftruncate",
        "fsync",
        "pwrite",
    )
}
_OPEN = io.open


class Killed(BaseException):
    """The simulated process is dead."""


@dataclass(frozen=True, slots=True)
class Op:
    """A call that changed the disk: create, write, truncate, fsync, rename, unlink, mkdir or rmdir."""

    kind: str
    path: str
    """Relative to the disk's folder."""
    target: str = ""
    data: bytes = b""
    at: int = 0
    """Offset of a write, size of a truncation."""


@dataclass(slots=True)
class Disk:
    """The disk of a folder, for as long as the context lasts."""

    root: Path
    faults: Mapping[int, Fault] = field(default_factory=dict)
    """Number of a call, from 1, to what becomes of it."""
    log: list[Op] = field(default_factory=list)
    is_dead: bool = False
    is_full: bool = False

    def __enter__(self) -> Disk:
        for name in _REAL:
            setattr(os, name, getattr(self, f"_{name}"))
        io.open = builtins.open = self._io_open  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_dead = True
        for name, real in _REAL.items():
            setattr(os, name, real)
        io.open = builtins.open = _OPEN

    def _inside(self, path: Any, folder: int | None = None) -> str | None:
        """Return the path relative to the disk's folder; None for one outside of it."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        path = os.fspath(path)
        if folder is not None and not os.path.isabs(path):
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
        relative = os.path.relpath(path, self.root)
        return None if relative.startswith("..") else relative

    def _act(self, op: Op, do: Callable[[bytes], Any]) -> Any:
        """Do a call, unless it is to fail."""
        if self.is_dead:
            raise Killed
        self.log.append(replace(op, kind="nothing"))
        fault = self.faults.get(len(self.log))
        self.is_full |= fault in ("ENOSPC", "short")
        self.is_dead = fault == "kill"
        if fault in ("short", "kill"):
            op = replace(op, data=op.data[: len(op.data) // 2])
        number = errno.EIO if fault == "EIO" else errno.ENOSPC if self.is_full and op.kind in NEEDS_ROOM else 0
        if fault == "ENOSPC" or (fault == "short" and not op.data):
            number = errno.ENOSPC
        if number and not (fault == "short" and op.data):
            raise OSError(number, os.strerror(number), str(self.root / op.path))
        if self.is_dead and not op.data:
            raise Killed
        done = do(op.data)  # where the system itself refuses, such as for want of a file, nothing was done
        self.log[-1] = op
        if self.is_dead:
            raise Killed
        return done

    def _on_path(self, kind: str, name: str, path: Any, **options: Any) -> Any:
        inside = self._inside(path, options.get("dir_fd"))
        if inside is None:
            return _REAL[name](path, **options)
        return self._act(Op(kind, inside), lambda _: _REAL[name](path, **options))

    def _unlink(self, path: Any, **options: Any) -> None:
        self._on_path("unlink", "unlink", path, **options)

    _remove = _unlink

    def _rmdir(self, path: Any, **options: Any) -> None:
        self._on_path("rmdir", "rmdir", path, **options)

    def _mkdir(self, path: Any, mode: int = 0o777, **options: Any) -> None:
        if self.is_dead or not os.path.isdir(path):
            self._on_path("mkdir", "mkdir", path, mode=mode, **options)
        else:
            _REAL["mkdir"](path, mode, **options)

    def _replace(self, source: Any, target: Any, **options: Any) -> None:
        before, after = self._inside(source), self._inside(target)
        if before is None or after is None:
            _REAL["replace"](source, target, **options)
        else:
            self._act(Op("rename", before, after), lambda _: _REAL["replace"](source, target, **options))

    _rename = _replace

    def _truncate(self, path: Any, size: int) -> None:
        inside = self._inside(path)
        if inside is None or isinstance(path, int):
            _REAL["truncate"](path, size)
        else:
            self._act(Op("truncate", inside, at=size), lambda _: _REAL["truncate"](path, size))

    def _ftruncate(self, descriptor: int, size: int) -> None:
        inside = self._inside(descriptor)
        if inside is None:
            _REAL["ftruncate"](descriptor, size)
        else:
            self._act(Op("truncate", inside, at=size), lambda _: _REAL["ftruncate"](descriptor, size))

    def _fsync(self, descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        inside = self._inside(number)
        if inside is None:
            _REAL["fsync"](number)
        else:
            self._act(Op("fsync", inside), lambda _: None)  # on real disks it would take its time

    def _pwrite(self, descriptor: int, data: bytes, at: int) -> int:
        inside = self._inside(descriptor)
        if inside is None:
            return int(_REAL["pwrite"](descriptor, data, at))
        return int(
            self._act(Op("write", inside, data=bytes(data), at=at), lambda part: _REAL["pwrite"](descriptor, part, at))
        )

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        inside = self._inside(path, dir_fd) if flags & _CREATES else None
        if inside is None or os.path.isdir(
            path
        ):  # O_TMPFILE names a folder: such a file is never seen by another process
            return int(_REAL["open"](path, flags, mode, dir_fd=dir_fd))
        if os.path.exists(path) and not flags & os.O_TRUNC:
            return int(_REAL["open"](path, flags, mode, dir_fd=dir_fd))
        return int(self._act(Op("create", inside), lambda _: _REAL["open"](path, flags, mode, dir_fd=dir_fd)))

    def _io_open(self, file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
        names_file = not isinstance(file, int) and "opener" not in options and set(mode) & set("wax+")
        inside = self._inside(file) if names_file else None
        if inside is None:
            return _OPEN(file, mode, buffering, *rest, **options)
        plain = mode.replace("b", "").replace("t", "")
        if "w" in mode or not os.path.exists(file):
            raw: _File = self._act(Op("create", inside), lambda _: _File(file, plain))
        elif self.is_dead:
            raise Killed
        else:
            raw = _File(file, plain)
        raw.on(self, inside)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *rest, **options)


class _File(io.FileIO):
    """A file whose writes the disk sees."""

    def on(self, disk: Disk, inside: str) -> None:
        self._disk, self._inside = disk, inside

    def write(self, data: Any, /) -> int:
        whole = bytes(data)
        if self._disk.is_dead:
            return len(whole)  # what buffers flush while the dead process is taken apart reaches nothing
        at = os.fstat(self.fileno()).st_size if "a" in self.mode else self.tell()
        return int(self._disk._act(Op("write", self._inside, data=whole, at=at), super().write))


def tree(root: Path) -> dict[str, bytes | None]:
    """Return the files of a folder by their relative paths; None for folders."""
    found = {}
    for path in sorted(root.rglob("*")):
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
        found[path.relative_to(root).as_posix()] = None if is_folder else path.read_bytes()
    return found


def plant(root: Path, files: Mapping[str, bytes | None]) -> None:
    """Make a folder hold these files, in the order of their paths."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in sorted(files.items()):
        if content is None:
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
