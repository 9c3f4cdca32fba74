"""Prompts in, completions out. An engine knows nothing of problems.

The protocol has the shape of continuous batching: requests go in one by one, finished completions come out as they
finish, so a sampler can decide what to ask next from what has come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

from tpt.records import FinishReason

RequestId = tuple[str, int]
"""``(problem_id, sample)``, the join key of the records."""

Guarantee = Literal["batch-invariant", "seeded", "neither"]
"""What an engine promises of a request's completion.

``batch-invariant``: it depends on the request alone, bit for bit, whatever shares the batch.
``seeded``: it draws from the request's own random stream, but rounding may differ with the batch.
``neither``: the engine does not honour per-request seeds.
"""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Every sampling field, always explicit: a model's generation_config.json never overrides silently."""

    temperature: float
    """0 means greedy."""
    top_p: float
    """1.0 means off."""
    top_k: int
    """0 means off."""
    max_tokens: int
    """Most tokens sampled for one completion, the end-of-turn token included."""
    stop_strings: tuple[str, ...] = ()
    """Strings before the first of which a completion's text ends."""


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to sample."""

    id: RequestId
    prompt_ids: tuple[int, ...]
    seed: int
    """Non-negative, below 2**63."""
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a request."""

    id: RequestId
    token_ids: tuple[int, ...]
    """The sampled tokens, with the end-of-turn token or the tokens of the stop string when the finish reason is ``stop``."""
    text: str
    """The decoded tokens without the end-of-turn token, special tokens within them written out."""
    finish_reason: FinishReason
    error: str = ""
    """Why there is none, for the finish reason ``error``."""
    exact: bool = True
    """Whether these are surely the sampled tokens, not the text's tokenised again."""


class Engine(Protocol):
    """What turns prompts into completions."""

    guarantee: Guarantee

    @property
    def slots(self) -> int:
        """Requests worth keeping in flight at once; more are queued."""

    def add(self, request: Request) -> None:
        """Queue a request; raise EngineError when it can never be served (a prompt too long, say)."""

    def step(self) -> list[Completion]:
        """Advance the work by one step and return what finished, in any order; may be empty."""

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests, whether queued or running, and return how many tokens they had sampled."""

    def under_way(self) -> int:
        """Return how many tokens the requests in flight have sampled so far; 0 where that is not known here."""

    def describe(self) -> dict[str, Any]:
        """Return what the stage manifest should record: library versions, dtype, device, slots, peak memory."""

    def close(self) -> None:
        """Free everything."""


def complete(engine: Engine, requests: Iterable[Request]) -> Iterator[Completion]:
    """Yield the completions of requests as they finish, with no more requests in flight than the engine has slots."""
    waiting = iter(requests)
    in_flight = 0
    while True:
        for request in islice(waiting, max(0, engine.slots - in_flight)):
            engine.add(request)
            in_flight += 1
        if not in_flight:
            return
        for completion in engine.step():
            in_flight -= 1
            yield completion
