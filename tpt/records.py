"""Every type that is ever a line in a file: frozen, slotted, without logic.

The join key of traces, verdicts and examples is ``(problem_id, sample)``. Records hold no clocks and no positions;
times live in the stage manifests. Completions are made ``well_formed`` where they come in.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct, field

_HALF_PAIR = re.compile("[\ud800-\udfff]")
Number = float | int
"""A whole one is read back as it was written: 64, not 64.0."""
FinishReason = Literal["stop", "length", "error"]
"""``error``: the request failed again and again, and there is no completion."""
Message = dict[str, str]
"""One chat turn: ``{"role": "system" | "user" | "assistant", "content": ...}``."""


def well_formed(text: str) -> str:
    """Return a text with U+FFFD in place of each half of a surrogate pair, which has no UTF-8 form."""
    return text if text.isascii() else _HALF_PAIR.sub("\ufffd", text)


class Outcome(StrEnum):
    """What a verifier can say of a trace; the counts of the five add up to the number of traces."""

    CORRECT = "CORRECT"
    WRONG = "WRONG"
    NO_ANSWER = "NO_ANSWER"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"


class Record(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A line in a file; ``msgspec.structs`` has ``replace`` and ``asdict`` for it."""


class Problem(Record, frozen=True):
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
    cluster: str = ""
    """Problems of one cluster have more in common than chance, such as one template: they count as one unit of
    evidence; empty: the problem stands for itself."""
    level: str = ""
    """How hard the source says it is, such as ``5``; empty: it does not say."""


class Trace(Record, frozen=True, omit_defaults=True):
    """One sampled attempt at a problem."""

    problem_id: str
    sample: int
    """Index of the attempt within its problem, from 0."""
    completion: str
    """The text, special tokens within it written out."""
    finish_reason: FinishReason
    completion_tokens: int
    """Tokens sampled, the end-of-turn token included."""
    seed: int
    answer: str | None = None
    """What is judged, where that is not the whole completion: the text after the reasoning, special tokens left out."""
    token_ids: list[int] | None = None
    """The sampled tokens to train on, where the completion's text does not encode to them."""
    error: str = ""
    """Why there is no completion, for ``finish_reason = "error"``."""
    token_digest: str = ""
    """Of the sampled tokens, where it does; both missing: nobody knows them, or the trace is not to be trained on."""
    hint: str = ""
    """What was added to the question for this sample alone; the prompt trained on does not have it."""


def judged_text(trace: Trace) -> str:
    """Return what a verifier is shown of a trace."""
    return trace.completion if trace.answer is None else trace.answer


class Verdict(Record, frozen=True, omit_defaults=True):
    """What the verifier says of one trace."""

    problem_id: str
    sample: int
    outcome: Outcome
    strict: bool
    """The value is right *and* the completion kept the asked answer format."""
    extracted: str | None
    """The final answer as found in the completion."""
    # A factory's value is written even where it is the default.
    detail: str = field(default_factory=str)
    tests_passed: int | None = None
    """Of a program's unit tests; None for answers."""
    tests_total: int | None = None
    checksum: str = ""
    """Of itself and its trace, so that a stage under way sees when one of them was changed; empty: not known."""


class Example(Record, frozen=True, omit_defaults=True):
    """A self-contained chat SFT row that any other trainer can use as it is."""

    problem_id: str
    sample: int
    """The trace it came from; -1: none, but a human solution."""
    messages: list[Message]
    """The prompt's messages, then the assistant's completion."""
    token_ids: list[int] | None = None
    """As in the trace."""
    token_digest: str = ""
    weight: Number = 1.0
    """What its tokens' losses are multiplied by; below 0 they are trained away from."""


class Look(Record, frozen=True):
    """One trained model's score on held-out problems."""

    heldout: str
    """Digest of the problems' file."""
    run: str
    """Path of the run, as it was."""
    round: int


class Estimate(Record, frozen=True, omit_defaults=True):
    """A mean over problems, its standard error and its 95 % interval."""

    mean: Number
    stderr: Number
    low: Number | None = None
    """None in what earlier versions wrote."""
    high: Number | None = None


class EvalReport(Record, frozen=True):
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
    diversity: dict[str, Number]
    """See docs/collapse.md; a measure that too few correct traces leave undefined is missing."""
    lengths: dict[str, Number]
    """Mean and 95th percentile of completion_tokens, and the shares that ended by length and in a loop."""
    probe: dict[str, Number] = field(default_factory=dict)
    """What the model itself says of fixed texts; empty: there were none, or ``evaluate.probe`` is 0."""
    greedy: Estimate | None = None
    """Strict score of the one greedy sample of each problem; None: not taken."""
    greedy_lenient: Estimate | None = None
    failed_requests: int = 0
    """Samples without a completion, as their requests failed; they count as not right."""
    weights: str = "full"
    """Those that the samples were taken with: full, or int8."""


class ProblemDiversity(Record, frozen=True):
    """What one model's traces of one held-out problem are like; paired by problem, two rounds show a change."""

    problem_id: str
    chains: Number | None
    """Different chains of equations expected among 4 correct traces; None: it has fewer."""
    texts: Number | None
    """Different texts expected among them."""
    answer_entropy: Number
    """Of the answers of all its traces, in nats."""
    tokens: Number
    """Mean length of its traces."""
    truncated: Number
    """Share of its traces that ended by length."""
    looped: Number
    """Share of its traces in which some words come again and again."""


class RoundRecord(Record, frozen=True):
    """One line of the report: a round and what each of its stages did."""

    index: int
    """0 is the base model."""
    model: str
    """The checkpoint the round produced (for round 0: the base model)."""
    evaluate: EvalReport
    think: dict[str, Any] | None = None
    prune: dict[str, Any] | None = None
    train: dict[str, Any] | None = None
    wall_s: Number = 0.0


def think_tokens(record: RoundRecord) -> int:
    """Return the tokens that a round sampled to learn from: those of traces kept, thrown away, or broken off."""
    counts = record.think or {}
    return sum(counts.get(part, 0) for part in ("completion_tokens", "surplus_tokens", "cancelled_tokens"))


def evaluate_tokens(record: RoundRecord) -> int:
    """Return the tokens that a round sampled to be scored."""
    report = record.evaluate
    return round(report.lengths["mean"] * report.problems * report.samples)


class Mark(Record, frozen=True):
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
