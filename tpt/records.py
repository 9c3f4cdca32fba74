"""Every type that is ever a line in a file: frozen, slotted, without logic.

The join key of traces, verdicts and examples is ``(problem_id, sample)``. Records hold no clocks and no positions;
times live in the stage manifests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

FinishReason = Literal["stop", "length"]
Message = dict[str, str]
"""One chat turn: ``{"role": "system" | "user" | "assistant", "content": ...}``."""


class Outcome(StrEnum):
    """What a verifier can say of a trace; the counts of the five add up to the number of traces."""

    CORRECT = "CORRECT"
    WRONG = "WRONG"
    NO_ANSWER = "NO_ANSWER"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True)
class Problem:
    """One task with a checkable answer."""

    id: str
    """Stable and unique, for example ``gsm8k/train/00042``."""
    question: str
    answer: str
    """The gold final answer alone, no working."""
    kind: str = "number"
    """Which verifier checks it."""
    tests: list[Any] | None = None
    """Unit tests, for ``kind = "code"``."""
    solution: str | None = None
    """A human-written solution, where the source has one."""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """One sampled attempt at a problem."""

    problem_id: str
    sample: int
    """Index of the attempt within its problem, from 0."""
    completion: str
    finish_reason: FinishReason
    completion_tokens: int
    """Tokens sampled, the end-of-turn token included."""
    seed: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier says of one trace."""

    problem_id: str
    sample: int
    outcome: Outcome
    strict: bool
    """The value is right *and* the completion kept the asked answer format."""
    extracted: str | None
    """The final answer as found in the completion."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A self-contained chat SFT row that any other trainer can use as it is."""

    problem_id: str
    sample: int
    """The trace it came from."""
    messages: list[Message]
    """The prompt's messages, then the assistant's completion."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems and its standard error."""

    mean: float
    stderr: float


@dataclass(frozen=True, slots=True)
class EvalReport:
    """One model's score on the held-out problems."""

    problems: int
    samples: int
    """Samples taken of every problem."""
    outcomes: dict[str, int]
    """Outcome to count; adds up to ``problems * samples``."""
    pass_at_k: dict[int, Estimate]
    """k to strict pass@k."""
    pass_at_k_lenient: dict[int, Estimate]
    maj_at_k: dict[int, Estimate]
    diversity: dict[str, float]
    """See docs/collapse.md; a measure that too few correct traces leave undefined is missing."""
    lengths: dict[str, float]
    """Mean and 95th percentile of completion_tokens, and the shares that ended by length and in a loop."""
    probe: dict[str, float] = field(default_factory=dict)
    """What the model itself says of fixed texts; empty: there were none, or ``evaluate.probe`` is 0."""


@dataclass(frozen=True, slots=True)
class ProblemDiversity:
    """What one model's traces of one held-out problem are like; paired by problem, two rounds show a change."""

    problem_id: str
    chains: float | None
    """Different chains of equations expected among 4 correct traces; None: it has fewer."""
    texts: float | None
    """Different texts expected among them."""
    answer_entropy: float
    """Of the answers of all its traces, in nats."""
    tokens: float
    """Mean length of its traces."""
    truncated: float
    """Share of its traces that ended by length."""
    looped: float
    """Share of its traces in which some words come again and again."""


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One line of the report: a round and what each of its stages did."""

    index: int
    """0 is the base model."""
    model: str
    """The checkpoint the round produced (for round 0: the base model)."""
    evaluate: EvalReport
    think: dict[str, Any] | None = None
    prune: dict[str, Any] | None = None
    train: dict[str, Any] | None = None
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What a person who read a trace says of its verdict; the last mark of a trace holds."""

    round: int
    problem_id: str
    sample: int
    mark: Literal["good", "false_accept", "false_reject", "skip"]
    """``good``: the verdict is right; ``skip``: the person cannot tell."""
    completion: str
    """Digest of the completion that was read; the mark is void when the trace is made again."""
    drawn: bool
    """Whether chance chose the trace; only such marks say something about the traces that were not read."""
