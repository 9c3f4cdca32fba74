"""Are these problems fit to run on: every gold passes its own verifier, nothing doubled, nothing held out seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from tpt.errors import ProblemError
from tpt.problems.overlap import Overlap, check_disjoint, closest_pairs, duplicates
from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement, Verifier

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class GoldFailure:
    """A gold answer that its own verifier does not accept."""

    problem_id: str
    answer: str
    outcome: Outcome
    extracted: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What the check of one set of problems found."""

    problems: int
    kinds: dict[str, int]
    """Kind to number of problems."""
    gold_failures: list[GoldFailure]
    unchecked: list[str]
    """Ids of problems with tests but no solution to try them with."""
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
                "Correct these answers, leave the problems out, or set another problems.kind."
            )


def check(
    problems: Sequence[Problem],
    heldout: Sequence[Problem] | None = None,
    *,
    verifier_for: Callable[[str], Verifier],
) -> Check:
    """Check training problems, and held-out ones against them.

    Args:
        problems: the training problems.
        heldout: the held-out problems.
        verifier_for: kind to verifier; asked once for each kind.

    Raises:
        ProblemError: a problem is on both sides.
    """
    if heldout is not None:
        check_disjoint(problems, heldout)
    of_kind = cache(verifier_for)

    def verify(problem: Problem, completion: str) -> Judgement:
        return of_kind(problem.kind)(problem, completion)

    return Check(
        train=check_problems(problems, verify),
        heldout=None if heldout is None else check_problems(heldout, verify),
        closest=[] if heldout is None else closest_pairs(problems, heldout),
    )


def check_problems(problems: Sequence[Problem], verify: Verifier) -> CheckReport:
    """Show each problem's gold, in the asked format, to its verifier, which must find it right."""
    failures: list[GoldFailure] = []
    unchecked: list[str] = []
    for problem in problems:
        completion = gold_completion(problem)
        if completion is None:
            unchecked.append(problem.id)
            continue
        judged = verify(problem, completion)
        if judged.outcome is not Outcome.CORRECT:
            failures.append(GoldFailure(problem.id, problem.answer, judged.outcome, judged.extracted, judged.detail))
    return CheckReport(
        problems=len(problems),
        kinds=dict(sorted(Counter(problem.kind for problem in problems).items())),
        gold_failures=failures,
        unchecked=unchecked,
        duplicates=duplicates(problems),
    )


def gold_completion(problem: Problem) -> str | None:
    """Return the completion that answers the problem with its gold in the asked format; None when there is none."""
    if problem.kind == "code":
        return None if problem.solution is None else f"```python\n{problem.solution}\n```"
    if problem.kind == "math":
        return f"\\boxed{{{problem.answer}}}"
    return f"#### {problem.answer}"


def _told(failure: GoldFailure) -> str:
    why = failure.detail or f"read as {failure.extracted!r}"
    return f"{failure.problem_id}: {failure.answer[:60]!r} is {failure.outcome}: {why}"
