"""Whether an answer is written as asked, in words: that is one question, and whether it is right is another."""

from __future__ import annotations

from tpt.config import VerifyConfig
from tpt.errors import TPTError
from tpt.prune import is_wrong_as_asked
from tpt.records import Outcome, Problem, Trace, Verdict


def answer_form(trace: Trace, verdict: Verdict, problem: Problem, limits: VerifyConfig) -> str:
    """Return "format kept" or "format not kept"; "" where there is no answer whose format could be told."""
    if verdict.outcome is Outcome.CORRECT:
        return "format kept" if verdict.strict else "format not kept"
    if verdict.outcome is not Outcome.WRONG or not verdict.extracted or problem.kind in ("code", "regex"):
        return ""
    try:
        return "format kept" if is_wrong_as_asked(trace, verdict, problem, limits) else "format not kept"
    except TPTError:  # the run's own verifier is not on this machine
        return ""
