"""What samples say about the problems and the verifier: gold answers that may be wrong, and where two checks differ.

Both are lists to look at, never a reason to change a verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from tpt.errors import RunError
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.scoring.score import by_problem
from tpt.verifiers import Judge
from tpt.verifiers.number.verify import canonical_answer

LEAST_AGREEING = 3
SHARE_AGREEING = 0.6

_OTHER_KIND = {"number": "math", "math": "number"}
_JUDGED = (Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A problem whose samples agree on an answer that is not the gold one: the gold answer may be wrong."""

    problem_id: str
    gold: str
    answer: str
    """What the samples agree on."""
    agree: int
    samples: int
    correct: int
    """Samples that have the gold answer."""
    question: str


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A trace that one check accepts and another does not."""

    problem_id: str
    sample: int
    accepted_by: str
    rejected_by: str
    gold: str
    accepted_answer: str | None
    """The answer as the accepting check read it."""
    rejected_answer: str | None


@dataclass(frozen=True, slots=True)
class TraceCheck:
    """What traces say about their problems."""

    traces: int
    problems: int
    outcomes: dict[str, int]
    suspects: list[Suspect]
    disagreements: list[Disagreement]


def check_traces(traces: Sequence[Trace], problems: Mapping[str, Problem], *, judge: Judge) -> TraceCheck:
    """Judge traces and list what deserves a look.

    Raises:
        RunError: there are no traces.
    """
    if not traces:
        raise RunError("there are no traces to check the problems with; expected at least one")
    verdicts = judge(traces, problems)
    counts = Counter(verdict.outcome for verdict in verdicts)
    return TraceCheck(
        traces=len(traces),
        problems=len({trace.problem_id for trace in traces}),
        outcomes={outcome.value: counts[outcome] for outcome in Outcome},
        suspects=label_noise_suspects(verdicts, problems),
        disagreements=[
            *_format_disagreements(verdicts, problems),
            *kind_disagreements(traces, verdicts, problems, judge=judge),
        ],
    )


def label_noise_suspects(verdicts: Sequence[Verdict], problems: Mapping[str, Problem]) -> list[Suspect]:
    """Return the problems with at least 3 and 60 % of all samples agreeing on one wrong answer, most agreed on first."""
    suspects = []
    for problem_id, found in by_problem(verdicts).items():
        wrong = (v.extracted for v in found if v.outcome is Outcome.WRONG and v.extracted is not None)
        votes = Counter(canonical_answer(extracted) for extracted in wrong)
        answer, agree = min(votes.items(), key=lambda vote: (-vote[1], vote[0]), default=("", 0))
        if agree >= max(LEAST_AGREEING, math.ceil(SHARE_AGREEING * len(found))):
            problem = problems[problem_id]
            correct = sum(verdict.outcome is Outcome.CORRECT for verdict in found)
            suspects.append(
                Suspect(problem_id, problem.answer, answer, agree, len(found), correct, question=problem.question)
            )
    return sorted(suspects, key=lambda each: (-each.agree / each.samples, -each.agree, each.problem_id))


def kind_disagreements(
    traces: Sequence[Trace], verdicts: Sequence[Verdict], problems: Mapping[str, Problem], *, judge: Judge
) -> list[Disagreement]:
    """Judge numeric problems as mathematics and mathematical ones as numbers, and return where that changes a verdict.

    Golds that the other verifier cannot read, and its timeouts, say nothing and are left out.
    """
    pairs = [
        (trace, verdict)
        for trace, verdict in zip(traces, verdicts, strict=True)
        if problems[trace.problem_id].kind in _OTHER_KIND and verdict.outcome in _JUDGED
    ]
    as_other = {
        trace.problem_id: replace(problems[trace.problem_id], kind=_OTHER_KIND[problems[trace.problem_id].kind])
        for trace, _ in pairs
    }
    others = judge([trace for trace, _ in pairs], as_other)
    return [
        _disagreement(verdict, other, problems[trace.problem_id])
        for (trace, verdict), other in zip(pairs, others, strict=True)
        if other.outcome in _JUDGED and (other.outcome is Outcome.CORRECT) != (verdict.outcome is Outcome.CORRECT)
    ]


def _disagreement(verdict: Verdict, other: Verdict, problem: Problem) -> Disagreement:
    mine = (problem.kind, verdict.extracted)
    theirs = (_OTHER_KIND[problem.kind], other.extracted)
    accepting, rejecting = (mine, theirs) if verdict.outcome is Outcome.CORRECT else (theirs, mine)
    return Disagreement(
        problem_id=problem.id,
        sample=verdict.sample,
        accepted_by=accepting[0],
        rejected_by=rejecting[0],
        gold=problem.answer,
        accepted_answer=accepting[1],
        rejected_answer=rejecting[1],
    )


def _format_disagreements(verdicts: Sequence[Verdict], problems: Mapping[str, Problem]) -> list[Disagreement]:
    """Return the traces with the right value but not in the asked format."""
    return [
        Disagreement(
            problem_id=verdict.problem_id,
            sample=verdict.sample,
            accepted_by="lenient",
            rejected_by="strict",
            gold=problems[verdict.problem_id].answer,
            accepted_answer=verdict.extracted,
            rejected_answer=verdict.extracted,
        )
        for verdict in verdicts
        if verdict.outcome is Outcome.CORRECT and not verdict.strict
    ]
