"""Runs programs that nobody trusts, each in a fresh confined process.

A sandbox is one bubblewrap container with a warm fork server in it. It has no network, no home directory, no environment
of the parent, no other processes, and a read-only system. Every task in it is a new process in a process namespace of
its own, with an empty /tmp of limited size, no capability, no way to gain one, no system call for new processes or
sockets, and limits on processor time, memory, threads, open files and bytes written. When it ends, all of it is gone.

What it does not protect from:

- holes in the kernel: the programs run on it, with fewer system calls but not few; use a virtual machine for those;
- holes in the processor and other side channels (timing, caches), and weak fingerprints of the machine: its kernel
  version, processor and load can be seen, and the files of /usr and of the Python installation can be read, but for the
  current folder, run directories and problem files, which are covered where they lie there (bubblewrap.hide);
- heat: a task uses one processor fully until its time is up, and memory bandwidth with it; several sandboxes at once use
  several times the memory limit;
- weak tests: a program that returns the right value for the wrong reason is right, and a test that accepts everything
  accepts everything;
- knowledge of the test inputs: a program sees the arguments of its calls (never the values expected of them), and may
  tell a test from real use;
- answers through the truth of objects: a test that asks only ``assert f(x)`` learns only what the program says.

The mode "rlimits" has no bubblewrap: same processes, limits and forbidden system calls, but a task can read every file
of the user, see and signal the user's other processes, and leave files behind. It is for programs you would run anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Mode = Literal["bubblewrap", "rlimits"]
Stop = Literal["", "cpu", "wall", "threads"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may use."""

    cpu_s: float
    """Processor time, which does not depend on what else the machine does."""
    memory_mb: int
    """Memory on top of the interpreter's own."""
    output_bytes: int = 16 << 20
    """Largest file it may write: standard output, standard error and each file in /tmp."""
    tmp_bytes: int = 64 << 20
    may_wait: bool = False
    """Whether time asleep is free: a tester waits for its program."""


@dataclass(frozen=True, slots=True)
class Task:
    """One process to run: what it does (``spec``, JSON for the program inside), its standard input and its limits."""

    spec: dict[str, Any]
    limits: Limits
    stdin: bytes = b""


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a task, as the kernel and its files tell it."""

    exit_code: int | None
    signal: int | None
    """The signal it died of, None when it exited or was stopped here."""
    stopped: Stop
    """The limit it was stopped at."""
    cpu_s: float
    stdout: bytes = field(repr=False)
    error: str
    """The end of its standard error."""
    result: bytes = field(repr=False)
    output_limit: bool
    """Whether its standard output is as long as it may be."""
