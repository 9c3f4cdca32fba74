"""How much memory there is, how much was taken, and what running out of it looks like."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""What mallopt(3) calls them."""
_LARGE, _MOST_LARGE = 2**25, 2**16
"""Bytes, the highest threshold that glibc takes, and how many such blocks there may be."""
_FREE_AT_THE_TOP = 2**27
"""Bytes at the end of the heap that may stay free."""
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
_VERSION_2 = ("memory.max", "memory.current")


def available_bytes(device: torch.device) -> int | None:
    """Return the memory that is free now: of the GPU, or of this machine within its control groups' limits.

    None where the system does not say, as outside of Linux.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    here = _field(_MEMINFO, "MemAvailable")
    return min([*([] if here is None else [here]), *group_limits(_CGROUPS, _MEMBERSHIP)], default=None)


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes held at once: by torch on the GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = _field(_STATUS, "VmHWM")  # getrusage would count what the parent held when it forked
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def give_back_large_blocks() -> None:
    """Have the C library hand blocks of 32 MiB and more, and the end of the heap, back to the kernel once they are freed.

    A process that keeps them, as stages do for speed, cannot join the holes between them: training on a vocabulary of
    256,000 then peaks 40 % above what it has allocated, and the longest row of a long training stays for ever. Does
    nothing where the C library is not glibc.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_TRIM_THRESHOLD, _FREE_AT_THE_TOP)
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_MMAP_MAX, _MOST_LARGE)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether torch ran out of memory; on CPUs it says so only in words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in said or "not enough memory" in said)


def group_limits(root: Path, membership: Path) -> list[int]:
    """Return the bytes that a process's control groups, and those above them, leave free; both versions' are read.

    The groups are mounted at ``root``; ``membership`` is the process's ``/proc/PID/cgroup``.
    """
    if not membership.is_file():
        return []
    found: list[int] = []
    for line in membership.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        place = top / path.lstrip("/")
        for folder in (place, *place.parents):
            limit, used = (folder / name for name in (_VERSION_1 if controllers else _VERSION_2))
            if limit.is_file() and used.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():
                found.append(max(0, int(text) - int(used.read_text(encoding="ascii"))))
            if folder == top:
                break
    return found


def _field(file: Path, name: str) -> int | None:
    """Return the bytes that one of the kernel's tables gives in kB; None where there is no such table or line."""
    if not file.is_file():
        return None
    lines = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines() if ":" in line)
    return int(lines[name].split()[0]) * 1024 if name in lines else None
