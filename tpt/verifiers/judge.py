"""Which verifier checks which kind of problem.

A verifier either judges at once or, where judging can hang, leaves a call to the pool (pending.py); ``judge`` makes the
calls of a whole batch at once, so that every worker is busy.
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence

from tpt.errors import VerifierError, did_you_mean
from tpt.records import Problem, Trace, Verdict
from tpt.verifiers import Judgement
from tpt.verifiers.code.verify import CODE_FORMAT, judge_completions, verify_code
from tpt.verifiers.custom import describe_custom, is_custom, verify_custom
from tpt.verifiers.math.verify import MATH_FORMAT, verify_math
from tpt.verifiers.multiple_choice import CHOICE_FORMAT, verify_choice
from tpt.verifiers.number.verify import NUMBER_FORMAT, verify_number
from tpt.verifiers.pool.pending import Pending
from tpt.verifiers.pool.pool import Limits, Settled, pool_for
from tpt.verifiers.text import EXACT_FORMAT, REGEX_FORMAT, verify_exact, verify_regex

_Opening = Callable[[Problem, str], Judgement | Pending]

OPENINGS: dict[str, _Opening] = {
    "number": verify_number,
    "math": verify_math,
    "choice": verify_choice,
    "code": verify_code,
    "exact": verify_exact,
    "regex": verify_regex,
}
"""Kind of problem to what judges it, or says what the pool has to find out."""

FORMATS = {
    "number": NUMBER_FORMAT,
    "math": MATH_FORMAT,
    "choice": CHOICE_FORMAT,
    "code": CODE_FORMAT,
    "exact": EXACT_FORMAT,
    "regex": REGEX_FORMAT,
}
"""Kind to the versioned description of the answer format that ``strict`` asks for."""

_KEPT = 100_000
"""Results of the pool that are kept: the samples of a problem often end in the same few answers."""
_results: OrderedDict[str, Settled] = OrderedDict()


def formats_of(kinds: set[str]) -> dict[str, str]:
    """Return the versioned formats of these kinds; that of your own function holds a digest of its file."""
    return {kind: FORMATS[kind] if kind in FORMATS else describe_custom(kind) for kind in sorted(kinds)}


def judge_one(problem: Problem, completion: str, *, limits: Limits = Limits()) -> Judgement:  # noqa: B008
    """Judge one completion by the verifier of its problem's kind."""
    return _judgements([(problem, completion)], limits)[0]


def judge(
    traces: Sequence[Trace],
    problems: Mapping[str, Problem],
    *,
    limits: Limits = Limits(),  # noqa: B008
    every_test: bool = False,
) -> list[Verdict]:
    """Judge traces, each by the verifier of its problem's kind; verdicts come in the order of the traces.

    Args:
        traces: the traces.
        problems: id to problem.
        limits: of verifiers that can hang or blow up.
        every_test: run a program's tests to the end after one failed, for the share of tests it passes.

    Raises:
        VerifierError: there is no such kind, or your own function cannot be loaded.
    """
    found = _judgements(
        [(problems[trace.problem_id], trace.completion) for trace in traces], limits, every_test=every_test
    )
    return [
        Verdict(
            problem_id=trace.problem_id,
            sample=trace.sample,
            outcome=judgement.outcome,
            strict=judgement.strict,
            extracted=judgement.extracted,
            detail=judgement.detail,
            tests_passed=judgement.tests_passed,
            tests_total=judgement.tests_total,
        )
        for trace, judgement in zip(traces, found, strict=True)
    ]


def _judgements(rows: Sequence[tuple[Problem, str]], limits: Limits, *, every_test: bool = False) -> list[Judgement]:
    of_code = [row for row in rows if row[0].kind == "code"]
    programs = iter(
        judge_completions(of_code, every_test=every_test, workers=limits.workers or None, sandbox=limits.sandbox)
    )  # all processors at once
    opened = [
        next(programs) if problem.kind == "code" else _opening(problem.kind)(problem, completion)
        for problem, completion in rows
    ]
    pending = [each for each in opened if isinstance(each, Pending)]
    settled = iter(_settle(pending, limits))
    return [each.conclude(next(settled)) if isinstance(each, Pending) else each for each in opened]


def _settle(pending: Sequence[Pending], limits: Limits) -> list[Settled]:
    """Make the calls, each different one once, those of one function together."""
    if not pending:
        return []
    keys = [_key(each, index, limits) for index, each in enumerate(pending)]
    todo: dict[tuple[str, str], dict[str, Pending]] = defaultdict(dict)
    known: dict[str, Settled] = {}
    for key, each in zip(keys, pending, strict=True):
        kept = _results.get(key)
        if kept is not None:
            known[key] = kept
        else:
            todo[each.target, each.warm_up][key] = each
    for (target, warm_up), calls in todo.items():
        done = pool_for(target, limits, warm_up=warm_up).map([each.arguments for each in calls.values()])
        for (key, each), result in zip(calls.items(), done, strict=True):
            known[key] = result
            if each.same_always and not result.problem:
                _results[key] = result
    while len(_results) > _KEPT:
        _results.popitem(last=False)
    return [known[key] for key in keys]


def _key(pending: Pending, index: int, limits: Limits) -> str:
    if not pending.same_always:
        return str(index)
    return json.dumps([pending.target, pending.warm_up, pending.arguments, dataclasses.astuple(limits)])


def _opening(kind: str) -> _Opening:
    if kind in OPENINGS:
        return OPENINGS[kind]
    if is_custom(kind):
        return verify_custom
    raise VerifierError(
        f"no verifier for problems of kind {kind!r}, allowed: {', '.join(OPENINGS)}, or a function of your own as "
        f"path/file.py:function or package.module:function.{did_you_mean(kind, OPENINGS)} "
        "Set problems.kind, or the kind column of your file"
    )
