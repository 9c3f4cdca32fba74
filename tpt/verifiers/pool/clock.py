"""What an item of work has used of its worker's time: a busy machine must change no verdict.

Only processor time counts against the limit. Time asleep counts far beyond it, and waiting for a processor never does. Where
the kernel keeps no such account (macOS), the generous wall clock alone holds.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

_SHORTEST_S = 0.02
"""No look at the account comes sooner after the last one."""


@dataclass(slots=True)
class ItemClock:
    """The account of one item, from the moment at which its process has read it."""

    pid: int
    limit_s: float
    """Processor time."""
    began: float
    cpu_before: float
    waited_before: float

    @classmethod
    def start(cls, pid: int, limit_s: float) -> ItemClock:
        """Begin the account of an item that a process has just taken up."""
        return cls(pid, limit_s, time.monotonic(), _cpu_s(pid), _waited_s(pid))

    def passed(self) -> str:
        """Return which limit has been passed, in words; empty while there is time left."""
        used, wall_s = self.used_s(), time.monotonic() - self.began
        if used >= self.limit_s:
            return f"no verdict within {self.limit_s:g} s of processor time"
        asleep_s = wall_s - used - (_waited_s(self.pid) - self.waited_before)
        if wall_s > self.longest_wall_s or asleep_s > self.longest_asleep_s:
            return f"no verdict within {wall_s:.0f} s, most of them asleep"
        return ""

    def used_s(self) -> float:
        """Return the processor time used so far; wall time where it is not known."""
        if not _KNOWN:
            return (time.monotonic() - self.began) / _WALL_PER_CPU
        return max(0.0, _cpu_s(self.pid) - self.cpu_before)

    def next_look(self) -> float:
        """Return when a limit can be passed at the earliest: nobody uses processor time faster than it goes by."""
        return time.monotonic() + max(_SHORTEST_S, self.limit_s - self.used_s())

    def on_busy_machine(self) -> bool:
        """Tell whether the item had to share its processor, so that even its processor time may be another's fault."""
        return time.monotonic() - self.began > 1.5 * self.used_s()

    @property
    def longest_asleep_s(self) -> float:
        """What an item may sleep: slow too, but only what is beyond doubt counts."""
        return 5 + 2 * self.limit_s

    @property
    def longest_wall_s(self) -> float:
        """When an item ends whatever it does."""
        return 60 + 40 * self.limit_s


_KNOWN = sys.platform.startswith("linux")
_WALL_PER_CPU = 3.0


def _cpu_s(pid: int) -> float:
    if not _KNOWN:
        return 0.0
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the kernel's clock id of a process's processor time
    except OSError:  # it ended this moment
        return 0.0


def _waited_s(pid: int) -> float:
    """Return how long a process's threads were ready to run and had no processor."""
    waited_ns = 0
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return 0.0
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/schedstat", "rb") as file:
                waited_ns += int(file.read().split()[1])
        except (OSError, IndexError):  # the thread is gone, or this kernel keeps no such account
            continue
    return waited_ns * 1e-9
