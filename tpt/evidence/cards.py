"""What a run has shown, as plain records: shares are in [0, 1], so a difference of 0.01 is one point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tpt.records import Estimate
from tpt.system.words import points

Finding = Literal["gain", "within noise", "loss"]
Part = Literal["format", "sharpening", "skill"]
"""A part of a strict gain, see docs/evidence.md."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean over problems of a model's score less another's, paired by problem."""

    mean: float
    stderr: float
    low: float
    """The differences that the test does not reject, at the level that its adjustment holds it to: 0 lies outside
    exactly where the finding is a gain or a loss."""
    high: float
    p_value: float
    """Two-sided, of a sign-flip permutation test."""
    p_holm: float
    """Adjusted for the other tests of its family, see ``Evidence.family``."""
    detectable: float | None
    """The smallest true difference that is detected 80 % of the time though no other of the family is there; None: none is."""
    finding: Finding
    """``gain`` or ``loss`` where the adjusted p-value is at most the level, by the sign."""

    def in_points(self) -> str:
        """Return it with its interval, in points."""
        return f"{points(self.mean)} [{points(self.low)}, {points(self.high)}]"


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which problems are solved by one of k samples, at the same k for both models.

    A problem with more samples than k counts with its chance to be solved by k of them, so the counts need not be whole.
    """

    k: int
    """The fewest samples that both models took of every problem."""
    gained: float
    """Problems solved here, not by the other."""
    lost: float
    """Solved by the other, not here."""
    neither: float
    p_value: float
    """Two-sided, of McNemar's exact test; of a sign-flip test where the counts are not whole or problems are clustered."""
    gained_ids: list[str]
    """Problems more likely gained than not; look at each with ``tpt show RUN --round R --problem ID``."""
    lost_ids: list[str]
    neither_ids: list[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A round less another one, on the problems that both were scored on."""

    other: int
    """The other round; 0 is the base model."""
    problems: int
    strict: Difference
    """Strict pass@1; format, sharpening and skill add up to it."""
    lenient: Difference
    format: Difference
    """More of the right values are written as asked: the change of strict less lenient."""
    sharpening: Difference | None
    """Samples come nearer to what the model says greedily: the change of lenient less greedy; None: no greedy samples."""
    skill: Difference | None
    """The greedy sample is right more often, in whatever format."""
    most: Part | None
    """The part that is significantly more than half of a significant gain."""
    k: int
    """The largest k that both models have samples for."""
    pass_at_k: Difference
    pass_at_k_lenient: Difference
    crossing_k: int | None
    """From this k on the other's strict pass@k is higher, where it is significantly so at the largest k; else None."""
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
    greedy: Estimate | None
    """Strict score of one greedy sample a problem; None: not taken."""
    greedy_lenient: Estimate | None
    pass_at_k: dict[int, Estimate]
    """Strict, for every k from 1 to the samples taken."""
    pass_at_k_lenient: dict[int, Estimate]
    maj_at_k: dict[int, Estimate]
    """Lenient, of the most frequent answer among k samples."""
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
    greedy_before: Estimate | None
    """Lenient, as skill is."""
    greedy_after: Estimate | None
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class GroupRound:
    """What one round scored on one group of problems."""

    round: int
    strict: Estimate
    """pass@1."""
    lenient: Estimate
    greedy: Estimate | None
    """Lenient, of one greedy sample a problem; None: not taken."""
    to_base: Comparison | None
    """Against the base model, Holm over the group's rounds; None for the base model itself, and where a single problem
    leaves nothing to pair."""


@dataclass(frozen=True, slots=True)
class Group:
    """Problems that are looked at by themselves: a further set of them, or the held-out problems of one level."""

    name: str
    problems: int
    samples: int
    """Samples of every problem."""
    rounds: list[GroupRound]
    """In order, the base model first; those that were scored on it."""


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
    choosing_units: int
    """As many of them, or clusters of them, stand for themselves."""
    claiming: int
    """Held-out problems that the claim is about."""
    clusters: int | None
    """How many clusters the held-out problems are in; None: each stands for itself."""
    detectable_star: float | None
    """The smallest true gain of a round that makes it the best one 80 % of the time, though no other has any; None: only
    the base model is scored, there are too few problems for any, or the best round needs no test."""
    needed_for_star: int
    """Choosing problems (or clusters) below which no round can become the best one, whatever its gain; 0: nothing is
    scored, or the best round needs no test."""
    claim: Claim | None
    """None while the best round is the base model, and where a single problem or cluster is left to make it on."""
    never_solved: list[str]
    """Problems without a strictly right sample in any round."""
    never_solved_lenient: list[str]
    also: list[Group]
    """The further sets that were scored (``evaluate.also``), in the config's order."""
    levels: list[Group]
    """The held-out problems by their level, where they have one; empty where there are fewer than 2 levels or too many."""
    tested: bool
    """Whether only a round that is significantly better than the base model can be the best one (``stop.rule``)."""
