"""(Problem, completion) → Judgement: checking is done by programs, never by a person or another model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tpt.records import Outcome, Problem, Trace, Verdict


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict without its key."""

    outcome: Outcome
    strict: bool
    extracted: str | None
    detail: str = ""
    tests_passed: int | None = None
    tests_total: int | None = None


Verifier = Callable[[Problem, str], Judgement]
"""Judges one completion of one problem."""


AT_ONCE = frozenset({"number", "choice", "exact", "paper"})
"""Kinds of problems that are judged in this process, in time linear in the text, and always alike."""


class Judge(Protocol):
    """Judges a batch of traces, each by the verifier of its problem's kind."""

    def __call__(self, traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
        """Return one verdict per trace, in the same order."""
