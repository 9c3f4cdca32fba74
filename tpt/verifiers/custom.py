"""Your own verifier: a function named as ``path/file.py:function`` or ``package.module:function``.

It takes a Problem and a completion and returns a Judgement, or just whether the completion is right. It is called in
the pool's workers, so it may hang, exit or blow up; an exception becomes an ERROR verdict with its last lines.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from tpt.records import Outcome, Problem
from tpt.system.own_code import last_lines, load_own_code, own_code_digest
from tpt.verifiers import Judgement
from tpt.verifiers.pool.call import PoolCall, PoolResult

TARGET = "tpt.verifiers.custom:call"
_LONGEST_DETAIL = 1_000


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
        OwnCodeError: there is no such file.
    """
    return f"own: {kind}, sha256 {own_code_digest(kind)}"


def warm_up(kind: str) -> None:
    """Load the function, once in every worker; imports do not count against the time of an item."""
    load_own_code(kind)


def call(kind: str, problem: dict[str, Any], completion: str) -> dict[str, Any]:
    """Call the function in a worker; return its judgement, or the last lines of its traceback, as plain values."""
    function = load_own_code(kind)
    try:
        returned: object = function(Problem(**problem), completion)
    except MemoryError:
        raise
    except BaseException as error:
        return {"raised": last_lines(error)}
    if isinstance(returned, bool):
        return {"outcome": "CORRECT" if returned else "WRONG", "strict": returned, "extracted": None, "detail": ""}
    wrong = _not_a_judgement(returned)
    if wrong:
        return {"raised": f"{kind} returned {wrong}; expected a bool or a tpt.verifiers.Judgement"}
    return dataclasses.asdict(returned)  # type: ignore[call-overload, no-any-return]


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


def _to_judgement(result: PoolResult, kind: str) -> Judgement:
    if result.problem == "timeout":
        return Judgement(Outcome.TIMEOUT, False, None, result.detail)
    if result.problem:
        return Judgement(Outcome.ERROR, False, None, f"{kind}: {result.detail}"[-_LONGEST_DETAIL:])
    found = result.value
    if "raised" in found:
        return Judgement(Outcome.ERROR, False, None, found["raised"][-_LONGEST_DETAIL:])
    return Judgement(**{**found, "outcome": Outcome(found["outcome"])})
