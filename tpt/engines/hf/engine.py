"""The in-process engine: continuous batching over fixed slots, on top of transformers' model code.

Every step feeds one token to each running row and samples one from each. A row that finishes gives its slot to the
next queued request at the following step. A prompt is prefilled without its last token, alone and once for all of its
samples; the last token is the first that the shared decode step feeds, so all sampling happens there.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from tpt.config import EngineConfig
from tpt.engines import Completion, Guarantee, Request, RequestId
from tpt.engines.hf.decoder import RowDecoder
from tpt.engines.hf.fixed_decoder import FixedDecoder
from tpt.engines.hf.forward_check import CHECKED, check_forward, decoded
from tpt.engines.hf.grouped_attention import NAME
from tpt.engines.hf.int8 import Int8Weights
from tpt.engines.hf.invariance import find_variance
from tpt.engines.hf.results import made_on, reply_to, require_fewer_rows, stops_of
from tpt.engines.hf.sampling import BROKEN, SlotSampler
from tpt.engines.hf.step_graphs import cuda_capture
from tpt.engines.requests import check_request
from tpt.engines.stops import LOOK_EVERY, stop_in
from tpt.errors import EngineError
from tpt.model.chat import Chat
from tpt.model.shape import head_size_of, heads_of
from tpt.system.memory import available_bytes, is_out_of_memory

_TOKEN, _POSITION, _COUNT, _LIMIT, _ACTIVE = range(5)
_ROW_STEP = 8
_CLOSED_UP_SHARE = 16
_QUEUED_SHARE = 8
_MAX_AUTO_SLOTS = 256
_UNKNOWN_MEMORY_BYTES = 2 * 2**30


_TORCH_ATTENTION = (
    "attention of a decode step is torch's, as numba cannot be imported ({reason}): pip install "
    '"think-prune-train[cpu]" compiles it for this processor, measured at 1.25 to 1.4 times the tokens per second'
)


def auto_slots(model: PreTrainedModel, max_length: int) -> int:
    """Return a multiple of 16 slots, 256 at most, whose keys and values take half of the free memory at most.

    Never fewer than 16; where the system does not say how much is free, 2 GiB are counted on.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or heads_of(config)
    numbers = 2 * config.num_hidden_layers * heads * head_size_of(config)
    available = available_bytes(model.device)
    return fitting_slots(available, numbers * max_length * model.dtype.itemsize)


