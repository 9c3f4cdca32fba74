"""Length: how many completions are cut off, and what limit would cut few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from tpt.gate.early_samples import UNKNOWN, EarlySamples, Finding, is_cut_off
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


def length_finding(seen: EarlySamples) -> Finding:
    """Return the share cut off and the limit that would cut off few, as far as cut-off data tell."""
    cut = seen.share(is_cut_off)
    finished = sorted(trace.completion_tokens for trace, _ in seen.pairs if trace.finish_reason == "stop")
    texts = [trace.completion for trace, verdict in seen.pairs if is_cut_off(trace, verdict)]
    loops = sum(looped([words_of(text) for text in texts])) if texts else 0
    limit = enough_tokens(finished, cut.hits - loops, seen.max_tokens)
    verdict = "fine" if cut.high < MANY else UNKNOWN
    if cut.low > FEW:
        verdict = "cut off" if cut.low > MANY else "some cut off"
    said = f"{cut} of completions are cut off at {seen.max_tokens} tokens"
    said += f", {loops} of these {cut.hits} caught in a loop, which no limit would end. " if loops else ". "
    keys = []
    if cut.hits > FEW * cut.of:
        said += _of_limit(limit, seen.max_tokens)
        if limit is None or limit > seen.max_tokens:
            keys = [f"think.max_tokens and evaluate.max_tokens: {limit or 2 * seen.max_tokens}"]
    figures = {"cut off": cut, "in a loop": loops, "max_tokens": seen.max_tokens, "estimated limit": limit}
    return Finding("length", verdict, said.strip(), keys if verdict in ("cut off", "some cut off") else [], figures)


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
            f"What limit would cut off fewer than {FEW:.0%} cannot be told from these: more than {now} tokens. "
            f"Try {2 * now} and look again."
        )
    if limit == now:
        return "Without the loops, the limit would do."
    return f"A limit of about {limit} would cut off fewer than {FEW:.0%}: an estimate from those that did end."
