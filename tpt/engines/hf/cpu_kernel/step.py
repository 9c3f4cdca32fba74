"""What attention is told of one decode step in which rows share prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tpt.engines.hf.cpu_kernel.attention import RowProgress, RowTable, attend
from tpt.engines.hf.cpu_kernel.threads import ThreadTeam
from tpt.engines.hf.prefix_cache import PrefixCache

DTYPES = (torch.float32, torch.bfloat16)
"""What the kernel reads."""
_SHARES = 8
"""Of each thread, so that those that come late leave little to wait for."""


@dataclass(slots=True)
class PrefixStep:
    """One decode step; attention finds the rest of what it needs in the layer's own tensors."""

    cache: PrefixCache
    table: RowTable
    progress: RowProgress
    team: ThreadTeam
    calls: int = 0
    """Attention calls that took part; a model that does not hand the step on to its attention would leave some out."""

    def attend(
        self,
        layer_index: int,
        query: torch.Tensor,
        first_seen: torch.Tensor,
        *,
        scaling: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """Return the mixed values, ``[rows, 1, heads, width]``.

        Args:
            layer_index: Which layer.
            query: ``[rows, heads, 1, width]``.
            first_seen: ``[rows, 1, 1, 1]``, the first position that a row's token sees.
            scaling: Factor of the scores.
            softcap: Where the scores level off, if they do.
        """
        self.calls += 1
        layer = self.cache.kv_layers[layer_index]
        rows, all_heads, _, width = query.shape
        heads = layer.decode_blocks.shape[2]
        mixed = attend(
            _numbers(query.reshape(rows, heads, all_heads // heads, width).contiguous()),
            (_numbers(layer.newest[0].contiguous()), _numbers(layer.newest[1].contiguous())),
            (_numbers(layer.prefix), _numbers(layer.prompt_blocks), _numbers(layer.decode_blocks)),
            self.table,
            self.progress,
            self.team,
            first_seen=first_seen.flatten().numpy(),
            scaling=scaling,
            softcap=softcap or 0.0,
        )
        return torch.from_numpy(mixed).view(rows, 1, all_heads, width).to(query.dtype)


def row_table(cache: PrefixCache, counts: torch.Tensor, *, threads: int) -> RowTable:
    """Return which prompt block each of the first rows has, and how the rows are dealt out to threads.

    ``counts``: ``[rows]``, index of each row's newest token in its decode block.
    """
    rows = len(counts)
    prompt_blocks, lengths = cache.row_blocks[:rows].copy(), cache.row_lengths[:rows].copy()
    order = np.argsort(prompt_blocks, kind="stable")
    work = np.cumsum((lengths + counts.numpy() + len(cache.prefix) + 1)[order])
    shares = 1 if threads == 1 else min(rows, threads * _SHARES)
    cuts = np.searchsorted(work, np.arange(1, shares) * work[-1] / shares)
    return RowTable(order, np.array([0, *cuts, rows]), prompt_blocks, lengths)


def _numbers(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor's memory; numpy has no bfloat16, so its bits stand for it."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    memory: NDArray[Any] = tensor.numpy()
    return memory
