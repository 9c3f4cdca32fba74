"""How varied a model's correct traces are, always at equal numbers, so that rounds compare.

A better model has more correct traces, and more traces hold more different ones: any count of what is different grows
with accuracy unless the number of traces (or words, or bytes) is held fixed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from tpt.records import Outcome, ProblemDiversity, Trace, Verdict
from tpt.scoring import answer_entropy, rarefied, stderr_over
from tpt.scoring.equations import equation_chain
from tpt.scoring.repetition import compression_ratio, distinct_ngrams, looped, self_bleu, words_of
from tpt.seeds import shuffled

COMPARED = 4
"""Correct traces of a problem among which different ones are counted, problem by problem."""
_REACHING = 0.25
"""Share of the problems with two correct traces that a number of traces is compared on, at least."""
_POOLS = (1_000, 10_000)
"""Words of the correct traces that n-grams are counted in."""
_POOL_BYTES = 16_384
"""Bytes of the correct traces that are compressed."""
_POOL_TEXTS = 16_384
"""Texts that fill every pool: each has a line break at least, and nearly all have words."""
_BATCH = 1000
"""Traces that are looked at together."""
_GROUPS = 200
"""Problems, at most, whose correct traces are compared with each other."""


class Diversity(NamedTuple):
    """What the traces of one model are like."""

    problems: list[ProblemDiversity]
    diversity: dict[str, float]
    """By the name of the measure; one that too few correct traces leave undefined is missing."""
    lengths: dict[str, float]
    """Mean and 95th percentile of the completion tokens, and the shares of traces cut off and caught in a loop."""


def diversity_of(
    traces: Iterable[Trace], verdicts: Mapping[str, Sequence[Verdict]], answer_of: Callable[[Verdict], str | None]
) -> Diversity:
    """Measure the traces of a model on some problems.

    ``answer_of`` returns a verdict's answer in one spelling, None if there is none.
    """
    own = _by_problem(traces)
    correct = _correct(own, verdicts)
    chains = {problem_id: _sizes(map(equation_chain, group)) for problem_id, group in correct.items()}
    flat = [trace for problem_id in verdicts for trace in own[problem_id]]
    loops = _loops(trace.completion for trace in flat)
    problems = [
        ProblemDiversity(
            problem_id=problem_id,
            chains=_among(COMPARED, chains.get(problem_id, [])),
            texts=_among(COMPARED, _sizes(correct.get(problem_id, []))),
            answer_entropy=answer_entropy([answer_of(verdict) for verdict in judged]),
            tokens=_mean(trace.completion_tokens for trace in own[problem_id]),
            truncated=_mean(trace.finish_reason == "length" for trace in own[problem_id]),
            looped=_mean([next(loops) for _ in own[problem_id]]),
        )
        for problem_id, judged in verdicts.items()
    ]
    turns = _turns({problem_id: len(group) for problem_id, group in correct.items()})
    pool = [correct[problem_id][turn] for problem_id, turn in turns]
    diversity = {
        **_chain_curve(chains),
        **_duplicates(problems),
        **_self_bleu(correct),
        **_pool_diversity(pool),
        "answer_entropy": _mean(row.answer_entropy for row in problems),
    }
    return Diversity(problems, diversity, _lengths(flat, problems, own))


def training_diversity(pairs: Iterable[tuple[Trace, Verdict]]) -> dict[str, float]:
    """Return the diversity of the correct traces sampled for training: over all problems, as each may have just one.

    The pairs come in the order of their keys, and are gone through twice; few are in memory at once.
    """
    correct: Counter[str] = Counter()

    def texts() -> Iterator[str]:
        for problem_id, text in _correct_completions(pairs):
            correct[problem_id] += 1
            yield text

    loops = sum(_loops(texts()))
    positions = {key: position for position, key in enumerate(islice(_turns(correct), _POOL_TEXTS))}
    pool = [""] * len(positions)
    turn: Counter[str] = Counter()
    for problem_id, text in _correct_completions(pairs):
        if (position := positions.get((problem_id, turn[problem_id]))) is not None:
            pool[position] = text
        turn[problem_id] += 1
    return {**_pool_diversity(pool), **({"looped": loops / correct.total()} if correct else {})}


def _loops(texts: Iterator[str]) -> Iterator[bool]:
    """Yield of each text whether it is caught in a loop."""
    while batch := list(islice(texts, _BATCH)):
        yield from looped(map(words_of, batch))


def _correct_completions(pairs: Iterable[tuple[Trace, Verdict]]) -> Iterator[tuple[str, str]]:
    return ((trace.problem_id, trace.completion) for trace, verdict in pairs if verdict.outcome is Outcome.CORRECT)


def _turns(correct: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the keys of correct traces, (problem id, turn), as a pool takes them.

    It takes one of every problem, in an order that chance chose once for all rounds, then a second of every problem,
    and so on.
    """
    order = shuffled(list(correct), 0, "variety")
    for turn in range(max(correct.values(), default=0)):
        yield from ((problem_id, turn) for problem_id in order if turn < correct[problem_id])


