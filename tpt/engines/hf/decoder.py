"""What both decoders share: the protocol, masks by layer, and which architectures they take."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from tpt.engines.hf import grouped_attention
from tpt.errors import EngineError, ForeignModelError

_LAYER_TYPES = {"full_attention", "sliding_attention"}


_ATTENTION = {"eager", "sdpa", grouped_attention.NAME}


class RowDecoder(Protocol):
    """What the engine decodes rows with: a slot is given a prompt, then fed one token a step."""

    model: PreTrainedModel
    device: torch.device
    slots: int
    vocabulary: int

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values."""

    def prefill(self, prompts: dict[int, tuple[int, ...]], upcoming: Iterable[tuple[int, ...]] = ()) -> None:
        """Give free slots their prompts, without the last token of each: that is the first to be fed.

        The prompts are by slot; ``upcoming`` ones are likely to come next, for those who can prepare them.
        """

    def release(self, slot: int) -> None:
        """Free a slot."""

    def move(self, source: int, target: int) -> None:
        """Put a slot's row into a free slot."""

    def compact(self) -> None:
        """Close up what the rows in use have left behind."""

    def step(self, tokens: torch.Tensor, positions: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Feed one token to each of the first rows and return the logits after it.

        Args:
            tokens: ``[rows]``.
            positions: ``[rows]``, where each token stands in its row.
            counts: ``[rows]``, how many tokens each row was fed since its prompt.

        Returns:
            ``[rows, vocabulary]``.
        """


class LayerMasks:
    """What one query a row may attend to, for each kind of layer that a model has."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype) -> None:
        """Read off the model which of its layers see all positions, and which only the near ones."""
        config = model.config.get_text_config()
        self._sliding_window: int | None = getattr(config, "sliding_window", None)
        self._layer_types = set(getattr(config, "layer_types", None) or ())
        # A mask of finite numbers: eager attention adds it, and a row must never become all -inf.
        self._zero = torch.zeros((), dtype=dtype, device=model.device)
        self._low = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=model.device)

    def at(self, columns: torch.Tensor, positions: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the additive mask ``[rows, 1, 1, columns]``, or one per layer type where the model mixes them.

        Args:
            columns: ``[columns]`` or ``[rows, columns]``, the position that each column stands for.
            positions: ``[rows]``, the positions of the queries.
        """
        here = positions[:, None]
        causal = columns <= here
        full = torch.where(causal, self._zero, self._low)[:, None, None]
        if self._sees_all:
            return full
        near = causal & (columns > here - (self._sliding_window or 0))
        return self._by_kind(full, torch.where(near, self._zero, self._low)[:, None, None])

    def first_seen(self, positions: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the same as the first position that each query sees, ``[rows, 1, 1, 1]``."""
        full = torch.zeros_like(positions)[:, None, None, None]
        if self._sees_all:
            return full
        near = (positions + 1 - (self._sliding_window or 0)).clamp(min=0)
        return self._by_kind(full, near[:, None, None, None])

    @property
    def _sees_all(self) -> bool:
        uniform = len(self._layer_types) < 2
        return uniform and (self._sliding_window is None or self._layer_types == {"full_attention"})

    def _by_kind(self, full: torch.Tensor, sliding: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        if len(self._layer_types) < 2:
            return sliding
        return {"full_attention": full, "sliding_attention": sliding}


def check_supported(config: Any, max_length: int) -> None:
    """Raise EngineError for a length, ForeignModelError for an architecture, that the slotted decoder would get wrong."""
    check_positions(config, max_length)
    name = config.model_type
    foreign = sorted(set(getattr(config, "layer_types", None) or ()) - _LAYER_TYPES)
    shared, chunk = getattr(config, "num_kv_shared_layers", None), getattr(config, "attention_chunk_size", None)
    if foreign or shared or chunk:
        raise ForeignModelError(
            f"{name!r} layers keep more than plain keys and values ({', '.join(foreign) or 'shared or chunked attention'})"
        )
    if config._attn_implementation not in _ATTENTION:
        raise ForeignModelError(f"it needs eager or sdpa attention, and this one has {config._attn_implementation!r}")
    limit = _length_dependent_rope(config)
    if limit is not None and max_length > limit:
        raise EngineError(
            f"engine.max_length = {max_length}, but the position encoding of this {name!r} model changes with the "
            f"longest sequence in a batch beyond {limit} positions; set engine.max_length to {limit} or less"
        )


def check_positions(config: Any, max_length: int) -> None:
    """Raise EngineError where a model has fewer positions than prompt and completion need."""
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and 0 < longest < max_length:
        raise EngineError(
            f"prompt and completion need {max_length} positions, and this {config.model_type!r} model has {longest}; lower "
            f"max_tokens (of think and evaluate), or set engine.max_length = {longest}"
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


def states_of(layer: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the keys and values of the rows that were prefilled, ``[rows, heads, length, head_dim]``."""
    if not isinstance(layer, DynamicLayer) or layer.keys is None or layer.values is None:
        raise ForeignModelError("a layer keeps no keys and values of its own")
    return layer.keys, layer.values
