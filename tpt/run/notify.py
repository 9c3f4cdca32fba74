"""Tells commands of the user's how a run goes. Whatever a command does, the run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any

from tpt.system.terminal import printable, tell


def notify(key: str, command: str, told: dict[str, Any], *, timeout_s: float) -> None:
    """Run a command by the shell with JSON on its standard input; what goes wrong is one line on stderr.

    After ``timeout_s`` the command, and what it has started, are ended; ``key`` is the config's that names it.
    """
    try:
        _run(command, json.dumps(told) + "\n", timeout_s)
    except subprocess.TimeoutExpired:
        say_harmless(f"{key}: {command!r} was ended after {timeout_s:g} s (notify.timeout_s)")
    except subprocess.CalledProcessError as error:
        last = str(error.stderr).strip().rpartition("\n")[2]
        say_harmless(f"{key}: {command!r} ended with exit code {error.returncode}{': ' if last else ''}{last[-300:]}")
    except (OSError, ValueError) as error:
        say_harmless(f"{key}: {command!r} could not be run: {error}")


def _run(command: str, told: str, timeout_s: float) -> None:
    # Files and not pipes: a command that reads nothing, or leaves a process behind, holds nobody up.
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+", errors="replace") as said:
        given.write(told)
        given.seek(0)
        # Its own session: Ctrl-C is for the run, and at the time limit all that the command has started ends with it.
        process = subprocess.Popen(
            command, shell=True, stdin=given, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        )
        try:
            code = process.wait(timeout_s)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if code:
            said.seek(0)
            raise subprocess.CalledProcessError(code, command, stderr=said.read())


def say_harmless(said: str) -> None:
    """Say on stderr what went wrong beside a run."""
    tell(f"{printable(said)}; the run is not affected", sys.stderr)
