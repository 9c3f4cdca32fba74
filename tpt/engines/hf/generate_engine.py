"""The engine for architectures that our own decoder does not know: transformers' ``generate``, slow but right.

Prompts of one length are completed together, so that nothing is ever padded: recurrent layers would read padding. Every
token is drawn from its request's own random stream, as everywhere; ``generate`` runs the model and keeps its states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    StoppingCriteria,
    StoppingCriteriaList,
)

from tpt.config import EngineConfig
from tpt.engines import Completion, Guarantee, Request, RequestId
from tpt.engines.hf.decoder import check_positions
from tpt.engines.hf.forward_check import CHECKED, check_forward, foreign_explained
from tpt.engines.hf.results import made_on, reply_to, require_fewer_rows, stops_of
from tpt.engines.hf.sampling import BROKEN, SlotSampler
from tpt.engines.requests import check_request
from tpt.engines.stops import LOOK_EVERY, stop_in
from tpt.errors import EngineError, ForeignModelError
from tpt.model.chat import Chat

_ROWS = 16
"""Completed together where the config leaves it open: what a row's states take is each family's own affair."""
_BATCHES_AHEAD = 4
"""In flight, so that prompts of one length come together."""
_ADVICE = 'Take a decoder-only model of another family, or engine.name = "vllm" or "server", if they serve it'


class GenerateEngine:
    """An Engine on a transformers model; see ``tpt.engines.Engine``. A step completes a whole batch.

    With ``batch_invariant`` requests are completed one by one.
    """

    guarantee: Guarantee

    def __init__(
        self, model: PreTrainedModel, chat: Chat, settings: EngineConfig, *, max_length: int, reason: str
    ) -> None:
        """Check that ``generate`` gives the model's own logits; ``reason``: why this engine serves it.

        Raises:
            EngineError: it does not, as with an encoder.
        """
        self.guarantee = "batch-invariant" if settings.batch_invariant else "seeded"
        self.model = model.train(False)
        self.chat = chat
        # What comes with a model, temperature or a repetition penalty, is the run's to say.
        model.generation_config = _settings()
        self._vocabulary = int(model.config.get_text_config().vocab_size)
        self._max_length = max_length
        self._rows = 1 if settings.batch_invariant else settings.slots or _ROWS
        self._halvings = 0
        self._reason = reason
        self._queue: deque[Request] = deque()
        check_positions(model.config.get_text_config(), max_length)
        # Some families keep the rows of a batch apart only while they read a prompt.
        self._rows = self._rows if self._rows > 1 and not self._why_wrong(rows=2) else 1
        if self._rows == 1 and (wrong := self._why_wrong(rows=1)):
            raise EngineError(f'engine.name = "hf" cannot decode this model: {wrong}. {_ADVICE}')

    @property
    def slots(self) -> int:
        """Requests worth keeping in flight."""
        return self._rows * (1 if self.guarantee == "batch-invariant" else _BATCHES_AHEAD)

    def add(self, request: Request) -> None:
        """Queue a request; EngineError when it can never be served."""
        is_known = any(each.id == request.id for each in self._queue)
        check_request(request, is_known=is_known, max_length=self._max_length, vocabulary=self._vocabulary)
        self._queue.append(request)

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        """Complete the oldest request, and with it others whose prompts are as long.

        When memory runs out, half of the rows are given up, and the batch starts over from its own seeds.
        """
        if not self._queue:
            return []
        length = len(self._queue[0].prompt_ids)
        batch = [each for each in self._queue if len(each.prompt_ids) == length][: self._rows]
        chosen = {each.id for each in batch}
        try:
            completions = self._complete(batch)
        except (RuntimeError, MemoryError) as error:
            require_fewer_rows(error, self._rows)
            self._rows //= 2
            self._halvings += 1
            return []
        self._queue = deque(each for each in self._queue if each.id not in chosen)
        return completions

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests; none has sampled a token, as whatever is begun is completed."""
        self._queue = deque(each for each in self._queue if each.id not in ids)
        return 0

    def under_way(self) -> int:
        """Return 0: whatever is begun is completed within a step."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Return versions, device, shapes and memory, for the stage manifest."""
        return {
            **made_on(self.model, self.chat),
            "slots": self._rows,
            "max_length": self._max_length,
            "out_of_memory_halvings": self._halvings,
            "guarantee": self.guarantee,
            "decoder": "generate",
            "advice": f"decoded by transformers' generate, which is slow: {self._reason}",
        }

    def close(self) -> None:
        """Free the model and everything queued; the engine cannot be used again."""
        on_gpu = self.model.device.type == "cuda"
        self._queue.clear()
        del self.model
        if on_gpu:
            torch.cuda.empty_cache()

    def _complete(self, requests: list[Request]) -> list[Completion]:
        rows = _Rows(requests, self.chat, stops_of(self.chat, self._vocabulary, self.model.device))
        prompts = torch.tensor([each.prompt_ids for each in requests], device=self.model.device)
        self._generate(prompts, rows.choose, rows.ended, most=max(each.sampling.max_tokens for each in requests))
        return [reply_to(each, tokens, self.chat) for each, tokens in zip(requests, rows.sampled(), strict=True)]

    def _why_wrong(self, *, rows: int) -> str:
        """Return what is wrong with the logits of batches of so many rows; empty where they are the model's own."""
        try:
            with foreign_explained(self.model):
                check_forward(self.model, min(CHECKED, self._max_length), lambda tokens: self._forced(tokens, rows))
        except ForeignModelError as error:
            return str(error)
        return ""

    def _forced(self, tokens: list[int], rows: int) -> Tensor:
        """Return the logits after every token but the first, with ``generate`` made to choose these tokens.

        The tokens are those of the first row; all others have them the other way round.
        """
        forced = torch.tensor([tokens, *[tokens[::-1]] * (rows - 1)], device=self.model.device)
        found: list[Tensor] = []

        def choose(logits: Tensor) -> Tensor:
            found.append(logits[0].clone())
            return forced[:, min(len(found) + 1, len(tokens) - 1)]

        going_on = torch.zeros(rows, dtype=torch.bool, device=self.model.device)
        self._generate(forced[:, :2], choose, lambda: going_on, most=len(tokens) - 1)
        return torch.stack(found)

    def _generate(
        self, prompts: Tensor, choose: Callable[[Tensor], Tensor], ended: Callable[[], Tensor], *, most: int
    ) -> None:
        """Have ``generate`` go on from prompts of one length, ``[rows, length]``, with tokens that ``choose`` chooses."""
        self.model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            generation_config=_settings(do_sample=False, max_new_tokens=most, use_cache=True),
            logits_processor=LogitsProcessorList([_Chosen(choose)]),
            stopping_criteria=StoppingCriteriaList([_Ended(ended)]),
        )