def fitting_slots(available: int | None, slot_bytes: int) -> int:
    """Return the same from the bytes that are free, None where that is not known, and those that a slot takes."""
    budget = _UNKNOWN_MEMORY_BYTES if available is None else available // 2
    return max(16, min(_MAX_AUTO_SLOTS, int(budget // slot_bytes) // 16 * 16))


class HFEngine:
    """An Engine on a transformers model; see ``tpt.engines.Engine``.

    With ``batch_invariant`` every step decodes all slots, and each prompt is prefilled alone, so that a row's arithmetic
    has one shape whatever runs beside it. Without it a step takes just the rows and positions in use.
    """

    guarantee: Guarantee

    def __init__(
        self,
        model: PreTrainedModel,
        chat: Chat,
        settings: EngineConfig,
        *,
        max_length: int,
        prompt_store_mb: int = 2048,
        int8: Int8Weights | None = None,
    ) -> None:
        """Allocate everything and, if asked for batch invariance, check that this machine gives it.

        Raises:
            EngineError: The model cannot be decoded here, or its logits depend on the batch.
        """
        if max_length < 2:
            raise EngineError(f"engine.max_length must be 2 or more, got {max_length}")
        model.train(False)
        self.guarantee = "batch-invariant" if settings.batch_invariant else "seeded"
        self.model = model
        self.chat = chat
        self._int8 = int8
        self._max_length = max_length
        self._prompt_store_mb = prompt_store_mb
        self._halvings = 0
        self._queue: deque[Request] = deque()
        self._known: set[RequestId] = set()
        self._steps = 0
        self._allocate(settings.slots or auto_slots(model, max_length))
        self._advice = _advice_on_numba() if _attention(model) == NAME else ""
        if self._advice:
            print(self._advice, file=sys.stderr, flush=True)
        self._stops = stops_of(chat, self._decoder.vocabulary, model.device)

    @property
    def slots(self) -> int:
        """Requests worth keeping in flight: a few more than are decoded, whose prompts are prefilled together."""
        return self._slots + (0 if self.guarantee == "batch-invariant" else self._slots // _QUEUED_SHARE)

    def add(self, request: Request) -> None:
        """Queue a request; EngineError when it can never be served."""
        is_known, vocabulary = request.id in self._known, self._decoder.vocabulary
        check_request(request, is_known=is_known, max_length=self._max_length, vocabulary=vocabulary)
        self._known.add(request.id)
        self._queue.append(request)

    @torch.inference_mode()
    def step(self) -> list[Completion]:
        """Sample one token for every running request and return those that finished.

        When memory runs out, half of the slots are given up, and what was running starts over from its own seeds.
        """
        try:
            return self._advance()
        except (RuntimeError, MemoryError) as error:
            require_fewer_rows(error, self._slots)
        # Outside of the handler: the error holds on to the tensors of the step that failed.
        self._back_off()
        return []

    def _advance(self) -> list[Completion]:
        self._fill()
        if not self._running:
            return []
        state = self._state[:, : self._rows()]
        logits = self._decoder.step(state[_TOKEN], state[_POSITION], state[_COUNT])
        tokens = self._sampler.pick(logits, state[_COUNT])
        self._history[: len(tokens)].scatter_(1, state[_COUNT, :, None], tokens[:, None])
        state[_TOKEN] = tokens.clamp(min=0)  # an empty row samples from nothing that matters
        state[_POSITION] += state[_ACTIVE]
        state[_COUNT] += state[_ACTIVE]
        ended = self._stops[tokens] | (tokens == BROKEN) | (state[_COUNT] >= state[_LIMIT])
        finished = (ended & (state[_ACTIVE] > 0)).nonzero()[:, 0].tolist()
        finished += self._stopped_by_text(finished)
        return self._complete(finished) if finished else []

    def _stopped_by_text(self, finished: list[int]) -> list[int]:
        """Return the slots whose text has come to a stop string, looking at it every few steps."""
        slots = [slot for slot, each in self._running.items() if each.sampling.stop_strings and slot not in finished]
        self._steps += 1
        if not slots or self._steps % LOOK_EVERY:
            return []
        counts = self._state[_COUNT, slots].tolist()
        texts = map(
            self.chat.decode, (self._history[slot, :count].tolist() for slot, count in zip(slots, counts, strict=True))
        )
        return [
            slot
            for slot, text in zip(slots, texts, strict=True)
            if stop_in(text, self._running[slot].sampling.stop_strings) >= 0
        ]

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests and return how many tokens they had sampled."""
        self._queue = deque(request for request in self._queue if request.id not in ids)
        dropped = [slot for slot, request in self._running.items() if request.id in ids]
        sampled = sum(int(self._state[_COUNT, slot]) for slot in dropped)
        self._release(dropped)
        self._known -= ids
        return sampled

    def under_way(self) -> int:
        """Return how many tokens the requests in flight have sampled so far."""
        return int(self._state[_COUNT].sum())

    def describe(self) -> dict[str, Any]:
        """Return versions, device, shapes and memory, for the stage manifest."""
        return {
            **made_on(self.model, self.chat),
            **({"weights": "full"} if self._int8 is None else {"weights": "int8", "int8": self._int8._asdict()}),
            "slots": self._slots,
            "max_length": self._max_length,
            "kv_cache_bytes": self._decoder.nbytes,
            "out_of_memory_halvings": self._halvings,
            "guarantee": self.guarantee,
            "decoder": "fixed" if isinstance(self._decoder, FixedDecoder) else "prefix",
            "cuda_graphs": not self._without_graphs,
            "without_cuda_graphs": self._without_graphs,
            "advice": self._advice,
        }

    def close(self) -> None:
        """Free the model, the cache and everything queued; the engine cannot be used again."""
        on_gpu = self._decoder.device.type == "cuda"
        self._queue.clear()
        self._running.clear()
        del self._decoder, self.model, self._sampler, self._state, self._history
        if on_gpu:
            torch.cuda.empty_cache()

    def _allocate(self, slots: int) -> None:
        """Set up for so many slots, with nothing running."""
        model, invariant = self.model, self.guarantee == "batch-invariant"
        # Matrix products of odd heights round their last rows by other kernels; the rows added here stay empty.
        rows = _up(slots, _ROW_STEP)
        self._slots = slots
        length, store_mb = self._max_length, self._prompt_store_mb
        self._decoder = proved_decoder(model, slots=rows, max_length=length, prompt_store_mb=store_mb, fixed=invariant)
        self._without_graphs = "a CPU has none"
        if model.device.type == "cuda":
            assert isinstance(self._decoder, FixedDecoder)
            # A graph's kernels may be others than a step's: what is promised bit for bit is taken step by step.
            self._without_graphs = "batch-invariant" if invariant else self._decoder.use_graphs(cuda_capture())
        self._sampler = SlotSampler(slots=rows, max_length=self._max_length, device=model.device)
        if invariant:
            self._require_invariance()
        self._running: dict[int, Request] = {}
        self._free = list(range(slots - 1, -1, -1))  # a stack; the lowest slot is on top
        self._state = torch.zeros((5, rows), dtype=torch.long, device=model.device)
        self._history = torch.zeros((rows, self._max_length), dtype=torch.long, device=model.device)

    def _back_off(self) -> None:
        """Start what is running over with half of the slots, and half of the memory for prompts to come back to."""
        self._queue.extendleft(reversed(self._running.values()))
        del self._decoder, self._sampler, self._state, self._history
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()
        self._halvings += 1
        self._prompt_store_mb //= 2
        self._allocate(self._slots // 2)

    def _fill(self) -> None:
        """Give free slots to queued requests."""
        prompts: dict[int, tuple[int, ...]] = {}
        while self._free and self._queue:
            request = self._queue.popleft()
            slot = self._free.pop()
            *prompt, last = request.prompt_ids
            prompts[slot] = tuple(prompt)
            self._sampler.assign(slot, request)
            self._state[:, slot] = torch.tensor((last, len(prompt), 0, request.sampling.max_tokens, 1))
            self._running[slot] = request
        if prompts:
            self._decoder.prefill(prompts, self._upcoming())

    def _upcoming(self) -> Iterator[tuple[int, ...]]:
        """Yield the prompts in the queue, those of a problem's samples once."""
        last: tuple[int, ...] | None = None
        for request in self._queue:
            if request.prompt_ids is not last:
                last = request.prompt_ids
                yield last[:-1]

    def _rows(self) -> int:
        """Return how many rows to decode."""
        if self.guarantee == "batch-invariant":
            return self._decoder.slots
        rows = max(self._running) + 1
        if not self._queue and len(self._running) <= rows - max(_ROW_STEP, rows // _CLOSED_UP_SHARE):
            self._close_up()
            rows = max(self._running) + 1
        return _up(rows, _ROW_STEP)

    def _close_up(self) -> None:
        """Move the rows in the highest slots into the lowest free ones, so that no empty row need be decoded."""
        count = len(self._running)
        low = [slot for slot in range(count) if slot not in self._running]
        high = [slot for slot in self._running if slot >= count]
        for target, source in zip(low, high, strict=True):
            self._decoder.move(source, target)
            self._sampler.move(source, target)
            self._history[target] = self._history[source]
            self._state[:, target] = self._state[:, source]
            self._state[:, source] = 0
            self._running[target] = self._running.pop(source)
        self._decoder.compact()
        self._free = list(range(self._slots - 1, len(self._running) - 1, -1))

    def _complete(self, slots: list[int]) -> list[Completion]:
        """Take out the requests that have ended."""
        counts = self._state[_COUNT, slots].tolist()
        histories = self._history[slots, : max(counts)].tolist()
        ended = [self._running[slot] for slot in slots]
        self._known.difference_update(request.id for request in ended)
        self._release(slots)
        return [
            reply_to(request, tuple(history[:count]), self.chat)
            for request, count, history in zip(ended, counts, histories, strict=True)
        ]

    def _release(self, slots: list[int]) -> None:
        for slot in slots:
            del self._running[slot]
            self._sampler.release(slot)
            self._decoder.release(slot)
        self._state[:, slots] = 0
        self._free.extend(slots)

    def _require_invariance(self) -> None:
        try:
            variance = find_variance(self._decoder, max_length=self._max_length)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return  # so will the first step: the engine takes fewer rows then, and checks again, or says that it cannot
            raise
        if variance is not None:
            raise EngineError(
                f"engine.batch_invariant = true, but here a row's logits depend on its batch: {variance} "
                f"({self._slots} slots, {self._decoder.model.dtype}, {self._decoder.device.type}, "
                f"torch {torch.__version__}), so this machine cannot give the guarantee. Set "
                "engine.batch_invariant = false, or try engine.slots at a multiple of 16"
            )


def proved_decoder(
    model: PreTrainedModel, *, slots: int, max_length: int, prompt_store_mb: int, fixed: bool
) -> RowDecoder:
    """Return what ``row_decoder`` does, once it has given the model's own logits.

    Raises:
        ForeignModelError: it cannot.
    """
    decoder = row_decoder(model, slots=slots, max_length=max_length, prompt_store_mb=prompt_store_mb, fixed=fixed)
    rows = slots if fixed else _ROW_STEP
    check_forward(model, min(CHECKED, max_length), lambda tokens: decoded(decoder, tokens, rows=rows))
    return decoder


def row_decoder(
    model: PreTrainedModel, *, slots: int, max_length: int, prompt_store_mb: int, fixed: bool
) -> RowDecoder:
    """Return a decoder with the compiled attention, unless numba is missing or the model is unfit."""
    if _attention(model) == NAME and not _advice_on_numba():
        from tpt.engines.hf.prefix_decoder import PrefixDecoder

        store = prompt_store_mb
        decoder = PrefixDecoder(model, slots=slots, max_length=max_length, prompt_store_mb=store, alone=fixed)
        if decoder.reaches_attention():
            return decoder
    return FixedDecoder(model, slots=slots, max_length=max_length, prompt_store_mb=prompt_store_mb, fixed=fixed)


def _attention(model: PreTrainedModel) -> str:
    return str(model.config.get_text_config()._attn_implementation)


def _advice_on_numba() -> str:
    """Return what installing numba would gain; empty where it is installed."""
    try:
        # Only where it is needed: it loads a compiler, and vLLM, which a stage's process may load instead, has had
        # trouble beside it.
        import numba  # noqa: F401
    except ImportError as error:
        return _TORCH_ATTENTION.format(reason=error)
    return ""


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
