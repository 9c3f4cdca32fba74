"""The in-process engine: continuous batching over fixed slots, on top of transformers' model code.

Every step feeds one token to each running row and samples one from each. A row that finishes gives its slot to the
next queued request at the following step. A prompt is prefilled without its last token, alone and once for all of its
samples; the last token is the first that the shared decode step feeds, so all sampling happens in one place.
"""

from __future__ import annotations

import resource
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers
from transformers import PreTrainedModel

from tpt import models
from tpt.chat import Chat, PromptTemplate
from tpt.engines import Completion, Guarantee, Request, RequestId
from tpt.engines.admission import check_request
from tpt.engines.grouped_attention import use_grouped_attention
from tpt.engines.invariance import find_variance
from tpt.engines.sampling import BROKEN, SlotSampler
from tpt.engines.slot_cache import PromptStore
from tpt.engines.slot_decoder import SlotDecoder
from tpt.errors import EngineError
from tpt.records import FinishReason

_TOKEN, _POSITION, _COUNT, _LIMIT, _ACTIVE = range(5)
_WINDOW_STEP = 64
_ROW_STEP = 8
_MAX_AUTO_SLOTS = 256
_AUTO_CACHE_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class HFSettings:
    """How a model is loaded and decoded in this process."""

    max_length: int
    """Longest prompt plus completion, in tokens."""
    slots: int = 0
    """Rows decoded at once; 0: as many as fit 2 GiB of keys and values, 256 at most."""
    batch_invariant: bool = False
    device: str = "auto"
    dtype: str = "auto"
    cache: Path | None = None
    """Where GGUF models are kept dequantised."""
    trust_remote_code: bool = False


def open_hf(spec: str, prompt: PromptTemplate, settings: HFSettings) -> HFEngine:
    """Load a model and its tokenizer and return an engine on it; see ``tpt.models`` for the spec."""
    tokenizer = models.load_tokenizer(spec, cache=settings.cache, trust_remote_code=settings.trust_remote_code)
    model = models.load_model(
        spec,
        dtype=settings.dtype,
        device=settings.device,
        cache=settings.cache,
        trust_remote_code=settings.trust_remote_code,
    )
    if model.device.type == "cpu":
        use_grouped_attention(model)
    return HFEngine(
        model,
        Chat(tokenizer, prompt),
        slots=settings.slots or auto_slots(model, settings.max_length),
        max_length=settings.max_length,
        batch_invariant=settings.batch_invariant,
    )


