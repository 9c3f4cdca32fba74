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

from tpt.sandbox.inside.link import Link, LinkClosedError
from tpt.sandbox.inside.values import decode, encode

FAILED = 1
_BUILTINS = dict(vars(builtins))


def open_standard_streams() -> None:
    """Open sys.stdin and the others in the server, once, for all its children.

    They remember what sort of file they were opened on, so for the moment these are empty files in memory, as a child's are.
    """
    own = [os.dup(number) for number in range(3)]
    for number in range(3):
        file = os.memfd_create("stream")
        os.dup2(file, number)
        os.close(file)
    _bind_streams()
    for number, file in enumerate(own):
        os.dup2(file, number)
        os.close(file)


def _bind_streams() -> None:
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
    return module


def _ending(body: Callable[[], None]) -> int:
    """Run the body as the interpreter runs a script, end of threads and exit handlers included; return its exit code."""
    code = 0
    try:
        body()
    except SystemExit as leaving:
        code = _exit_code(leaving.code)
    except BaseException:
        code = FAILED
        traceback.print_exc(limit=-20)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _end_objects()
    except BaseException:
        traceback.print_exc(limit=-20)
        return code or FAILED
    return code


def _end_objects() -> None:
    """Write what is still buffered and end the program's objects, as the end of an interpreter does.

    Some programs write in a finalizer only. The interpreter collects what the main module held while the module's names
    are still there, so that finalizers can use them, and clears the names of what is left.
    """
    _flush(sys.stdout)
    vars(sys).update(stdin=sys.__stdin__, stdout=sys.__stdout__, stderr=sys.__stderr__)
    main = id(vars(sys.modules.pop("__main__")))
    gc.collect()
    left = _dict_at(main)
    if left is not None:  # held by what it put elsewhere, or by a cache of the standard library
        vars(builtins).update(_BUILTINS)
        for name in sorted(left, key=lambda name: not hasattr(type(left[name]), "__del__")):
            left[name] = None
        gc.collect()
    _flush(sys.stdout)


def _dict_at(number: int) -> dict[str, Any] | None:
    """Return the dictionary with this id, None when it is gone; a reference to it would have kept it."""
    return next((found for found in gc.get_objects() if id(found) == number and type(found) is dict), None)


def _flush(stream: Any) -> None:
    if stream is not None and not getattr(stream, "closed", False):
        stream.flush()


def _exit_code(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return FAILED


def run_whole(spec: dict[str, Any]) -> int:
    """Run a program from standard input to standard output."""
    _new_main("__main__")
    # No reference to the module may stay here: it must be able to end.
    return _ending(lambda: execute(spec["program"], "program.py", vars(sys.modules["__main__"])))


def execute(source: str, name: str, space: dict[str, Any]) -> None:
    """Run code as a file of its own, without this file's ``from __future__`` imports."""
    exec(compile(source, name, "exec", dont_inherit=True), space)


def _load(spec: dict[str, Any]) -> types.ModuleType:
    """Run the program's definitions, after those of the test's setup where that stands on its own."""
    module = _new_main("program")
    if spec["setup"]:
        # A setup may use what the program is to define; the tester runs it then, through references.
        with contextlib.suppress(NameError, SyntaxError):
            execute(spec["setup"], "setup.py", module.__dict__)
    execute(spec["program"], "program.py", module.__dict__)
    return module


def _find(module: types.ModuleType, name: str) -> Any:
    """Return the method of the program's class Solution, or a global of the program."""
    if hasattr(module.__dict__.get("Solution"), name):
        return getattr(module.__dict__["Solution"](), name)
    if name not in module.__dict__:
        raise NameError(f"name {name!r} is not defined")
    return module.__dict__[name]


def answer_calls(spec: dict[str, Any], link: Link) -> int:
    """Load the program, then do what the tester asks until it is gone."""
    try:
        module = _load(spec)
    except BaseException as error:
        link.send({"error": _describe(error)})
        return FAILED
    link.send({"ok": None})
    objects: list[Any] = []
    with contextlib.suppress(LinkClosedError):
        while True:
            request = link.receive()
            link.send(_answer(module, objects, request))
    return 0


def _describe(error: BaseException) -> list[str]:
    return [type(error).__name__[:100], str(error)[:500]]


def _answer(module: types.ModuleType, objects: list[Any], request: dict[str, Any]) -> dict[str, Any]:
    """Do one request; an object that is not plain stays here, and the tester gets its number."""

    def refer(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    try:
        if request["do"] == "name":
            return {"ok": encode(_find(module, request["name"]), refer)}
        if request["do"] == "call name":
            return {"ok": encode(_find(module, request["name"])(*request["args"]), refer)}
        arguments = [decode(item, objects.__getitem__) for item in request["args"]]
        keywords = {key: decode(item, objects.__getitem__) for key, item in request["keywords"].items()}
        value = _OPERATIONS[request["do"]](*arguments, **keywords)
        reply = {"ok": encode(value, refer)}
        changed = _changes(arguments, request["args"], refer)
        return {**reply, "changed": changed} if changed else reply
    except BaseException as error:
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
