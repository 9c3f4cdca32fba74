"""Which verifier checks which kind of problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tpt.errors import VerifierError, did_you_mean
from tpt.records import Problem, Trace, Verdict
from tpt.verifiers import Judgement, Verifier
from tpt.verifiers.number import NUMBER_FORMAT, verify_number

VERIFIERS: dict[str, Verifier] = {"number": verify_number}
"""Kind of problem to its verifier."""

FORMATS = {"number": NUMBER_FORMAT}
"""Kind to the versioned description of the answer format that ``strict`` asks for."""


def verifier_for(kind: str) -> Verifier:
    """Return the verifier of a kind of problem; VerifierError when there is none."""
    if kind not in VERIFIERS:
        raise VerifierError(
            f"no verifier for problems of kind {kind!r}, allowed: {', '.join(VERIFIERS)}.{did_you_mean(kind, VERIFIERS)} "
            "Set problems.kind, or the kind column of your file"
        )
    return VERIFIERS[kind]


def judge_one(problem: Problem, completion: str) -> Judgement:
    """Judge one completion by the verifier of its problem's kind."""
    return verifier_for(problem.kind)(problem, completion)


def judge(traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
    """Judge traces, each by the verifier of its problem's kind; verdicts come in the order of the traces."""
    verdicts = []
    for trace in traces:
        judgement = judge_one(problems[trace.problem_id], trace.completion)
        verdicts.append(
            Verdict(
                problem_id=trace.problem_id,
                sample=trace.sample,
                outcome=judgement.outcome,
                strict=judgement.strict,
                extracted=judgement.extracted,
                detail=judgement.detail,
            )
        )
    return verdicts
