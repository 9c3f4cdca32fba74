"""Functions of the user's own, named as ``path/file.py:function`` or ``package.module:function``.

They are named in the config or on the command line, never in a data file, and run in this process with all its rights.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from tpt.errors import OwnCodeError, did_you_mean
from tpt.system.url import is_url, require_no_url

_LAST_LINES = 6


def is_own_code(name: str) -> bool:
    """Tell whether a name is of a function: FILE.py:FUNCTION or MODULE:FUNCTION."""
    source, colon, function = name.rpartition(":")
    named = source.endswith(".py") or all(part.isidentifier() for part in source.split("."))
    return bool(colon and source and named and function.isidentifier())


def absolute_name(name: str) -> str:
    """Return a name of a function in a file with the file's absolute path; other names as they are."""
    source, colon, function = name.rpartition(":")
    is_file = colon and source.endswith(".py") and is_own_code(name) and not is_url(source)
    return f"{Path(source).expanduser().absolute()}:{function}" if is_file else name


def own_code_digest(name: str) -> str:
    """Return the sha256 of the function's file: a stage that used it is stale once it was changed.

    Raises:
        OwnCodeError: there is no such file.
    """
    source = name.rpartition(":")[0]
    path = Path(source).expanduser() if source.endswith(".py") else _file_of(source)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise OwnCodeError(f"{name}: {path} cannot be read: {error.strerror}") from None


@lru_cache(maxsize=64)
def load_own_code(name: str) -> Callable[..., Any]:
    """Import the function of a name.

    Raises:
        OwnCodeError: with the traceback, if the file cannot be imported; there is no such file or function.
    """
    source, _, function_name = name.rpartition(":")
    try:
        module = _load_file(Path(source).expanduser()) if source.endswith(".py") else importlib.import_module(source)
    except OwnCodeError:
        raise
    except BaseException as error:
        raise OwnCodeError(f"importing {source} failed:\n{last_lines(error, lines=40)}") from None
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise OwnCodeError(
            f"{source} has no function {function_name!r}, it has: {', '.join(known)}.{did_you_mean(function_name, known)}"
        )
    found: Callable[..., Any] = function
    return found


def call_own_code(name: str, *arguments: Any) -> Any:
    """Return what a function returns.

    Raises:
        OwnCodeError: with the last lines of its traceback, if it raises.
    """
    function = load_own_code(name)
    try:
        return function(*arguments)
    except Exception as error:
        raise OwnCodeError(f"{name} raised:\n{last_lines(error)}") from None


def last_lines(error: BaseException, *, lines: int = _LAST_LINES) -> str:
    """Return the end of a traceback without its first frame, those of this module and those of the import system."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    frames = traceback.StackSummary.from_list(
        [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    )
    told = "".join([*frames.format(), *traceback.format_exception_only(error)]).rstrip().split("\n")
    return "\n".join(told[-lines:])


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        require_no_url(path, OwnCodeError)
        raise OwnCodeError(f"{path.absolute()}: no such file")
    name = f"tpt_own_{path.stem}_{hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent.absolute()))
    spec.loader.exec_module(module)
    return module


def _file_of(module: str) -> Path:
    try:
        spec = importlib.util.find_spec(module)
    except BaseException as error:
        raise OwnCodeError(f"importing {module} failed:\n{last_lines(error, lines=40)}") from None
    if spec is None or spec.origin is None:
        raise OwnCodeError(
            f"no module {module!r}: it must be importable from where tpt runs, or name a file: FILE.py:NAME"
        )
    return Path(spec.origin)
