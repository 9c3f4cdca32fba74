"""Keys and values of rows that share prompts: one prefix for all, a prompt block per prompt, a decode block per row.

A row attends to the prefix that all prompts begin with, then to the prompt block with the rest of its own prompt, then
to its decode block, where its tokens go from the prompt's last one on. Prefix and prompt blocks are stored once for all
rows that need them. Beyond what a row uses, the blocks hold anything.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from tpt.engines.hf.prompt_store import PromptKeysValues

_PROMPT_STEP = 16
_DECODE_STEP = 48
"""Decode blocks are as wide as the longest row; every time they grow, all that is in them is copied. A power of two would
have the rows' beginnings collide in the cache."""


class PrefixLayer(CacheLayerMixin):
    """One layer's blocks, each a pair ``[2, count, heads, width, head_dim]`` of keys and values."""

    def __init__(self, like: torch.Tensor, slots: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        heads, _, head_dim = like.shape
        self.is_initialized = True
        self.prefix = like.new_zeros((2, 1, heads, 0, head_dim))
        self.prompt_blocks = like.new_zeros((2, 0, heads, 0, head_dim))
        self.decode_blocks = like.new_zeros((2, slots, heads, _DECODE_STEP, head_dim))
        self.newest = (like[:0], like[:0])
        """Of every row that is fed a token, ``[rows, heads, head_dim]``."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the blocks are there from the start."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the newest keys and values for attention, which puts them into the decode blocks; return those."""
        rows = len(key_states)
        width = self.decode_blocks.shape[-1]
        self.newest = (key_states.reshape(rows, -1, width), value_states.reshape(rows, -1, width))
        return self.decode_blocks[0, :rows], self.decode_blocks[1, :rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length and offset of what update returns."""
        return int(self.decode_blocks.shape[3]), 0

    def get_seq_length(self) -> int:
        """Return 0: rows have lengths of their own, which the decoder passes as position ids and mask."""
        return 0

    def get_max_length(self) -> int:
        """Return the width of the decode blocks."""
        return int(self.decode_blocks.shape[3])


class PrefixCache(Cache):
    """The blocks of all layers, and which row uses which prompt block."""

    def __init__(self, like: PromptKeysValues, *, slots: int) -> None:
        """Allocate decode blocks with the heads, widths, dtype and device of a prefilled prompt."""
        self.kv_layers = [PrefixLayer(keys, slots) for keys, _ in like]
        super().__init__(layers=[*self.kv_layers])
        self.slots = slots
        self.prefix: tuple[int, ...] = ()
        self.prompt_width = 0
        self.decode_width = _DECODE_STEP
        self.row_blocks = np.zeros(slots, np.int64)
        """The prompt block of each row; meaningless for a row without one."""
        self.row_lengths = np.zeros(slots, np.int64)
        """Positions in use of it; 0 for a row without one."""
        self._block_of: dict[tuple[int, ...], int] = {}
        self._users: dict[int, set[int]] = {}
        self._suffixes: dict[int, tuple[int, ...]] = {}
        self._free: list[int] = []

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(
            part.nbytes for layer in self.kv_layers for part in (layer.prefix, layer.prompt_blocks, layer.decode_blocks)
        )

    @property
    def is_empty(self) -> bool:
        """Whether no row has a prompt block."""
        return not self._suffixes

    @property
    def prompt_block_count(self) -> int:
        """Prompt blocks up to the last one in use."""
        return max(self._users, default=-1) + 1

    def no_states(self) -> PromptKeysValues:
        """Return the keys and values of no tokens."""
        return [(layer.decode_blocks[0, 0, :, :0], layer.decode_blocks[1, 0, :, :0]) for layer in self.kv_layers]

    def set_prefix(self, prefix: tuple[int, ...], states: PromptKeysValues) -> None:
        """Take a prefix for all prompts to come; only while no row is running."""
        self.prefix = prefix
        for layer, (keys, values) in zip(self.kv_layers, states, strict=True):
            layer.prefix = torch.stack([keys, values])[:, None].contiguous()

    def shorten_prefix(self, length: int) -> None:
        """Move the prefix from ``length`` on into every prompt block."""
        cut = len(self.prefix) - length
        tail = self.prefix[length:]
        for layer in self.kv_layers:
            moved = layer.prefix[:, :, :, length:].expand(-1, layer.prompt_blocks.shape[1], -1, -1, -1)
            layer.prompt_blocks = torch.cat([moved, layer.prompt_blocks], dim=3)
            layer.prefix = layer.prefix[:, :, :, :length].contiguous()
        self.prefix = self.prefix[:length]
        self.prompt_width += cut
        self._block_of = {tail + suffix: block for suffix, block in self._block_of.items()}
        self._suffixes = {row: tail + suffix for row, suffix in self._suffixes.items()}
        self.row_lengths[list(self._suffixes)] += cut

    def holds(self, suffix: tuple[int, ...]) -> bool:
        """Return whether a prompt block has this rest of a prompt."""
        return suffix in self._block_of

    def assign(self, row: int, suffix: tuple[int, ...], states: PromptKeysValues | None) -> None:
        """Give a row its prompt block; ``states`` are needed unless ``holds(suffix)``."""
        if suffix not in self._block_of:
            assert states is not None
            self._block_of[suffix] = self._new_prompt_block(len(suffix), states)
        block = self._block_of[suffix]
        self._users.setdefault(block, set()).add(row)
        self._suffixes[row] = suffix
        self.row_blocks[row], self.row_lengths[row] = block, len(suffix)

    def release(self, row: int) -> None:
        """Take a row's prompt block from it; a prompt block without rows is free."""
        suffix = self._suffixes.pop(row)
        block = self._block_of[suffix]
        self.row_lengths[row] = 0
        self._users[block].discard(row)
        if not self._users[block]:
            del self._users[block], self._block_of[suffix]
            heapq.heappush(self._free, block)

    def move(self, source: int, target: int) -> None:
        """Copy a row's decode block onto a free row's, which takes over its prompt block."""
        for layer in self.kv_layers:
            layer.decode_blocks[:, target] = layer.decode_blocks[:, source]
        suffix = self._suffixes.pop(source)
        self._suffixes[target] = suffix
        users = self._users[self._block_of[suffix]]
        users.discard(source)
        users.add(target)
        self.row_blocks[target], self.row_lengths[target] = self.row_blocks[source], self.row_lengths[source]
        self.row_lengths[source] = 0

    def compact_prompt_blocks(self) -> None:
        """Move prompt blocks to the lowest free indices."""
        while self._free and self._free[0] < self.prompt_block_count - 1:
            target, source = heapq.heappop(self._free), self.prompt_block_count - 1
            for layer in self.kv_layers:
                layer.prompt_blocks[:, target] = layer.prompt_blocks[:, source]
            self._users[target] = self._users.pop(source)
            self.row_blocks[list(self._users[target])] = target
            suffix = self._suffixes[next(iter(self._users[target]))]
            self._block_of[suffix] = target
            heapq.heappush(self._free, source)

    def fit_decode_blocks(self, longest: int) -> None:
        """Give the decode blocks room for ``longest`` positions, and not far more."""
        width = -(-longest // _DECODE_STEP) * _DECODE_STEP
        if self.decode_width < width or self.decode_width > 2 * width:
            kept = min(width, self.decode_width)
            for layer in self.kv_layers:
                layer.decode_blocks = _widened(layer.decode_blocks, width, kept, count=self.slots)
            self.decode_width = width

    def _new_prompt_block(self, length: int, states: PromptKeysValues) -> int:
        block = heapq.heappop(self._free) if self._free else self.prompt_block_count
        self._fit_prompt_blocks(block + 1, length)
        for layer, (keys, values) in zip(self.kv_layers, states, strict=True):
            layer.prompt_blocks[0, block, :, :length] = keys
            layer.prompt_blocks[1, block, :, :length] = values
        return block

    def _fit_prompt_blocks(self, count: int, length: int) -> None:
        """Make room for a prompt block; prompt blocks are as wide as the longest in use, up to a step."""
        there = self.kv_layers[0].prompt_blocks.shape[1]
        longest = max([length, *map(len, self._block_of)])
        width = -(-longest // _PROMPT_STEP) * _PROMPT_STEP
        if self.prompt_width < width or self.prompt_width > 2 * width or there < count:
            count = max(there, min(self.slots, -(-count // 16) * 16))
            kept = min(width, self.prompt_width)
            for layer in self.kv_layers:
                layer.prompt_blocks = _widened(layer.prompt_blocks, width, kept, count=count)
            self.prompt_width = width


def _widened(block: torch.Tensor, width: int, kept: int, *, count: int) -> torch.Tensor:
    """Return ``[2, count, heads, width, head_dim]`` with the first ``kept`` positions of a block, anything elsewhere."""
    made = block.new_empty((2, count, block.shape[2], width, block.shape[4]))
    made[:, : block.shape[1], :, :kept] = block[:, :, :, :kept]
    return made


def common_length(prompts: Sequence[tuple[int, ...]]) -> int:
    """Return how many tokens all prompts begin with alike."""
    low, high = min(prompts), max(prompts)
    length = 0
    while length < min(len(low), len(high)) and low[length] == high[length]:
        length += 1
    return length