def _settings(**given: Any) -> GenerationConfig:
    return GenerationConfig(**given)  # type: ignore[no-untyped-call]


class _Rows:
    """Requests that are completed together."""

    def __init__(self, requests: list[Request], chat: Chat, stops: Tensor) -> None:
        self._requests, self._chat, self._stops = requests, chat, stops
        limits = [each.sampling.max_tokens for each in requests]
        self._sampler = SlotSampler(slots=len(requests), max_length=max(limits), device=stops.device)
        for row, request in enumerate(requests):
            self._sampler.assign(row, request)
        self._limits = torch.tensor(limits, device=stops.device)
        self._lengths = torch.zeros_like(self._limits)
        """Of the rows that have ended; 0 of the others."""
        self._tokens: list[Tensor] = []

    def choose(self, logits: Tensor) -> Tensor:
        """Return the next token of every row, ``[rows]``."""
        count = len(self._tokens)
        tokens = self._sampler.pick(logits, torch.full_like(self._limits, count))
        self._tokens.append(tokens)
        ends = self._stops[tokens] | (tokens == BROKEN) | (count + 1 >= self._limits) | self._stopped_by_text()
        self._lengths = torch.where(ends & ~self.ended(), count + 1, self._lengths)
        return tokens.clamp(min=0)

    def ended(self) -> Tensor:
        """Return which rows have ended, ``[rows]``."""
        return self._lengths > 0

    def sampled(self) -> list[tuple[int, ...]]:
        """Return the tokens of every row."""
        rows: list[list[int]] = torch.stack(self._tokens, dim=1).tolist()
        return [tuple(row[:length]) for row, length in zip(rows, self._lengths.tolist(), strict=True)]

    def _stopped_by_text(self) -> Tensor:
        """Return the rows whose text has come to a stop string, looking at it every few tokens."""
        stopped = torch.zeros_like(self._limits, dtype=torch.bool)
        if len(self._tokens) % LOOK_EVERY or not any(each.sampling.stop_strings for each in self._requests):
            return stopped
        rows = torch.stack(self._tokens, dim=1).clamp(min=0).tolist()
        for index, (request, row) in enumerate(zip(self._requests, rows, strict=True)):
            stops = request.sampling.stop_strings
            stopped[index] = bool(stops) and stop_in(self._chat.decode(row), stops) >= 0
        return stopped


class _Chosen(LogitsProcessor):
    """Leaves of each row's logits the one token that was chosen."""

    def __init__(self, choose: Callable[[Tensor], Tensor]) -> None:
        self._choose = choose

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        tokens = self._choose(scores)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


class _Ended(StoppingCriteria):
    def __init__(self, ended: Callable[[], Tensor]) -> None:
        self._ended = ended

    def __call__(self, input_ids: Tensor, scores: Tensor, **more: Any) -> Tensor:
        return self._ended()
