"""The gold answer and the source's own solution as completions, so that a verifier can be tried on them."""

from __future__ import annotations

import re

from tpt.records import Problem, Trace
from tpt.system.own_code import is_own_code


def gold_completion(problem: Problem) -> str | None:
    """Return the completion that answers the problem with its gold in the asked format; None when there is none."""
    if problem.kind == "code":
        return None if problem.solution is None else fenced(problem.solution)
    if problem.kind == "math":
        return problem.answer if "\\boxed" in problem.answer else f"\\boxed{{{problem.answer}}}"
    if problem.kind == "regex" or is_own_code(problem.kind):
        # A pattern is no answer, and what your own function wants to see, only a solution can show.
        return problem.solution
    return f"#### {problem.answer}"


def human_trace(problem: Problem) -> Trace:
    """Return the source's own solution as a trace, in the form that the problem's verifier reads; empty if there is none."""
    completion = gold_completion(problem) if problem.kind == "code" else problem.solution
    return Trace(problem.id, 0, completion or "", finish_reason="stop", completion_tokens=0, seed=0)


def fenced(program: str) -> str:
    """Return a program in a Markdown fence, one longer than any in the program."""
    fence = max(["``", *re.findall("`{3,}", program)], key=len) + "`"
    return f"{fence}python\n{program}\n{fence}"
