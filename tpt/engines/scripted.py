"""An engine without a model, for tests and documentation: a script writes the completions."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tpt.engines import Completion, Guarantee, Request, RequestId
from tpt.engines.stops import sampled_completion
from tpt.errors import EngineError

STOP_ID = 256
"""The end-of-turn token; ids 0 to 255 are the bytes of UTF-8."""
_LONGEST_WAIT = 8


class ScriptedEngine:
    """Completes each request with ``script(request)``, after a pseudo-random number of steps or as many as it is long.

    The completion depends on the request alone; only the order in which completions come out depends on ``order_seed``
    and on what else is in flight. Text longer than ``max_tokens`` bytes, the stop token counted, is cut there and ends
    by ``length``.
    """

    guarantee: Guarantee = "batch-invariant"
    slots: int

    def __init__(
        self, script: Callable[[Request], str], *, slots: int = 8, order_seed: int = 0, tokens_a_step: int = 0
    ) -> None:
        """Take a script that maps the same request to the same text every time.

        With ``tokens_a_step`` a completion takes a step for so many of its tokens, as where a model decodes it: the short
        ones come first.
        """
        if slots < 1:
            raise EngineError(f"engine.slots must be 1 or more, got {slots}")
        self.slots = slots
        self._script = script
        self._order = random.Random(order_seed)
        self._order_seed = order_seed
        self._tokens_a_step = tokens_a_step
        self._known: set[RequestId] = set()
        self._queue: deque[Request] = deque()
        self._running: dict[RequestId, tuple[Completion, int]] = {}
        """By request: its completion and the steps still to wait."""

    def add(self, request: Request) -> None:
        """Queue a request; EngineError for one that is in flight already."""
        if request.id in self._known:
            raise EngineError(f"request {request.id} is in flight already; every (problem, sample) is one request")
        self._known.add(request.id)
        self._queue.append(request)

    def step(self) -> list[Completion]:
        """Let every running request wait one step less and return those that are through."""
        while self._queue and len(self._running) < self.slots:
            request = self._queue.popleft()
            completion = _completed(request, self._script(request))
            self._running[request.id] = completion, self._steps(completion)
        finished = [completion for completion, wait in self._running.values() if wait == 1]
        self._running = {key: (done, wait - 1) for key, (done, wait) in self._running.items() if wait > 1}
        self._known -= {completion.id for completion in finished}
        self._order.shuffle(finished)
        return finished

    def _steps(self, completion: Completion) -> int:
        if not self._tokens_a_step:
            return self._order.randint(1, _LONGEST_WAIT)
        return -(-len(completion.token_ids) // self._tokens_a_step)

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests; a running one is counted with all its tokens, or where steps are tokens with those so far."""
        self._queue = deque(request for request in self._queue if request.id not in ids)
        self._known -= ids
        dropped = [self._running.pop(key) for key in ids & self._running.keys()]
        left = sum(wait * self._tokens_a_step for _, wait in dropped)
        return max(0, sum(len(completion.token_ids) for completion, _ in dropped) - left)

    def under_way(self) -> int:
        """Return 0: a script writes each completion at once."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Return the settings that decide what comes out when."""
        return {
            "engine": "scripted",
            "slots": self.slots,
            "order_seed": self._order_seed,
            "guarantee": self.guarantee,
            "stop_ids": [STOP_ID],
        }

    def close(self) -> None:
        """Drop everything in flight."""
        self._queue.clear()
        self._running.clear()


def ids_of(text: str) -> tuple[int, ...]:
    """Return the bytes of a text as token ids."""
    return tuple(text.encode())


def text_of(token_ids: tuple[int, ...]) -> str:
    """Return the text of token ids, the stop token left out; bytes cut in the middle of a character are replaced."""
    return bytes(token for token in token_ids if token != STOP_ID).decode(errors="replace")


def _completed(request: Request, text: str) -> Completion:
    token_ids = (*ids_of(text), STOP_ID)[: request.sampling.max_tokens]
    return sampled_completion(request, token_ids, text_of, (STOP_ID,))
