"""Are these problems fit to run on: every gold passes its own verifier, nothing doubled, nothing held out seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tpt.errors import ProblemError
from tpt.problems.overlap import Overlap, check_disjoint, closest_pairs, duplicates
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.system.own_code import is_own_code, load_own_code
from tpt.verifiers import Judge
from tpt.verifiers.gold import fenced, gold_completion

_SHOWN = 5
_NO_VERDICT = (Outcome.ERROR, Outcome.TIMEOUT)


@dataclass(frozen=True, slots=True)
class GoldFailure:
    """A gold answer, or a program known to be right, that its own verifier does not accept."""

    problem_id: str
    answer: str
    outcome: Outcome
    extracted: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class WeakTests:
    """Tests that let a program pass which is known to be wrong; a warning, no failure."""

    problem_id: str
    passed: int
    wrong_programs: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the check of one set of problems found."""

    problems: int
    kinds: dict[str, int]
    """Kind to number of problems."""
    gold_failures: list[GoldFailure]
    unchecked: list[str]
    """Ids of problems with tests but no solution to try them with."""
    wrong_programs: int
    """Programs known to be wrong that were tried."""
    weak_tests: list[WeakTests]
    duplicates: list[list[str]]
    """Ids of problems that ask the same question; a warning, no failure."""

    @property
    def ok(self) -> bool:
        """Whether every gold that could be tried passed."""
        return not self.gold_failures


@dataclass(frozen=True, slots=True)
class Check:
    """What the check of the training and the held-out problems found."""

    train: CheckReport
    heldout: CheckReport | None
    closest: list[Overlap]
    """The pairs of held-out and training questions with most words in common."""

    @property
    def ok(self) -> bool:
        """Whether every gold that could be tried passed."""
        return self.train.ok and (self.heldout is None or self.heldout.ok)

    def require(self) -> None:
        """Raise ProblemError, with the first few golds that failed, unless all is well."""
        failures = [*self.train.gold_failures, *(self.heldout.gold_failures if self.heldout else [])]
        if failures:
            shown = "".join(f"\n  {_told(each)}" for each in failures[:_SHOWN])
            raise ProblemError(
                f"{len(failures)} gold answers do not pass their own verifier, so no completion could:{shown}\n"
                f"What to do: {remedy(failures)}."
            )


def remedy(failures: Sequence[GoldFailure]) -> str:
    """Return what can be done about golds that fail their own verifier, the end of a sentence."""
    told = "mend the answers, set problems.kind, or leave them out with problems.drop_bad = true"
    if any(each.outcome is Outcome.TIMEOUT for each in failures):
        told += (
            ". What is right but slow gets more time: programs with time_limit_s, a field of a test and a parameter of the "
            "published sources (mbpp?split=test&time_limit_s=30), answers with verify.timeout_s"
        )
    return told


def check(
    problems: Sequence[Problem],
    heldout: Sequence[Problem] | None = None,
    *,
    judge: Judge,
    wrong_programs: Mapping[str, Sequence[str]] | None = None,
) -> Check:
    """Check training problems, and held-out ones against them.

    The golds of one side are judged all at once; ``wrong_programs``: id of a training problem to programs that its
    tests must reject.

    Raises:
        ProblemError: a problem is on both sides.
    """
    if heldout is not None:
        check_disjoint(problems, heldout)
    return Check(
        train=check_problems(problems, judge, wrong_programs or {}),
        heldout=None if heldout is None else check_problems(heldout, judge),
        closest=[] if heldout is None else closest_pairs(problems, heldout),
    )


def check_problems(
    problems: Sequence[Problem], judge: Judge, wrong_programs: Mapping[str, Sequence[str]] | None = None
) -> CheckReport:
    """Show each problem's gold, in the asked format, to its verifier, which must find it right.

    Programs known to be wrong, where there are any, must be found wrong. A pattern that no solution shows to be right must
    at least be one, and end.
    """
    by_id = {problem.id: problem for problem in problems}
    golds = {problem.id: gold_completion(problem) for problem in problems}
    for kind in {problem.kind for problem in problems if golds[problem.id] is None and is_own_code(problem.kind)}:
        load_own_code(kind)  # nothing is shown to it here, so that it is not there would be found by the first sample
    patterns = {problem.id for problem in problems if problem.kind == "regex" and golds[problem.id] is None}
    shown = {key: "#### 0" if key in patterns else completion for key, completion in golds.items()}
    verdicts = judge([_shown(key, completion) for key, completion in shown.items() if completion is not None], by_id)
    failed = [
        each
        for each in verdicts
        if (each.outcome in _NO_VERDICT if each.problem_id in patterns else each.outcome is not Outcome.CORRECT)
    ]
    failures = [_failure(by_id[each.problem_id], each) for each in failed]
    wrong = {key: programs for key, programs in (wrong_programs or {}).items() if key in by_id}
    tried = judge([_shown(key, fenced(each)) for key, programs in wrong.items() for each in programs], by_id)
    passed = Counter(each.problem_id for each in tried if each.outcome is Outcome.CORRECT)
    return CheckReport(
        problems=len(problems),
        kinds=dict(sorted(Counter(problem.kind for problem in problems).items())),
        gold_failures=failures,
        unchecked=[key for key, completion in golds.items() if completion is None],
        wrong_programs=len(tried),
        weak_tests=[WeakTests(key, count, len(wrong[key])) for key, count in passed.items()],
        duplicates=duplicates(problems),
    )


def _failure(problem: Problem, verdict: Verdict) -> GoldFailure:
    # What was read from a known program is the whole program, which is no news.
    extracted = None if problem.kind == "code" else verdict.extracted
    return GoldFailure(problem.id, problem.answer, verdict.outcome, extracted, verdict.detail)


def _shown(problem_id: str, completion: str) -> Trace:
    return Trace(problem_id, 0, completion, "stop", 0, 0)


def _told(failure: GoldFailure) -> str:
    why = failure.detail or f"read as {failure.extracted!r}"
    gold = repr(failure.answer[:60]) if failure.answer else "the known solution"
    return f"{failure.problem_id}: {gold} is {failure.outcome}: {why}"
