"""The samples that the gate judges by, problem by problem, and what a finding about them is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from tpt.config import RunConfig
from tpt.gate.shares import Share, clustered_share
from tpt.records import Problem, Trace, Verdict
from tpt.run.journal import Pair

Topic = Literal["format", "support", "length", "power", "greedy"]
UNKNOWN: Final = "cannot tell yet"


@dataclass(frozen=True, slots=True)
class Finding:
    """What the samples say of one topic, and the keys to turn."""

    topic: Topic
    verdict: str
    said: str
    keys: list[str]
    """Settings to change, as they stand in a config; empty where nothing needs changing."""
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EarlySamples:
    """Samples of some problems with what must be known to draw conclusions from them."""

    config: RunConfig
    pairs: Sequence[Pair]
    """Sorted by problem."""
    problems: Mapping[str, Problem]
    keepable: Callable[[Trace, Verdict], bool]
    max_tokens: int
    """Limit of these samples."""
    temperature: float
    """Of these samples."""
    train_problems: int
    claiming: int
    """Held-out problems that the claim rests on: those that have no part in choosing the best round."""
    claiming_units: int
    """As many of them, or clusters of them, stand for themselves."""
    clustered: bool
    """Whether held-out problems are in clusters."""
    seconds_per_sample: float | None = None
    """While sampling; None: not measured."""

    def groups(self) -> list[list[Pair]]:
        """Return the samples problem by problem."""
        return [list(group) for _, group in groupby(self.pairs, key=lambda pair: pair[0].problem_id)]

    def share(self, holds: Callable[[Trace, Verdict], bool]) -> Share:
        """Return the share of samples of which something holds."""
        return clustered_share([[holds(trace, verdict) for trace, verdict in group] for group in self.groups()])

    @property
    def tries(self) -> int:
        """The samples of one problem, at most."""
        return max(map(len, self.groups()))

    def solved(self, holds: Callable[[Trace, Verdict], bool]) -> Share:
        """Return the share of problems with a sample of which something holds."""
        return clustered_share([[any(holds(trace, verdict) for trace, verdict in group)] for group in self.groups()])


def is_cut_off(trace: Trace, _verdict: Verdict) -> bool:
    """Return whether a sample ended at the token limit."""
    return trace.finish_reason == "length"
