"""One forward pass of a transformers model over slots that are each at a position of their own."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from tpt.engines import grouped_attention
from tpt.engines.slot_cache import PromptKeysValues, SlotCache
from tpt.errors import EngineError

_LAYER_TYPES = {"full_attention", "sliding_attention"}
_ATTENTION = {"eager", "sdpa", grouped_attention.NAME}


class SlotDecoder:
    """A model with its slotted key-value cache.

    Raises EngineError on construction when the model's architecture cannot be decoded this way.
    """

    def __init__(self, model: PreTrainedModel, *, slots: int, max_length: int) -> None:
        """Check the architecture and allocate the cache."""
        self.model = model
        self.device = model.device
        self.slots = slots
        self.max_length = max_length
        config = model.config.get_text_config()
        check_supported(config, max_length)
        self.vocabulary = int(config.vocab_size)
        self._sliding_window: int | None = getattr(config, "sliding_window", None)
        self._layer_types = set(getattr(config, "layer_types", None) or ())
        # A mask of finite numbers: eager attention adds it, and a row must never become all -inf.
        self._zero = torch.zeros((), dtype=model.dtype, device=self.device)
        self._low = torch.full((), torch.finfo(model.dtype).min, dtype=model.dtype, device=self.device)
        self._columns = torch.arange(max_length, device=self.device)
        self.cache = SlotCache(self.prefill((0,)), slots=slots, max_length=max_length)

    @torch.inference_mode()
    def prefill(self, prompt_ids: tuple[int, ...]) -> PromptKeysValues:
        """Return the keys and values of one prompt, computed in a shape that depends on this prompt alone."""
        cache = DynamicCache()  # without a config, so that sliding layers keep all positions
        ids = torch.tensor([prompt_ids], device=self.device)
        self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return [_states(layer) for layer in cache.layers]

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
            attention_mask=self._mask(positions, window),
            position_ids=positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        last: torch.Tensor = output.logits[:, -1]
        return last.float()

    def _mask(self, positions: torch.Tensor, window: int) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the additive mask ``[rows, 1, 1, window]``, or one per layer type where the model mixes them."""
        columns, here = self._columns[:window], positions[:, None]
        causal = columns <= here
        full = torch.where(causal, self._zero, self._low)[:, None, None]
        uniform = len(self._layer_types) < 2
        if uniform and (self._sliding_window is None or self._layer_types == {"full_attention"}):
            return full
        near = causal & (columns > here - (self._sliding_window or 0))
        sliding = torch.where(near, self._zero, self._low)[:, None, None]
        return sliding if uniform else {"full_attention": full, "sliding_attention": sliding}


def check_supported(config: Any, max_length: int) -> None:
    """Raise EngineError for an architecture or length that the slotted decoder would get wrong."""
    name = config.model_type
    foreign = sorted(set(getattr(config, "layer_types", None) or ()) - _LAYER_TYPES)
    shared, chunk = getattr(config, "num_kv_shared_layers", None), getattr(config, "attention_chunk_size", None)
    if foreign or shared or chunk:
        raise EngineError(
            f'engine.name = "hf" cannot decode {name!r} models: their layers keep more than plain keys and values '
            f"({', '.join(foreign) or 'shared or chunked attention'}); use another engine"
        )
    if config._attn_implementation not in _ATTENTION:
        raise EngineError(
            f'engine.name = "hf" needs eager or sdpa attention, got {config._attn_implementation!r}; '
            "load the model with attn_implementation = 'sdpa'"
        )
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and max_length > longest:
        raise EngineError(
            f"engine.max_length = {max_length} is more than the {longest} positions that this {name!r} model has; "
            f"set it to {longest} or less"
        )
    limit = _length_dependent_rope(config)
    if limit is not None and max_length > limit:
        raise EngineError(
            f"engine.max_length = {max_length}, but the position encoding of this {name!r} model changes with the "
            f"longest sequence in a batch beyond {limit} positions; set engine.max_length to {limit} or less"
        )


def _length_dependent_rope(config: Any) -> int | None:
    """Return the length up to which rotary frequencies stay fixed; None when they always do."""
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [value for value in parameters.values() if isinstance(value, dict)] or [parameters]
    if not any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds):
        return None
    stated = [kind.get("original_max_position_embeddings") for kind in kinds]
    known = [int(length) for length in stated if length]
    return min(known, default=int(config.max_position_embeddings))


def _states(layer: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a layer's keys and values of the one row that was prefilled."""
    if not isinstance(layer, DynamicLayer) or layer.keys is None or layer.values is None:
        raise EngineError('engine.name = "hf" cannot decode this model: a layer keeps no keys and values of its own')
    return layer.keys[0], layer.values[0]
