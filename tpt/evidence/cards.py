"""What a run has shown, as plain records: shares are in [0, 1], so a difference of 0.01 is one point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tpt.records import Estimate

Finding = Literal["gain", "within noise", "loss"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its 95 % bootstrap interval over problems."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean over problems of a model's score less another's, paired by problem."""

    mean: float
    stderr: float
    low: float
    """95 % bootstrap interval over problems."""
    high: float
    p_value: float
    """Two-sided, of a sign-flip permutation test."""
    p_holm: float
    """Adjusted for the other tests of its family, see ``Evidence.family``."""
    detectable: float
    """The smallest true difference that such an evaluation finds 8 times in 10, at the unadjusted level."""
    finding: Finding
    """``gain`` or ``loss`` where the adjusted p-value is at most the level, by the sign."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which problems had a right sample, by id; look at each with ``tpt show RUN --round R --problem ID``."""

    gained: list[str]
    """Solved here, not by the other."""
    lost: list[str]
    """Solved by the other, not here."""
    neither: list[str]
    both: int
    """How many both solved."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A round less another one, on the problems that both were scored on."""

    other: int
    """The other round; 0 is the base model."""
    problems: int
    strict: Difference
    lenient: Difference
    skill: Interval
    """The part of the strict gain that comes from more right values."""
    format: Interval
    """The part that comes from more of the right values being written as asked; with skill it adds up to the gain."""
    crossing_k: int | None
    """From this k on the other's strict pass@k is the higher one; None: at no k up to the samples taken."""
    crossing_k_lenient: int | None
    coverage: Coverage
    """Solved: some sample is strictly right."""
    coverage_lenient: Coverage


@dataclass(frozen=True, slots=True)
class RoundCard:
    """What the held-out problems say of one round."""

    round: int
    """0 is the base model."""
    best: bool
    problems: int
    samples: int
    """Samples of every problem."""
    strict: Estimate
    """pass@1."""
    lenient: Estimate
    pass_at_k: dict[int, Estimate]
    """Strict, for every k from 1 to the samples taken."""
    pass_at_k_lenient: dict[int, Estimate]
    maj_at_k: dict[int, Estimate]
    outcomes: dict[str, int]
    solved: int
    """Problems with a strictly right sample."""
    solved_lenient: int
    to_base: Comparison | None
    """None for the base model itself, and where a single problem leaves nothing to pair."""
    to_previous: Comparison | None
    to_best: Comparison | None
    """On the claiming problems only, as the others chose the best round; None for the best round itself."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The best round less the base model, on problems that had no part in choosing it."""

    round: int
    problems: int
    independent: bool
    """False: there was no split (``evaluate.choose_share = 1``), the same problems chose the round: biased upwards."""
    strict_before: Estimate
    strict_after: Estimate
    lenient_before: Estimate
    lenient_after: Estimate
    strict: Difference
    lenient: Difference
    skill: Interval
    format: Interval


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the finished rounds of a run have shown."""

    rounds: list[RoundCard]
    """In order; empty while not even the base model is scored."""
    best: int
    level: float
    """Of the tests (``stop.alpha``)."""
    family: str
    """In words: which tests the adjusted p-values are adjusted for."""
    choosing: int
    """Held-out problems that the best round is chosen by."""
    claiming: int
    """Held-out problems that the claim is about."""
    claim: Claim | None
    """None while the best round is the base model."""
    never_solved: list[str]
    """Problems without a strictly right sample in any round."""
    never_solved_lenient: list[str]
