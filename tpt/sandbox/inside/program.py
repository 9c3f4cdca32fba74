"""The child that runs a program: as a whole, or answering a tester's calls.

Nothing the program must not know is in this process: no expected output, no test code, no other program.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import io
import os
import random
import sys
import threading
import traceback
import types
from collections.abc import Callable
from typing import Any

from tpt.sandbox.inside.link import Link
from tpt.sandbox.inside.values import decode, encode

FAILED = 1


def _open_standard_streams() -> None:
    """Bind sys.stdin and the others anew: the inherited objects remember the server's own files."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    error = io.FileIO(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(error, encoding="utf-8", errors="backslashreplace", write_through=True)
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)


def _new_main(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = module
    sys.modules[name] = module
    sys.argv = ["program.py"]
    random.seed(0)
    _open_standard_streams()
    return module


def _ending(body: Callable[[], None]) -> int:
    """Run the body as the interpreter runs a script, end of threads and exit handlers included; return its exit code."""
    code = 0
    try:
        try:
            body()
        finally:
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
    except SystemExit as leaving:
        code = _exit_code(leaving.code)
    except BaseException:
        code = FAILED
        traceback.print_exc(limit=-20)
    return code or _write_out()


def _write_out() -> int:
    """Write what is still buffered, in the program's own file objects too, as the end of an interpreter does."""
    streams = (sys.stdout, sys.__stdout__)
    main = sys.modules.pop("__main__", None)
    try:
        for stream in streams:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        if main is not None:
            main.__dict__.clear()
            gc.collect()
    except BaseException:
        traceback.print_exc(limit=-20)
        return FAILED
    return 0


def _exit_code(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return FAILED


def run_whole(spec: dict[str, Any]) -> int:
    """Run a program from standard input to standard output."""
    module = _new_main("__main__")
    return _ending(lambda: exec(compile(spec["program"], "program.py", "exec"), module.__dict__))


def _load(spec: dict[str, Any]) -> types.ModuleType:
    """Run the program's definitions, after those of the test's setup where that stands on its own."""
    module = _new_main("program")
    if spec["setup"]:
        # A setup may use what the program is to define; the tester runs it then, through references.
        with contextlib.suppress(NameError, SyntaxError):
            exec(compile(spec["setup"], "setup.py", "exec"), module.__dict__)
    exec(compile(spec["program"], "program.py", "exec"), module.__dict__)
    return module


def _find(module: types.ModuleType, name: str) -> Any:
    """Return a global of the program, or the method of its class Solution."""
    if name not in module.__dict__ and hasattr(module.__dict__.get("Solution"), name):
        return getattr(module.__dict__["Solution"](), name)
    if name not in module.__dict__:
        raise NameError(f"name {name!r} is not defined")
    return module.__dict__[name]


def answer_calls(spec: dict[str, Any], link: Link) -> int:
    """Load the program, then do what the tester asks until it is gone."""

    def body() -> None:
        try:
            module = _load(spec)
        except BaseException as error:
            link.send({"error": _describe(error)})
            raise
        link.send({"ok": None})
        objects: list[Any] = []
        while True:
            request = link.receive()
            link.send(_answer(module, objects, request))

    return _ending(body)


def _describe(error: BaseException) -> list[str]:
    return [type(error).__name__, str(error)[:500]]


def _answer(module: types.ModuleType, objects: list[Any], request: dict[str, Any]) -> dict[str, Any]:
    """Do one request; an object that is not plain stays here, and the tester gets its number."""

    def refer(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    try:
        if request["do"] == "name":
            return {"ok": encode(_find(module, request["name"]), refer)}
        arguments = [decode(item, objects.__getitem__) for item in request["args"]]
        keywords = {key: decode(item, objects.__getitem__) for key, item in request["keywords"].items()}
        value = _OPERATIONS[request["do"]](*arguments, **keywords)
        reply = {"ok": encode(value, refer)}
        changed = _changes(arguments, request["args"], refer)
        return {**reply, "changed": changed} if changed else reply
    except (SystemExit, Exception) as error:
        return {"error": _describe(error)}


def _changes(arguments: list[Any], sent: list[Any], refer: Callable[[Any], int]) -> dict[int, Any]:
    """Return the new contents of the containers that the call changed in place, by position."""
    changed = {}
    for index, argument in enumerate(arguments):
        if isinstance(argument, (list, dict, set, bytearray)):
            now = encode(argument, refer)
            if now != sent[index]:
                changed[index] = now
    return changed


def _call(function: Any, *args: Any, **keywords: Any) -> Any:
    return function(*args, **keywords)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": _call,
    "getattr": getattr,
    "setattr": setattr,
    "getitem": lambda value, key: value[key],
    **{kind.__name__: kind for kind in (len, iter, next, str, repr, bool, int, float)},
}


def clear_environment() -> None:
    """Leave the program an environment that says nothing of the machine."""
    os.environ.clear()
    os.environ.update({"HOME": "/tmp", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"})
