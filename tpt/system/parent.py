"""Processes that end when their parent does, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

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


def _await_end(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