def _chain_curve(chains: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return the distinct chains among 2, 4, 8, … correct traces, over the problems that have so many.

    It ends where less than a quarter of the problems that have 2 reach: the hardest ones would decide.
    """
    totals = [sum(sizes) for sizes in chains.values()]
    found: dict[str, float] = {}
    for m in (2**power for power in range(1, max(totals, default=0).bit_length())):
        values = [rarefied(sizes, m) for sizes in chains.values() if sum(sizes) >= m]
        if len(values) < _REACHING * sum(total >= 2 for total in totals):
            break
        found[f"distinct_chains_in_{m}"] = _mean(values)
        if m == COMPARED and len(values) > 1:
            found[f"distinct_chains_in_{m}_stderr"] = stderr_over(np.array(values))
    return found


def _duplicates(problems: Sequence[ProblemDiversity]) -> dict[str, float]:
    """Return the share of the compared traces that repeat the very text of another of their problem."""
    texts = [row.texts for row in problems if row.texts is not None]
    return {"duplicates": 1 - _mean(texts) / COMPARED} if texts else {}


def _self_bleu(correct: Mapping[str, Sequence[str]]) -> dict[str, float]:
    order = shuffled([problem_id for problem_id, group in correct.items() if len(group) >= COMPARED], 0, "variety")
    chosen = [[words_of(text) for text in correct[problem_id][:COMPARED]] for problem_id in order[:_GROUPS]]
    return {"self_bleu": _mean(map(self_bleu, chosen))} if chosen else {}


def _pool_diversity(pool: Sequence[str]) -> dict[str, float]:
    """Return distinct-1, -2 and -3 at fixed numbers of words, and the compression ratio at a fixed number of bytes."""
    found: dict[str, float] = {}
    for size in _POOLS:
        if (texts := _first_words(pool, size)) is not None:
            found |= {f"distinct_{n}_in_{size}": distinct_ngrams(texts, n) for n in (1, 2, 3)}
    if (data := _first_bytes(pool, _POOL_BYTES)) is not None:
        found["compression"] = compression_ratio(data)
    return found


def _first_words(pool: Iterable[str], size: int) -> list[list[str]] | None:
    """Return the first ``size`` words of the pool, text by text; None if it has fewer."""
    texts, left = [], size
    for text in pool:
        texts.append(words_of(text)[:left])
        left -= len(texts[-1])
        if left == 0:
            return texts
    return None


def _first_bytes(pool: Iterable[str], size: int) -> bytes | None:
    """Return the first ``size`` bytes of the pool, a line break after each text; None if it has fewer."""
    data = b""
    for text in pool:
        data += text[:size].encode("utf-8", "surrogatepass") + b"\n"
        if len(data) >= size:
            return data[:size]
    return None


def _lengths(
    traces: Sequence[Trace], problems: Iterable[ProblemDiversity], own: Mapping[str, Sequence[Trace]]
) -> dict[str, float]:
    tokens = np.array([trace.completion_tokens for trace in traces])
    return {
        "mean": float(tokens.mean()),
        "p95": float(np.percentile(tokens, 95)),
        "truncated": sum(trace.finish_reason == "length" for trace in traces) / len(traces),
        "looped": math.fsum(row.looped * len(own[row.problem_id]) for row in problems) / len(traces),
    }


def _correct(own: Mapping[str, Sequence[Trace]], verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, list[str]]:
    """Return problem id to its correct completions, by sample, for the problems that have any."""
    found = {}
    for problem_id, judged in verdicts.items():
        right = {verdict.sample for verdict in judged if verdict.outcome is Outcome.CORRECT}
        if completions := [trace.completion for trace in own[problem_id] if trace.sample in right]:
            found[problem_id] = completions
    return found


def _by_problem(traces: Iterable[Trace]) -> dict[str, list[Trace]]:
    own: dict[str, list[Trace]] = defaultdict(list)
    for trace in sorted(traces, key=lambda trace: (trace.problem_id, trace.sample)):
        own[trace.problem_id].append(trace)
    return own


def _among(m: int, sizes: Sequence[int]) -> float | None:
    return rarefied(sizes, m) if sum(sizes) >= m else None


def _sizes(things: Iterable[object]) -> list[int]:
    return list(Counter(things).values())


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else 0.0
