"""Your own verifier: a function named as ``path/file.py:function`` or ``package.module:function``.

It takes a Problem and a completion and returns a Judgement, or just whether the completion is right. It is called in
the pool's workers, so it may hang, exit or blow up; an exception becomes an ERROR verdict with its last lines.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import sys
import traceback
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from tpt.errors import VerifierError, did_you_mean
from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement, Verifier
from tpt.verifiers.pool.call import PoolCall, PoolResult

TARGET = "tpt.verifiers.custom:call"
_LAST_LINES = 6
_LONGEST_DETAIL = 1_000


def is_custom(kind: str) -> bool:
    """Tell whether a kind names a function: FILE.py:FUNCTION or MODULE:FUNCTION."""
    source, colon, function = kind.rpartition(":")
    named = source.endswith(".py") or all(part.isidentifier() for part in source.split("."))
    return bool(colon and source and named and function.isidentifier())


def verify_custom(problem: Problem, completion: str) -> PoolCall:
    """Leave the judging to the function that the problem's kind names."""
    return PoolCall(
        TARGET,
        (problem.kind, msgspec.structs.asdict(problem), completion),
        lambda result: _to_judgement(result, problem.kind),
        warm_up=problem.kind,
        same_always=False,
    )


def describe_custom(kind: str) -> str:
    """Return a description with a digest of the function's file, for the manifest.

    Raises:
        VerifierError: there is no such file.
    """
    source = kind.rpartition(":")[0]
    path = Path(source) if source.endswith(".py") else _file_of(source)
    try:
        return f"own: {kind}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise VerifierError(f"the verifier {kind}: {path} cannot be read: {error.strerror}") from None


def absolute(kind: str) -> str:
    """Return a kind that names a file with the file's absolute path; other kinds as they are."""
    source, colon, function = kind.rpartition(":")
    return f"{Path(source).absolute()}:{function}" if colon and source.endswith(".py") and is_custom(kind) else kind


def warm_up(kind: str) -> None:
    """Load the function, once in every worker; imports do not count against the time of an item."""
    load(kind)


def call(kind: str, problem: dict[str, Any], completion: str) -> dict[str, Any]:
    """Call the function in a worker; return its judgement, or the last lines of its traceback, as plain values."""
    function = load(kind)
    try:
        returned: object = function(Problem(**problem), completion)
    except MemoryError:
        raise
    except BaseException as error:
        return {"raised": _last_lines(error, skip=1)}
    if isinstance(returned, bool):
        return {"outcome": "CORRECT" if returned else "WRONG", "strict": returned, "extracted": None, "detail": ""}
    wrong = _not_a_judgement(returned)
    if wrong:
        return {"raised": f"{kind} returned {wrong}; expected a bool or a tpt.verifiers.Judgement"}
    return dataclasses.asdict(returned)  # type: ignore[call-overload, no-any-return]


@lru_cache(maxsize=64)
def load(kind: str) -> Verifier:
    """Import the function that a kind names.

    Raises:
        VerifierError: with the traceback, if the file cannot be imported; there is no such file or function.
    """
    source, _, name = kind.rpartition(":")
    try:
        module = _load_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except VerifierError:
        raise
    except BaseException as error:
        raise VerifierError(f"importing {source} failed:\n{_last_lines(error, skip=1, lines=40)}") from None
    function = getattr(module, name, None)
    if not callable(function):
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise VerifierError(
            f"{source} has no function {name!r}, it has: {', '.join(known)}.{did_you_mean(name, known)}"
        )
    verifier: Verifier = function
    return verifier


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise VerifierError(f"{path.absolute()}: no such file")
    name = f"tpt_custom_{path.stem}"
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
        raise VerifierError(f"importing {module} failed:\n{_last_lines(error, skip=1, lines=40)}") from None
    if spec is None or spec.origin is None:
        raise VerifierError(
            f"no module {module!r}: it must be importable from where tpt runs, or name a file: FILE.py:NAME"
        )
    return Path(spec.origin)


def _not_a_judgement(returned: object) -> str:
    """Return what is wrong with a value that should be a Judgement."""
    if not isinstance(returned, Judgement):
        return f"{returned!r:.100} of type {type(returned).__name__}"
    if returned.outcome not in list(Outcome) or not isinstance(returned.strict, bool):
        return f"a Judgement with outcome {returned.outcome!r:.60} and strict {returned.strict!r:.60}"
    if not isinstance(returned.extracted, str | None) or not isinstance(returned.detail, str):
        return "a Judgement whose extracted is no str or None, or whose detail is no str"
    if not isinstance(returned.tests_passed, int | None) or not isinstance(returned.tests_total, int | None):
        return "a Judgement whose tests_passed or tests_total is no int or None"
    return ""


def _last_lines(error: BaseException, *, skip: int, lines: int = _LAST_LINES) -> str:
    """Return the end of a traceback without the frames of this module and of the import system."""
    frames = traceback.extract_tb(error.__traceback__)[skip:]
    frames = traceback.StackSummary.from_list(
        [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    )
    told = "".join([*frames.format(), *traceback.format_exception_only(error)]).rstrip().split("\n")
    return "\n".join(told[-lines:])


def _to_judgement(result: PoolResult, kind: str) -> Judgement:
    if result.problem == "timeout":
        return Judgement(Outcome.TIMEOUT, False, None, result.detail)
    if result.problem:
        return Judgement(Outcome.ERROR, False, None, f"{kind}: {result.detail}"[-_LONGEST_DETAIL:])
    found = result.value
    if "raised" in found:
        return Judgement(Outcome.ERROR, False, None, found["raised"][-_LONGEST_DETAIL:])
    return Judgement(**{**found, "outcome": Outcome(found["outcome"])})
