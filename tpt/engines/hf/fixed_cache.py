"""Key-value memory of the slotted decoder: one fixed block per layer, and a store of prefilled prompts."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from tpt.engines.hf.prompt_store import PromptKeysValues


class _FixedLayer(CacheLayerMixin):
    """One layer's keys and values, ``[slots, heads, max_length, head_dim]``; each row written at its own position."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: torch.Tensor = keys
        self.values: torch.Tensor = values
        self.is_initialized = True
        # Views with one line per (slot, head, position): index_copy_ on them is the cheapest scattered write.
        self._key_lines = keys.view(-1, keys.shape[-1])
        self._value_lines = values.view(-1, values.shape[-1])
        self._lines = torch.empty(0, dtype=torch.long)
        self._rows = 0
        self._window = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the block is there from the start."""

    def point(self, lines: torch.Tensor, rows: int, window: int) -> None:
        """Set where the next update writes, and how much of the block it returns."""
        self._lines, self._rows, self._window = lines, rows, window

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one position of every row; return the rows' first ``window`` positions."""
        self._key_lines.index_copy_(0, self._lines, key_states.reshape(-1, key_states.shape[-1]))
        self._value_lines.index_copy_(0, self._lines, value_states.reshape(-1, value_states.shape[-1]))
        return self.keys[: self._rows, :, : self._window], self.values[: self._rows, :, : self._window]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length and offset of what update returns."""
        return self._window, 0

    def get_seq_length(self) -> int:
        """Return 0: rows have lengths of their own, which the decoder passes as position ids and mask."""
        return 0

    def get_max_length(self) -> int:
        """Return the length of the block."""
        return int(self.keys.shape[-2])


class FixedCache(Cache):
    """The keys and values of every slot, allocated once."""

    def __init__(self, like: PromptKeysValues, *, slots: int, max_length: int) -> None:
        """Allocate blocks with the heads, widths, dtype and device of a prefilled prompt."""
        self.slots = slots
        self.max_length = max_length
        self._blocks = [
            _FixedLayer(*(new.new_zeros((slots, new.shape[0], max_length, new.shape[-1])) for new in states))
            for states in like
        ]
        super().__init__(layers=[*self._blocks])
        device = like[0][0].device
        # First line of every (slot, head), per number of heads: layers may differ in it.
        self._first_lines = {
            heads: torch.arange(slots * heads, device=device).view(slots, heads) * max_length
            for heads in {int(keys.shape[0]) for keys, _ in like}
        }

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._blocks)

    def point(self, positions: torch.Tensor, window: int) -> None:
        """Set the position that the next forward pass writes in each of the first rows.

        Args:
            positions: ``[rows]``.
            window: Positions of the block that attention sees.
        """
        rows = positions.shape[0]
        lines = {heads: (first[:rows] + positions[:, None]).flatten() for heads, first in self._first_lines.items()}
        for layer in self._blocks:
            layer.point(lines[int(layer.keys.shape[1])], rows, window)

    def load(self, slot: int, prompt: PromptKeysValues) -> None:
        """Put a prompt's keys and values into a slot.

        The rest of the slot is zeroed: masked positions weigh nothing, but nothing times a stale infinity is NaN.
        """
        for layer, (keys, values) in zip(self._blocks, prompt, strict=True):
            length = keys.shape[-2]
            layer.keys[slot, :, :length] = keys
            layer.keys[slot, :, length:] = 0
            layer.values[slot, :, :length] = values
            layer.values[slot, :, length:] = 0

    def move(self, source: int, target: int) -> None:
        """Copy one slot onto another."""
        for layer in self._blocks:
            layer.keys[target] = layer.keys[source]
            layer.values[target] = layer.values[source]
