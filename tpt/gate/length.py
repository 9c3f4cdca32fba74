"""Length: how many completions are cut off, and what limit would cut few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from tpt.config.answer_format import format_of
from tpt.gate.early_samples import UNKNOWN, EarlySamples, Finding, is_cut_off
from tpt.prune import is_wrong_as_asked
from tpt.records import Trace, Verdict
from tpt.scoring.repetition import looped, words_of

FEW = 0.02
"""Share of completions that a limit may cut off."""
MANY = 0.1
"""Where more are cut off than this share, by the interval's lower end, the limit decides what is learnt."""
_LEAST_FINISHED = 20
"""Completions that must have ended by themselves before a longer limit is estimated from them."""
_FARTHEST = 4
"""A limit so many times as long is beyond what cut-off data can tell."""
_ROUNDS = 200
_RUNS_ON = ['think.stop and evaluate.stop: what follows the answer, such as "\\nQuestion:"']
_LOOPS = [
    "think.temperature and evaluate.temperature: higher, where loops are fewer",
    "prompt.few_shot: worked examples that end",
]


def length_finding(seen: EarlySamples) -> Finding:
    """Return the share cut off and the limit that would cut off few, as far as cut-off data tell."""
    cut = seen.share(is_cut_off)
    finished = sorted(trace.completion_tokens for trace, _ in seen.pairs if trace.finish_reason == "stop")
    pairs = [pair for pair in seen.pairs if is_cut_off(*pair)]
    rest = [trace.completion for trace, verdict in pairs if not _is_answered(seen, trace, verdict)]
    answered, loops = len(pairs) - len(rest), sum(looped(map(words_of, rest))) if rest else 0
    short = len(rest) - loops
    limit = enough_tokens(finished, short, seen.max_tokens)
    verdict = "fine" if cut.high < MANY else UNKNOWN
    if cut.low > FEW:
        verdict = "cut off" if cut.low > MANY else "some cut off"
    said = f"{cut} of completions are cut off at {seen.max_tokens} tokens"
    said += f", {answered} of these {cut.hits} behind an answer written as asked" if answered else ""
    said += f", {loops} of these {cut.hits} caught in a loop" if loops else ""
    said += ", which no limit would end." if answered or loops else "."
    longer = []
    if short > FEW * cut.of:
        said += _of_limit(limit, seen.max_tokens)
        if limit != seen.max_tokens:
            longer = [f"think.max_tokens and evaluate.max_tokens: {limit or 2 * seen.max_tokens}"]
    elif cut.hits > FEW * cut.of and len(finished) >= _LEAST_FINISHED:
        said += " Without these, the limit would do."
    causes = sorted([(short, longer), (answered, _RUNS_ON), (loops, _LOOPS)], key=lambda cause: -cause[0])
    keys = [key for count, keys in causes if count for key in keys]
    figures = {"cut off": cut, "behind an answer": answered, "in a loop": loops}
    figures |= {"max_tokens": seen.max_tokens, "estimated limit": limit}
    return Finding("length", verdict, said, keys if verdict in ("cut off", "some cut off") else [], figures)


def _is_answered(seen: EarlySamples, trace: Trace, verdict: Verdict) -> bool:
    """Return whether a completion holds an answer that is written as asked, right or wrong."""
    problem, limits = seen.problems[trace.problem_id], seen.config.verify
    if format_of(problem.kind, limits.answer_format) == "last":
        return False  # any number is one
    return verdict.strict or is_wrong_as_asked(trace, verdict, problem, limits)


def enough_tokens(finished: Sequence[int], cut: int, limit: int) -> int | None:
    """Return the limit that cuts off fewer than one in fifty, estimated; None where the data cannot say.

    Lengths are taken for log-normal. Those cut off are known only to be longer than the limit, which is what the
    expectation step puts in for them (EM for right-censored data).
    """
    total = len(finished) + cut
    if not cut or cut <= FEW * total:
        return limit
    if len(finished) < max(_LEAST_FINISHED, cut):
        return None
    logs, end, normal = [math.log(max(1, each)) for each in finished], math.log(limit), NormalDist()
    mean = (sum(logs) + cut * end) / total
    spread = math.sqrt(sum((each - mean) ** 2 for each in logs) / total) or 0.1
    for _ in range(_ROUNDS):
        z = (end - mean) / spread
        hazard = normal.pdf(z) / max(1e-12, 1 - normal.cdf(z))
        beyond = mean + spread * hazard
        moved = (sum(logs) + cut * beyond) / total
        square = spread**2 * (1 + z * hazard) + (moved - mean) ** 2 - 2 * (beyond - mean) * (moved - mean)
        spread = math.sqrt((sum((each - moved) ** 2 for each in logs) + cut * square) / total)
        mean = moved
    found = math.exp(mean + spread * normal.inv_cdf(1 - FEW))
    return None if found > _FARTHEST * limit else max(limit, 16 * math.ceil(found / 16))


def _of_limit(limit: int | None, now: int) -> str:
    if limit is None:
        return (
            f" What limit would cut off fewer than {FEW:.0%} cannot be told from these: more than {now} tokens. "
            f"Try {2 * now} and look again."
        )
    if limit == now:
        return ""
    return f" A limit of about {limit} would cut off fewer than {FEW:.0%}: an estimate from those that did end."
