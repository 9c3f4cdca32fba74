"""Stop strings: a completion ends before the first one in its text, as every serving engine cuts it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Sequence

from tpt.engines import Completion, Request
from tpt.records import FinishReason

LOOK_EVERY = 8
"""Steps between two looks at the text of completions in flight, where an engine has to look itself."""


def stop_in(text: str, stops: Sequence[str]) -> int:
    """Return where the first stop string of a text begins; -1 when there is none."""
    return min((at for stop in stops if (at := text.find(stop)) >= 0), default=-1)


def ended_by_text(
    request: Request, token_ids: tuple[int, ...], decode: Callable[[tuple[int, ...]], str]
) -> Completion | None:
    """Return the completion up to its first stop string, if it has one.

    Its tokens are those that it takes to write the stop string, whenever that was noticed; its text ends before it.
    """
    stops = request.sampling.stop_strings
    text = decode(token_ids) if stops else ""
    at = stop_in(text, stops)
    if at < 0:
        return None
    counts = range(1, len(token_ids) + 1)
    needed = bisect_left(counts, True, key=lambda count: stop_in(decode(token_ids[:count]), stops) >= 0)
    return Completion(request.id, token_ids[: counts[min(needed, len(counts) - 1)]], text[:at], "stop")


def sampled_completion(
    request: Request,
    token_ids: tuple[int, ...],
    decode: Callable[[tuple[int, ...]], str],
    stop_ids: Container[int],
) -> Completion:
    """Return what a request's sampled tokens come to; ``stop_ids`` are those that end a turn."""
    if stopped := ended_by_text(request, token_ids, decode):
        return stopped
    reason: FinishReason = "stop" if token_ids[-1] in stop_ids else "length"
    return Completion(request.id, token_ids, decode(token_ids), reason)
