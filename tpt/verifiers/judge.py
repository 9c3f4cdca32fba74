"""Which verifier checks which kind of problem.

A verifier either judges at once or, where judging can hang, leaves a call to the pool (pool/call.py); ``judge`` makes the
calls of a whole batch at once, so that every worker is busy.
"""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict
from collections.abc import Mapping, Sequence

from tpt.config import VerifyConfig
from tpt.config.answer_format import format_of
from tpt.errors import VerifierError, did_you_mean
from tpt.records import Outcome, Problem, Trace, Verdict, judged_text
from tpt.system.own_code import is_own_code
from tpt.verifiers import Judgement
from tpt.verifiers.answer_format import DESCRIBED, Opening, in_format
from tpt.verifiers.code.verify import CODE_FORMAT, judge_completions, verify_code
from tpt.verifiers.custom import describe_custom, verify_custom
from tpt.verifiers.math.verify import MATH_FORMAT, verify_math
from tpt.verifiers.multiple_choice import CHOICE_FORMAT, verify_choice
from tpt.verifiers.number.verify import NUMBER_FORMAT, verify_number
from tpt.verifiers.paper_rule import PAPER_FORMAT, verify_paper
from tpt.verifiers.pool.call import PoolCall, PoolResult
from tpt.verifiers.pool.pool import pool_for
from tpt.verifiers.text import EXACT_FORMAT, REGEX_FORMAT, verify_exact, verify_regex

OPENINGS: dict[str, Opening] = {
    "number": verify_number,
    "math": verify_math,
    "choice": verify_choice,
    "code": verify_code,
    "exact": verify_exact,
    "regex": verify_regex,
    "paper": verify_paper,
}
"""Kind of problem to what judges it, or says what the pool has to find out."""

FORMATS = {
    "number": NUMBER_FORMAT,
    "math": MATH_FORMAT,
    "choice": CHOICE_FORMAT,
    "code": CODE_FORMAT,
    "exact": EXACT_FORMAT,
    "regex": REGEX_FORMAT,
    "paper": PAPER_FORMAT,
}
"""Kind to the versioned description of the answer format that ``strict`` asks for where the config names none."""

_LONGEST_DETAIL = 300
_KEPT = 100_000
"""Results of the pool that are kept: the samples of a problem often end in the same few answers."""
_results: OrderedDict[str, PoolResult] = OrderedDict()


def formats_of(kinds: set[str], limits: VerifyConfig = VerifyConfig()) -> dict[str, str]:  # noqa: B008
    """Return the versioned formats of these kinds; that of your own function holds a digest of its file."""
    return {kind: _described(kind, limits) for kind in sorted(kinds)}


def _described(kind: str, limits: VerifyConfig) -> str:
    asked = format_of(kind, limits.answer_format)
    if asked != format_of(kind, "auto"):
        return f"{kind}/2 {asked}: {DESCRIBED[asked]}"
    return FORMATS[kind] if kind in FORMATS else describe_custom(kind)


def judge_one(problem: Problem, completion: str, *, limits: VerifyConfig = VerifyConfig()) -> Judgement:  # noqa: B008
    """Judge one completion by the verifier of its problem's kind."""
    return _judgements([(problem, completion)], limits)[0]


def judge(
    traces: Sequence[Trace],
    problems: Mapping[str, Problem],
    *,
    limits: VerifyConfig = VerifyConfig(),  # noqa: B008
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
    texts = [(problems[each.problem_id], judged_text(each)) for each in traces if each.finish_reason != "error"]
    judged = iter(_judgements(texts, limits, every_test=every_test))
    found = [_failed(each.error) if each.finish_reason == "error" else next(judged) for each in traces]
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


def _failed(reason: str) -> Judgement:
    """Return what is said of a sample that there is no completion of."""
    return Judgement(Outcome.ERROR, False, None, f"the request failed: {reason}"[:_LONGEST_DETAIL])


def _judgements(
    rows: Sequence[tuple[Problem, str]], limits: VerifyConfig, *, every_test: bool = False
) -> list[Judgement]:
    of_code = [row for row in rows if row[0].kind == "code"]
    programs = iter(judge_completions(of_code, limits=limits, every_test=every_test))  # all processors at once
    opened = [
        next(programs) if problem.kind == "code" else _opened(_opening(problem.kind, limits), problem, completion)
        for problem, completion in rows
    ]
    results = iter(_make([each for each in opened if isinstance(each, PoolCall)], limits))
    return [each.to_judgement(next(results)) if isinstance(each, PoolCall) else each for each in opened]


def _opened(opening: Opening, problem: Problem, completion: str) -> Judgement | PoolCall:
    """Open one item; whatever its completion breaks is this item's ERROR, and the batch goes on."""
    try:
        return opening(problem, completion)
    except VerifierError:
        raise
    except Exception as error:
        detail = f"the verifier {problem.kind} failed on this completion: {type(error).__name__}: {str(error)[:_LONGEST_DETAIL]}"
        return Judgement(Outcome.ERROR, False, None, detail)


def _make(calls: Sequence[PoolCall], limits: VerifyConfig) -> list[PoolResult]:
    """Make the calls, each different one once, those of one function together."""
    if not calls:
        return []
    within = limits.model_dump_json()
    keys = [_key(call, index, within) for index, call in enumerate(calls)]
    todo: dict[tuple[str, str], dict[str, PoolCall]] = defaultdict(dict)
    known: dict[str, PoolResult] = {}
    for key, call in zip(keys, calls, strict=True):
        kept = _results.get(key)
        if kept is not None:
            known[key] = kept
        else:
            todo[call.target, call.warm_up][key] = call
    for (target, warm_up), different in todo.items():
        done = pool_for(target, limits, warm_up=warm_up).map([call.arguments for call in different.values()])
        for (key, call), result in zip(different.items(), done, strict=True):
            known[key] = result
            if call.same_always and not result.problem:
                _results[key] = result
    while len(_results) > _KEPT:
        _results.popitem(last=False)
    return [known[key] for key in keys]


def _key(call: PoolCall, index: int, within: str) -> str:
    if not call.same_always:
        return str(index)
    return json.dumps([call.target, call.warm_up, call.arguments, within])


def _opening(kind: str, limits: VerifyConfig) -> Opening:
    if kind in OPENINGS:
        return in_format(OPENINGS[kind], kind, limits.answer_format)
    if is_own_code(kind):
        return verify_custom
    raise VerifierError(
        f"no verifier for problems of kind {kind!r}, allowed: {', '.join(OPENINGS)}, or a function of your own as "
        f"path/file.py:function or package.module:function.{did_you_mean(kind, OPENINGS)} "
        "Set problems.kind, or the kind column of your file"
    )
