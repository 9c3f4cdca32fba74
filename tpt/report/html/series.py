"""The numbers that evaluation writes of every round, under names to read: which are drawn, and which only listed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tpt.records import RoundRecord

_STDERR = "_stderr"


@dataclass(frozen=True, slots=True)
class Series:
    """A number over the rounds."""

    label: str
    drawn: bool
    reach: float = 0.0
    """The axis goes to this value at least, so that next to nothing does not look like much."""
    better: str = ""
    """Which way is good: "up", "down", or "" where neither is."""
    values: dict[int, float] = field(default_factory=dict)
    """By round."""
    errors: dict[int, float] = field(default_factory=dict)
    """Standard error, where there is one."""


class _Measure(NamedTuple):
    pattern: str
    label: str
    """``{}`` stands for the groups of the pattern."""
    drawn: bool
    better: str = ""
    factor: float = 1.0
    reach: float = 0.0


_VARIETY = (
    _Measure(r"distinct_chains_in_(4)", "different solution paths in {} right traces", True, "up"),
    _Measure(r"distinct_chains_in_(\d+)", "different solution paths in {} right traces", False, "up"),
    _Measure(r"duplicates", "right traces that repeat another word for word, %", True, "down", 100, 5),
    _Measure(r"self_bleu", "likeness of right traces (self-BLEU)", True, "down"),
    _Measure(r"distinct_(2)_in_(1000)", "different runs of {} words in {} words, %", True, "up", 100),
    _Measure(r"distinct_(\d+)_in_(\d+)", "different runs of {} words in {} words, %", False, "up", 100),
    _Measure(r"compression", "how far right traces can be compressed, times", True, "down"),
    _Measure(r"answer_entropy", "entropy of the answers (nats)", True),
)
_PROBE = (
    _Measure(r"entropy", "entropy of the next token (nats)", True),
    _Measure(r"kl_base_round", "distance from the base model (KL, nats a token)", True),
    _Measure(r"human_nll", "surprise at the source's solutions (nats a token)", True, "down"),
    _Measure(r"kl_round_base", "the same, seen from the round's model", False),
    _Measure(r"entropy_change", "entropy less the base model's", False),
    _Measure(r"human_nll_change", "surprise less the base model's", False),
    _Measure(r"(human_)?(texts|tokens)", "{}{} read", False),
)
_LENGTHS = (
    _Measure(r"mean", "tokens of a trace, mean", True),
    _Measure(r"p95", "tokens of a trace, 95th percentile", True),
    _Measure(r"truncated", "cut off at the token limit, %", True, "down", 100, 5),
    _Measure(r"looped", "caught in a loop, %", True, "down", 100, 5),
)


def diversity_series(records: Sequence[RoundRecord]) -> list[Series]:
    """Return how varied each round's right traces are."""
    return _series({record.index: record.evaluate.diversity for record in records}, _VARIETY)


def probe_series(records: Sequence[RoundRecord]) -> list[Series]:
    """Return what each round's model says of texts that stay the same; empty where nothing was probed."""
    return _series({record.index: record.evaluate.probe for record in records}, _PROBE)


def length_series(records: Sequence[RoundRecord]) -> list[Series]:
    """Return how long each round's traces are."""
    return _series({record.index: record.evaluate.lengths for record in records}, _LENGTHS)


def _series(tables: Mapping[int, Mapping[str, float]], measures: Sequence[_Measure]) -> list[Series]:
    """Return known numbers in the order of the measures, then those that are not known, under their own names."""
    keys = list(dict.fromkeys(key for table in tables.values() for key in table if not key.endswith(_STDERR)))
    found: list[tuple[int, Series]] = []
    for key in keys:
        order, measure = _described(key, measures)
        series, factor = Series(measure.label, measure.drawn, measure.reach, measure.better), measure.factor
        for index, table in tables.items():
            if math.isfinite(table.get(key, math.nan)):
                series.values[index] = factor * table[key]
            if math.isfinite(table.get(key + _STDERR, math.nan)):
                series.errors[index] = factor * table[key + _STDERR]
        if series.values:
            found.append((order, series))
    return [series for _, series in sorted(found, key=lambda each: each[0])]


def _described(key: str, measures: Sequence[_Measure]) -> tuple[int, _Measure]:
    for index, measure in enumerate(measures):
        if match := re.fullmatch(measure.pattern, key):
            groups = ((each or "").replace("_", " ") for each in match.groups())
            return index, measure._replace(label=measure.label.format(*groups))
    return len(measures), _Measure(key, key.replace("_", " "), True)
