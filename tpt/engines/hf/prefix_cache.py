"""Keys and values of rows that share prompts: one prefix for all, one page per prompt, one strip per row.

A row attends to the prefix that all prompts begin with, then to the page with the rest of its own prompt, then to its
strip, where its tokens go from the prompt's last one on. Prefix and pages are stored once for all rows that need them.
Beyond what a row uses, the blocks hold anything.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from tpt.engines.hf.prompt_store import PromptKeysValues

_PAGE_STEP = 16
_STRIP_STEP = 48
"""Strips are as wide as the longest row; every time they grow, all that is in them is copied. A power of two would have the
rows' beginnings collide in the cache."""


class SharedLayer(CacheLayerMixin):
    """One layer's blocks, each a pair ``[2, count, heads, width, head_dim]`` of keys and values."""

    def __init__(self, like: torch.Tensor, slots: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        heads, _, head_dim = like.shape
        self.is_initialized = True
        self.prefix = like.new_zeros((2, 1, heads, 0, head_dim))
        self.pages = like.new_zeros((2, 0, heads, 0, head_dim))
        self.strips = like.new_zeros((2, slots, heads, _STRIP_STEP, head_dim))
        self.newest = (like[:0], like[:0])
        """Of every row that is fed a token, ``[rows, heads, head_dim]``."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: the blocks are there from the start."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the newest keys and values for attention, which puts them into the strips; return those."""
        rows = len(key_states)
        width = self.strips.shape[-1]
        self.newest = (key_states.reshape(rows, -1, width), value_states.reshape(rows, -1, width))
        return self.strips[0, :rows], self.strips[1, :rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length and offset of what update returns."""
        return int(self.strips.shape[3]), 0

    def get_seq_length(self) -> int:
        """Return 0: rows have lengths of their own, which the decoder passes as position ids and mask."""
        return 0

    def get_max_length(self) -> int:
        """Return the width of the strips."""
        return int(self.strips.shape[3])


class SharedCache(Cache):
    """The blocks of all layers, and which row uses which page."""

    def __init__(self, like: PromptKeysValues, *, slots: int) -> None:
        """Allocate strips with the heads, widths, dtype and device of a prefilled prompt."""
        self.blocks = [SharedLayer(keys, slots) for keys, _ in like]
        super().__init__(layers=[*self.blocks])
        self.slots = slots
        self.prefix: tuple[int, ...] = ()
        self.page_width = 0
        self.strip_width = _STRIP_STEP
        self.row_pages = np.zeros(slots, np.int64)
        """The page of each row; meaningless for a row without one."""
        self.row_lengths = np.zeros(slots, np.int64)
        """Positions in use of it; 0 for a row without one."""
        self._page_of: dict[tuple[int, ...], int] = {}
        self._users: dict[int, set[int]] = {}
        self._suffixes: dict[int, tuple[int, ...]] = {}
        self._free: list[int] = []

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        return sum(part.nbytes for layer in self.blocks for part in (layer.prefix, layer.pages, layer.strips))

    @property
    def is_empty(self) -> bool:
        """Whether no row has a page."""
        return not self._suffixes

    @property
    def page_count(self) -> int:
        """Pages up to the last one in use."""
        return max(self._users, default=-1) + 1

    def no_states(self) -> PromptKeysValues:
        """Return the keys and values of no tokens."""
        return [(layer.strips[0, 0, :, :0], layer.strips[1, 0, :, :0]) for layer in self.blocks]

    def set_prefix(self, prefix: tuple[int, ...], states: PromptKeysValues) -> None:
        """Take a prefix for all prompts to come; only while no row is running."""
        self.prefix = prefix
        for layer, (keys, values) in zip(self.blocks, states, strict=True):
            layer.prefix = torch.stack([keys, values])[:, None].contiguous()

    def shorten_prefix(self, length: int) -> None:
        """Move the prefix from ``length`` on into every page."""
        cut = len(self.prefix) - length
        tail = self.prefix[length:]
        for layer in self.blocks:
            moved = layer.prefix[:, :, :, length:].expand(-1, layer.pages.shape[1], -1, -1, -1)
            layer.pages = torch.cat([moved, layer.pages], dim=3)
            layer.prefix = layer.prefix[:, :, :, :length].contiguous()
        self.prefix = self.prefix[:length]
        self.page_width += cut
        self._page_of = {tail + suffix: page for suffix, page in self._page_of.items()}
        self._suffixes = {row: tail + suffix for row, suffix in self._suffixes.items()}
        self.row_lengths[list(self._suffixes)] += cut

    def holds(self, suffix: tuple[int, ...]) -> bool:
        """Return whether a page has this rest of a prompt."""
        return suffix in self._page_of

    def seat(self, row: int, suffix: tuple[int, ...], states: PromptKeysValues | None) -> None:
        """Give a row its page; ``states`` are needed unless ``holds(suffix)``."""
        if suffix not in self._page_of:
            assert states is not None
            self._page_of[suffix] = self._new_page(len(suffix), states)
        page = self._page_of[suffix]
        self._users.setdefault(page, set()).add(row)
        self._suffixes[row] = suffix
        self.row_pages[row], self.row_lengths[row] = page, len(suffix)

    def leave(self, row: int) -> None:
        """Take a row's page from it; a page without rows is free."""
        suffix = self._suffixes.pop(row)
        page = self._page_of[suffix]
        self.row_lengths[row] = 0
        self._users[page].discard(row)
        if not self._users[page]:
            del self._users[page], self._page_of[suffix]
            heapq.heappush(self._free, page)

    def move(self, source: int, target: int) -> None:
        """Copy a row's strip onto a free row's, which takes over its page."""
        for layer in self.blocks:
            layer.strips[:, target] = layer.strips[:, source]
        suffix = self._suffixes.pop(source)
        self._suffixes[target] = suffix
        users = self._users[self._page_of[suffix]]
        users.discard(source)
        users.add(target)
        self.row_pages[target], self.row_lengths[target] = self.row_pages[source], self.row_lengths[source]
        self.row_lengths[source] = 0

    def compact_pages(self) -> None:
        """Move pages into the lowest places."""
        while self._free and self._free[0] < self.page_count - 1:
            target, source = heapq.heappop(self._free), self.page_count - 1
            for layer in self.blocks:
                layer.pages[:, target] = layer.pages[:, source]
            self._users[target] = self._users.pop(source)
            self.row_pages[list(self._users[target])] = target
            suffix = self._suffixes[next(iter(self._users[target]))]
            self._page_of[suffix] = target
            heapq.heappush(self._free, source)

    def fit_strips(self, longest: int) -> None:
        """Give the strips room for ``longest`` positions, and not far more."""
        width = -(-longest // _STRIP_STEP) * _STRIP_STEP
        if self.strip_width < width or self.strip_width > 2 * width:
            kept = min(width, self.strip_width)
            for layer in self.blocks:
                layer.strips = _widened(layer.strips, width, kept, count=self.slots)
            self.strip_width = width

    def _new_page(self, length: int, states: PromptKeysValues) -> int:
        page = heapq.heappop(self._free) if self._free else self.page_count
        self._fit_pages(page + 1, length)
        for layer, (keys, values) in zip(self.blocks, states, strict=True):
            layer.pages[0, page, :, :length] = keys
            layer.pages[1, page, :, :length] = values
        return page

    def _fit_pages(self, count: int, length: int) -> None:
        """Make room for a page; pages are as wide as the longest in use, up to a step."""
        there = self.blocks[0].pages.shape[1]
        longest = max([length, *map(len, self._page_of)])
        width = -(-longest // _PAGE_STEP) * _PAGE_STEP
        if self.page_width < width or self.page_width > 2 * width or there < count:
            count = max(there, min(self.slots, -(-count // 16) * 16))
            kept = min(width, self.page_width)
            for layer in self.blocks:
                layer.pages = _widened(layer.pages, width, kept, count=count)
            self.page_width = width


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
