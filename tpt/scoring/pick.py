"""Which of a problem's keepable traces are taken."""

from __future__ import annotations

import random
from itertools import pairwise

from tpt.errors import OwnCodeError
from tpt.records import Trace
from tpt.system.own_code import call_own_code, is_own_code


def pick_traces(traces: list[Trace], count: int, how: str, random_source: random.Random) -> list[Trace]:
    """Return so many of a problem's keepable traces, by sample.

    The traces are without duplicates, and ``count`` is at most their number; ``how``: see ``prune.pick``.
    ``random_source`` is of this problem and round.

    Raises:
        OwnCodeError: the user's own function raises, or returns anything but different traces of these.
    """
    ordered = sorted(traces, key=lambda trace: trace.sample)
    if is_own_code(how):
        picked = _own_pick(how, ordered, count, random_source)
    elif how == "random":
        picked = random_source.sample(ordered, count)
    elif how == "diverse":
        picked = _most_diverse(ordered, count, random_source)
    elif how == "first":
        picked = ordered[:count]
    else:
        longest_first = how == "longest"
        picked = sorted(ordered, key=lambda trace: trace.completion_tokens, reverse=longest_first)[:count]
    return sorted(picked, key=lambda trace: trace.sample)


def _own_pick(name: str, traces: list[Trace], count: int, random_source: random.Random) -> list[Trace]:
    picked = call_own_code(name, traces, count, random_source)
    if not isinstance(picked, list) or not all(any(each is trace for trace in traces) for each in picked):
        raise OwnCodeError(f"prune.pick = {name}: it must return a list of the traces that it was given")
    samples = [trace.sample for trace in picked]
    if not picked or len(set(samples)) != len(samples):
        raise OwnCodeError(f"prune.pick = {name}: it returned {'a trace twice' if picked else 'no trace'}")
    return picked


def _most_diverse(traces: list[Trace], count: int, random_source: random.Random) -> list[Trace]:
    """Start from a random trace and add, each time, the one least like those already picked."""
    grams = {trace.sample: _word_pairs(trace.completion) for trace in traces}
    picked = [random_source.choice(traces)]
    while len(picked) < count:
        rest = [trace for trace in traces if trace not in picked]
        picked.append(min(rest, key=lambda t: max(_likeness(grams[t.sample], grams[p.sample]) for p in picked)))
    return picked


def _word_pairs(text: str) -> set[tuple[str, str]]:
    words = text.split()
    return set(pairwise(words))


def _likeness(one: set[tuple[str, str]], other: set[tuple[str, str]]) -> float:
    """Jaccard index."""
    return len(one & other) / max(1, len(one | other))
