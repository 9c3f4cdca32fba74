"""Having a server serve the model that a stage samples from: the user's own command, and the wait for its effect.

Every kind of server has its own way (a restart, an adapter to load, weights to update), so tpt runs a command and
believes its exit code.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path

from tpt.engines.server.api import CompletionsAPI
from tpt.errors import EngineError

_SHOWN = 250
"""Bytes of the command's output that a message shows, the last ones."""


def run_reload(command: str, *, model: str, api: CompletionsAPI, timeout_s: float) -> None:
    """Run the command, without a shell, with ``{model}`` and ``{url}`` filled in.

    Raises:
        EngineError: it cannot be started, takes longer than ``timeout_s``, or fails.
    """
    where = str(Path(model).resolve()) if Path(model).exists() else model
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise EngineError(f"engine.reload = {api.quote(command)!r} cannot be split into words: {error}") from None
    words = [word.replace("{model}", where).replace("{url}", api.url) for word in words]
    # Into a file: the command may leave a server behind, and a pipe would stay open as long as that lives.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise EngineError(f"engine.reload: {words[0]!r} cannot be started: {error.strerror}") from None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"engine.reload: {api.quote(shlex.join(words))!r} was not through after engine.timeout_s = {timeout_s:g} "
                "s; it must come to an end when the server has the model, and leave the server in the background"
            ) from None
        finally:
            _end(process)
        output.seek(max(0, output.tell() - _SHOWN))
        said = api.quote(output.read().decode(errors="replace"))
    if code:
        raise EngineError(
            f"engine.reload: {api.quote(shlex.join(words))!r} ended with exit code {code} and said {said!r}, so the "
            "server may not have this stage's model"
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command that is still running, its children with it; one that is through may have left a server behind."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
