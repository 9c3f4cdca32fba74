"""One forward pass of a transformers model over slots that are each at a position of their own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from transformers import DynamicCache, PreTrainedModel

from tpt.engines.hf.decoder import LayerMasks, check_supported, states_of
from tpt.engines.hf.fixed_cache import FixedCache
from tpt.engines.hf.prompt_store import STORED_PROMPTS_PER_SLOT, PromptKeysValues, PromptStore
from tpt.engines.hf.step_graphs import Capture, StepGraphs, graphs_fault

_WINDOW_STEP = 64


class FixedDecoder:
    """A model with its slotted key-value cache: every row keeps all of its keys and values in its own slot.

    Raises ForeignModelError on construction when the model's architecture cannot be decoded this way.
    """

    def __init__(
        self, model: PreTrainedModel, *, slots: int, max_length: int, prompt_store_mb: int = 0, fixed: bool = True
    ) -> None:
        """Check the architecture and allocate the cache; ``fixed``: steps always attend to ``max_length`` positions."""
        self.model = model
        self.device = model.device
        self.slots = slots
        self.max_length = max_length
        self._fixed = fixed
        config = model.config.get_text_config()
        check_supported(config, max_length)
        self.vocabulary = int(config.vocab_size)
        self._masks = LayerMasks(model, model.dtype)
        self._columns = torch.arange(max_length, device=self.device)
        self._store = PromptStore(max_bytes=prompt_store_mb * 2**20, max_prompts=STORED_PROMPTS_PER_SLOT * slots)
        self.cache = FixedCache(self.prompt_states((0,)), slots=slots, max_length=max_length)
        self.graphs: StepGraphs | None = None

    @property
    def nbytes(self) -> int:
        """See RowDecoder."""
        return self.cache.nbytes + self._store.nbytes

    @torch.inference_mode()
    def prompt_states(self, prompt_ids: tuple[int, ...]) -> PromptKeysValues:
        """Return the keys and values of one prompt, computed in a shape that depends on this prompt alone."""
        cache = DynamicCache()  # without a config, so that sliding layers keep all positions
        ids = torch.tensor([prompt_ids], device=self.device)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return [(keys[0], values[0]) for keys, values in map(states_of, cache.layers)]

    def prefill(self, prompts: dict[int, tuple[int, ...]], upcoming: Iterable[tuple[int, ...]] = ()) -> None:
        """See RowDecoder."""
        for slot, prompt in prompts.items():
            # A prompt may be its last token alone: nothing stands before it.
            states = self._stored(prompt or (0,))
            self.cache.load(slot, [(keys[:, : len(prompt)], values[:, : len(prompt)]) for keys, values in states])

    def release(self, slot: int) -> None:
        """See RowDecoder."""

    def move(self, source: int, target: int) -> None:
        """See RowDecoder."""
        self.cache.move(source, target)

    def compact(self) -> None:
        """See RowDecoder."""

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """See RowDecoder."""
        if self._fixed:
            return self.logits(tokens, positions, self.max_length)
        longest = int(positions.max()) + 1
        if self.graphs is not None:
            return self.graphs(tokens, positions, longest)
        return self.logits(tokens, positions, min(self.max_length, -(-longest // _WINDOW_STEP) * _WINDOW_STEP))

    def use_graphs(self, capture: Capture) -> str:
        """Take steps as graphs from now on, if they give the logits of the steps; else return what is wrong with them."""
        shape = {"max_length": self.max_length, "vocabulary": self.vocabulary}
        graphs = StepGraphs(self.logits, capture, slots=self.slots, device=self.device, **shape)
        fault = graphs_fault(graphs, self.logits, rows=self.slots, **shape)
        if not fault:
            self.graphs = graphs
        return fault

    @torch.inference_mode()
    def logits(self, tokens: torch.Tensor, positions: torch.Tensor, window: int) -> torch.Tensor:
        """Feed one token to each of the first rows and return the logits after it.

        Args:
            tokens: ``[rows]``.
            positions: ``[rows]``, where each token stands in its row.
            window: Positions that attention sees; at least the largest position plus one.

        Returns:
            ``[rows, vocabulary]`` in float32.
        """
        self.cache.point(positions, window)
        output = self.model(
            input_ids=tokens[:, None],
            attention_mask=self._masks.at(self._columns[:window], positions),
            position_ids=positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        last: torch.Tensor = output.logits[:, -1]
        return last.float()

    def _stored(self, prompt: tuple[int, ...]) -> PromptKeysValues:
        states = self._store.get(prompt)
        if states is None:
            states = self.prompt_states(prompt)
            self._store.put(prompt, states)
        return states
