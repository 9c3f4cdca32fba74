"""Processes that end when their parent does, and waiting for one that may end without a word."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

_LOOK_EVERY_S = 1.0
"""How often a process that says nothing is asked whether it is still there."""
_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.2


def end_with_parent(parent: int) -> None:
    """End this process when the one with that id, its parent, has ended, or has ended already.

    On Linux the kernel does it at once, whatever this process is at. It does so too when the thread ends that started this
    process, so that one has to wait for it. Elsewhere a thread looks after the parent.
    """
    if sys.platform != "linux":
        threading.Thread(target=_await_end, args=(parent,), daemon=True).start()
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def wait_readable(files: Sequence[int], ended: Callable[[], bool]) -> list[int]:
    """Wait until any of the files can be read, and return those that can; none once ``ended()``, which is asked every second.

    That a process has ended need not make its pipe readable: what it started may live on and hold the other end open.
    """
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    while True:
        over = ended()  # asked first, so that what was written before the end is seen
        found = [file for file, _ in poll.poll(0 if over else _LOOK_EVERY_S * 1000)]
        if found or over:
            return found


def _await_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
