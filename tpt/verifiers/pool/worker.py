r"""The far end of the pool: a process that forks a judging child, and another whenever that one has been killed.

The outer process imports what every child needs once (sympy takes a second), calls the module's ``before_fork`` where it has
one, and judges nothing itself, so replacing a killed child costs milliseconds and the new one is as warm as the old. The child
reads requests from stdin and answers on stdout, one JSON object a line:

    child:  {"hello": pid, "failed": null | traceback}
    pool:   {"id": 7, "args": [...]}
    child:  {"id": 7, "began": true}
    child:  {"id": 7, "value": ...} | {"id": 7, "error": traceback} | {"id": 7, "memory": true}
"""

from __future__ import annotations

import fcntl
import importlib
import json
import mmap
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from tpt.errors import VerifierError

_CHUNK = 1 << 16


def main() -> None:
    """Serve ``sys.argv``: module:function of this package, what to warm it up with, and the memory limit in MB."""
    target, warm_up, memory_mb = sys.argv[1], sys.argv[2], int(sys.argv[3])
    module = importlib.import_module(target.partition(":")[0])
    if "before_fork" in vars(module):
        module.before_fork()  # before the fork, so that a child which replaces a killed one is warm
    function: Callable[..., Any] = getattr(module, target.partition(":")[2])
    # What a verifier prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    requests = os.dup(0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    ready = mmap.mmap(-1, 1)
    while True:
        ready[0] = 0
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            _limit_memory(memory_mb)
            failed = _failure_of(module.warm_up, warm_up) if warm_up else None
            ready[0] = 1
            # The killed child before this one may have left half a line; the pool may be gone by now.
            try:
                _say(answers, b"\n", {"hello": os.getpid(), "failed": failed})
            except BrokenPipeError:
                os._exit(0)
            _serve(function, requests, answers)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        # The child leaves with 0 when the pool has hung up; killed, it may have missed that.
        if os.waitstatus_to_exitcode(status) == 0 or _hung_up(requests):
            return
        if not ready[0]:
            sys.exit(f"a verifier's process ended while it started: wait status {status}")


def _serve(function: Callable[..., Any], requests: int, answers: BinaryIO) -> None:
    while True:
        pieces: list[bytes] = []
        while not pieces or not pieces[-1].endswith(b"\n"):
            pieces.append(os.read(requests, _CHUNK))
            if not pieces[-1]:
                return
        request = json.loads(b"".join(pieces))
        _say(answers, b"", {"id": request["id"], "began": True})
        _die_with_pool(requests, True)
        answer = _answer(function, request)
        _die_with_pool(requests, False)
        _say(answers, b"", answer)


def _answer(function: Callable[..., Any], request: dict[str, Any]) -> dict[str, Any]:
    try:
        value = function(*request["args"])
        json.dumps(value)
        return {"id": request["id"], "value": value}
    except MemoryError:
        return {"id": request["id"], "memory": True}
    except BaseException:  # also SystemExit: a verifier that calls exit() must not pass for a pool that hung up
        return {"id": request["id"], "error": traceback.format_exc()}


def _failure_of(warm_up: Callable[[str], None], argument: str) -> str | None:
    """Warm up; return what the user must be told if that fails."""
    try:
        warm_up(argument)
    except VerifierError as error:
        return str(error)
    except BaseException:
        return traceback.format_exc()
    return None


def _say(answers: BinaryIO, before: bytes, answer: dict[str, Any]) -> None:
    data = memoryview(before + json.dumps(answer).encode() + b"\n")
    while data:
        data = data[answers.write(data) :]


def _limit_memory(memory_mb: int) -> None:
    # macOS refuses to limit the address space; there the wall clock alone holds.
    if sys.platform != "darwin":
        limit = memory_mb * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _die_with_pool(requests: int, active: bool) -> None:
    """Have the kernel end this process when the pool hangs up, however deep in C code it is.

    Nothing arrives while a request is being answered, so the only event that can raise SIGIO is the hang-up, and its
    default action is to end the process.
    """
    flags = fcntl.fcntl(requests, fcntl.F_GETFL)
    if active:
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(requests, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(requests, fcntl.F_SETFL, flags | os.O_ASYNC)
        if _hung_up(requests):
            os._exit(0)
    else:
        fcntl.fcntl(requests, fcntl.F_SETFL, flags & ~os.O_ASYNC)


def _hung_up(requests: int) -> bool:
    poll = select.poll()
    poll.register(requests, select.POLLHUP)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
