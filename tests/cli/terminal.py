"""The command line at a real terminal of a given width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

from command_line import ENTRY

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def at_terminal(columns: int, *arguments: object, timeout_s: float = 120) -> tuple[int, list[str]]:
    """Return the exit code, and the lines that came out, without what sets colours and moves the cursor."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [*ENTRY, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    out, deadline = b"", time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                data = os.read(ours, 1 << 16)
            except OSError:  # the last one at the other end is gone
                break
            if not data:
                break
            out += data
        return process.wait(10), _ESCAPES.sub("", out.decode()).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
