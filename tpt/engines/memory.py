"""How much memory there is, and what running out of it looks like."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")


def available_bytes(device: torch.device) -> int | None:
    """Return how many bytes can still be allocated: free on the GPU, or free here within the container's limit.

    None where the system does not say.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    known = [size for size in (_free_here(), _free_in_container()) if size is not None]
    return min(known, default=None)


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes held at once: by torch on the GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.is_file():  # getrusage would count what the parent held when it forked
        return _field(_STATUS, "VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_out_of_memory(error: Exception) -> bool:
    """Return whether torch ran out of memory; on CPUs it says so only in words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("can't allocate memory" in said or "not enough memory" in said)


def _free_here() -> int | None:
    return _field(_MEMINFO, "MemAvailable") if _MEMINFO.is_file() else None


def _field(file: Path, name: str) -> int:
    """Return the bytes that one of the kernel's tables gives in kB."""
    lines = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines())
    return int(lines[name].split()[0]) * 1024


def _free_in_container() -> int | None:
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if not limit.is_file() or not used.is_file():
        return None
    most = limit.read_text(encoding="ascii").strip()
    return None if most == "max" else max(0, int(most) - int(used.read_text(encoding="ascii")))