def auto_slots(model: PreTrainedModel, max_length: int) -> int:
    """Return a multiple of 16 slots, 256 at most, whose keys and values take 2 GiB at most; never fewer than 16."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    numbers = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * width
    fitting = int(_AUTO_CACHE_BYTES // (numbers * max_length * model.dtype.itemsize))
    return max(16, min(_MAX_AUTO_SLOTS, fitting // 16 * 16))


class HFEngine:
    """An Engine on a transformers model; see ``tpt.engines.Engine``.

    With ``batch_invariant`` every step decodes all slots over the whole ``max_length``, so that a row's arithmetic has
    one shape whatever runs beside it. Without it a step takes just the rows and positions in use.
    """

    guarantee: Guarantee
    slots: int

    def __init__(
        self,
        model: PreTrainedModel,
        chat: Chat,
        *,
        slots: int,
        max_length: int,
        batch_invariant: bool,
        prompt_store_mb: int = 2048,
    ) -> None:
        """Allocate everything and, if asked for batch invariance, check that this machine gives it.

        Raises:
            EngineError: The model cannot be decoded here, or its logits depend on the batch.
        """
        if slots < 1 or max_length < 2:
            raise EngineError(
                f"engine.slots must be 1 or more and engine.max_length 2 or more, got {slots}, {max_length}"
            )
        model.train(False)
        self.slots = slots
        self.guarantee = "batch-invariant" if batch_invariant else "seeded"
        self._chat = chat
        self._max_length = max_length
        # Matrix products of odd heights round their last rows by other kernels; the rows added here stay empty.
        rows = _up(slots, _ROW_STEP)
        self._decoder = SlotDecoder(model, slots=rows, max_length=max_length)
        self._sampler = SlotSampler(slots=rows, max_length=max_length, device=model.device)
        if batch_invariant:
            self._require_invariance()
        self._prompts = PromptStore(self._decoder.prefill, max_bytes=prompt_store_mb * 2**20)
        self._queue: deque[Request] = deque()
        self._running: dict[int, Request] = {}
        self._free = list(range(slots - 1, -1, -1))  # a stack; the lowest slot is on top
        self._known: set[RequestId] = set()
        self._state = torch.zeros((5, rows), dtype=torch.long, device=model.device)
        self._history = torch.zeros((rows, max_length), dtype=torch.long, device=model.device)
        self._stops = torch.zeros(self._decoder.vocabulary, dtype=torch.bool, device=model.device)
        self._stops[[token for token in chat.stop_ids if token < self._decoder.vocabulary]] = True

    def add(self, request: Request) -> None:
        """Queue a request; EngineError when it can never be served."""
        if request.id in self._known:
            raise EngineError(f"request {request.id} is in flight already; every (problem, sample) is one request")
        check_request(request, max_length=self._max_length, vocabulary=self._decoder.vocabulary)
        self._known.add(request.id)
        self._queue.append(request)

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        """Sample one token for every running request and return those that finished."""
        self._fill()
        if not self._running:
            return []
        rows, window = self._shape()
        state = self._state[:, :rows]
        logits = self._decoder.logits(state[_TOKEN], state[_POSITION], window)
        tokens = self._sampler.pick(logits, state[_COUNT])
        self._history[:rows].scatter_(1, state[_COUNT, :, None], tokens[:, None])
        state[_TOKEN] = tokens.clamp(min=0)  # an empty row samples from nothing that matters
        state[_POSITION] += state[_ACTIVE]
        state[_COUNT] += state[_ACTIVE]
        ended = self._stops[tokens] | (tokens == BROKEN) | (state[_COUNT] >= state[_LIMIT])
        finished = (ended & (state[_ACTIVE] > 0)).nonzero()[:, 0].tolist()
        return [self._complete(slot) for slot in finished]

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests and return how many tokens they had sampled."""
        self._queue = deque(request for request in self._queue if request.id not in ids)
        dropped = [slot for slot, request in self._running.items() if request.id in ids]
        sampled = sum(int(self._state[_COUNT, slot]) for slot in dropped)
        for slot in dropped:
            self._release(slot)
        self._known -= ids
        return sampled

    def describe(self) -> dict[str, Any]:
        """Return versions, device, shapes and memory, for the stage manifest."""
        model = self._decoder.model
        return {
            "engine": "hf",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": numpy.__version__,
            "model_type": model.config.model_type,
            "attention": model.config.get_text_config()._attn_implementation,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "device_name": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "slots": self.slots,
            "max_length": self._max_length,
            "kv_cache_bytes": self._decoder.cache.nbytes,
            "peak_memory_bytes": _peak_memory(model.device),
            "guarantee": self.guarantee,
            "chat_template": self._chat.template_name,
            "chat_fingerprint": self._chat.fingerprint(),
            "stop_ids": sorted(self._chat.stop_ids),
        }

    def close(self) -> None:
        """Free the model, the cache and everything queued; the engine cannot be used again."""
        on_gpu = self._decoder.device.type == "cuda"
        self._queue.clear()
        self._running.clear()
        del self._decoder, self._prompts, self._sampler, self._state, self._history
        if on_gpu:
            torch.cuda.empty_cache()

    def _fill(self) -> None:
        """Give free slots to queued requests."""
        while self._free and self._queue:
            request = self._queue.popleft()
            slot = self._free.pop()
            *prompt, last = request.prompt_ids
            self._decoder.cache.load(slot, self._prefilled(tuple(prompt)))
            self._sampler.assign(slot, request)
            state = (last, len(prompt), 0, request.sampling.max_tokens, 1)
            self._state[:, slot] = torch.tensor(state)
            self._running[slot] = request

    def _prefilled(self, prompt: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        if prompt:
            return self._prompts.fetch(prompt)
        # The prompt is its last token alone: nothing stands before it.
        return [(keys[:, :0], values[:, :0]) for keys, values in self._prompts.fetch((0,))]

    def _shape(self) -> tuple[int, int]:
        """Return how many rows to decode and how many positions to attend to."""
        if self.guarantee == "batch-invariant":
            return self._decoder.slots, self._max_length
        rows = max(self._running) + 1
        if not self._queue and len(self._running) <= rows // 2:
            self._close_up()
            rows = max(self._running) + 1
        longest = int(self._state[_POSITION].max()) + 1
        return _up(rows, _ROW_STEP), min(self._max_length, _up(longest, _WINDOW_STEP))

    def _close_up(self) -> None:
        """Move the running rows into the lowest slots, so that the empty ones need not be decoded."""
        for target, source in enumerate(sorted(self._running)):
            if source == target:
                continue
            self._decoder.cache.move(source, target)
            self._sampler.move(source, target)
            self._history[target] = self._history[source]
            self._state[:, target] = self._state[:, source]
            self._state[:, source] = 0
            self._running[target] = self._running.pop(source)
        self._free = list(range(self.slots - 1, len(self._running) - 1, -1))

    def _complete(self, slot: int) -> Completion:
        request = self._running[slot]
        count = int(self._state[_COUNT, slot])
        token_ids = tuple(self._history[slot, :count].tolist())
        self._known.discard(request.id)
        self._release(slot)
        if token_ids[-1] == BROKEN:
            raise EngineError(
                f"problem {request.id[0]!r}, sample {request.id[1]}: the logits for token {count} are not finite; the "
                "model's weights are damaged, or they overflow in this dtype (try engine.dtype = 'float32')"
            )
        reason: FinishReason = "stop" if token_ids[-1] in self._chat.stop_ids else "length"
        return Completion(request.id, token_ids, self._chat.decode(token_ids), reason)

    def _release(self, slot: int) -> None:
        del self._running[slot]
        self._sampler.release(slot)
        self._state[:, slot] = 0
        self._free.append(slot)

    def _require_invariance(self) -> None:
        variance = find_variance(self._decoder)
        if variance is not None:
            raise EngineError(
                f"engine.batch_invariant = true, but here a row's logits depend on its batch: {variance} "
                f"({self.slots} slots, {self._decoder.model.dtype}, {self._decoder.device.type}, "
                f"torch {torch.__version__}), so this machine cannot give the guarantee. Set "
                "engine.batch_invariant = false, or try engine.slots at a multiple of 16"
            )


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


def _peak_memory(device: torch.device) -> int:
    """Return the most bytes held at once: by torch on the GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
