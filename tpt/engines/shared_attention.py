"""Attention of one new token a row over shared and own keys and values, without copying what is shared.

Scores of the three parts (prefix, page, strip; see ``shared_cache``) are put side by side for one softmax. The rows that
share a page are multiplied with it together, so its keys and values are read once for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tpt.engines.shared_cache import SharedLayer


@dataclass(slots=True)
class Grouping:
    """Which rows are multiplied with which page."""

    pages: int
    members: torch.Tensor | None
    """``[pages * largest]``: rows by page, filled up with row 0; None when row ``i`` alone has page ``i``."""
    places: torch.Tensor | None
    """``[rows]``: where in ``members`` a row stands."""

    @classmethod
    def of(cls, members: list[list[int]], rows: int, device: torch.device) -> Grouping:
        """Group the rows below ``rows`` by page; a row without a page stands in for nothing."""
        if members == [[row] for row in range(rows)]:
            return cls(rows, None, None)
        largest = max(map(len, members), default=1)
        table, places = [0] * (len(members) * largest), [0] * rows
        for page, users in enumerate(members):
            for place, row in enumerate(users, start=page * largest):
                table[place], places[row] = row, place
        return cls(len(members), torch.tensor(table, device=device), torch.tensor(places, device=device))

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """Turn ``[rows, heads, group, width]`` into ``[pages * heads, largest * group, width]``."""
        _, heads, group, width = rows.shape
        if self.members is None:
            return rows.reshape(self.pages * heads, group, width)
        taken = rows.index_select(0, self.members).view(self.pages, -1, heads, group, width)
        return taken.transpose(1, 2).reshape(self.pages * heads, -1, width)

    def scatter(self, grouped: torch.Tensor, heads: int, group: int) -> torch.Tensor:
        """Turn what ``gather`` returns, at any width, back into ``[rows, heads, group, width]``."""
        width = grouped.shape[-1]
        if self.places is None:
            return grouped.view(self.pages, heads, group, width)
        parts = grouped.view(self.pages, heads, -1, group, width).transpose(1, 2)
        return parts.reshape(-1, heads, group, width).index_select(0, self.places)


@dataclass(slots=True)
class SharedStep:
    """What attention needs to know of one decode step besides the layer's own tensors."""

    layers: list[SharedLayer]
    grouping: Grouping
    calls: int = 0
    """Attention calls that took part; a model that does not hand the step on to its attention would leave some out."""

    def attend(
        self,
        layer_index: int,
        query: torch.Tensor,
        mask: torch.Tensor,
        *,
        scaling: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """Return the mixed values, ``[rows, 1, heads, width]``.

        Args:
            layer_index: Which layer.
            query: ``[rows, heads, 1, width]``.
            mask: Additive, ``[rows, 1, 1, prefix + page + strip]``.
            scaling: Factor of the scores.
            softcap: Where the scores level off, if they do.
        """
        self.calls += 1
        layer = self.layers[layer_index]
        rows, all_heads, _, width = query.shape
        heads = layer.strips.shape[2]
        group = all_heads // heads
        queries = query.reshape(rows, heads, group, width)
        # In float32, which is faster on CPUs as well as more exact; each part is written there once.
        scores = query.new_empty((rows, heads, group, mask.shape[-1]), dtype=torch.float32)
        start = 0
        for part in self._scores(layer, queries):
            scores[..., start : start + part.shape[-1]] = part
            start += part.shape[-1]
        scores.mul_(scaling)
        if softcap is not None:
            scores.div_(softcap).tanh_().mul_(softcap)
        weights = torch.softmax(scores.add_(mask), dim=-1)
        return self._mixed(layer, weights, query.dtype).reshape(rows, 1, all_heads, -1)

    def _scores(self, layer: SharedLayer, queries: torch.Tensor) -> list[torch.Tensor]:
        rows, heads, group, _ = queries.shape
        parts = []
        if layer.prefix.shape[3]:
            lines = queries.transpose(0, 1).reshape(heads, rows * group, -1)
            scores = torch.bmm(lines, layer.prefix[0, 0].transpose(1, 2))
            parts.append(scores.view(heads, rows, group, -1).transpose(0, 1))
        if layer.pages.shape[3]:
            keys = layer.pages[0, : self.grouping.pages].flatten(0, 1)
            scores = torch.bmm(self.grouping.gather(queries), keys.transpose(1, 2))
            parts.append(self.grouping.scatter(scores, heads, group))
        keys = layer.strips[0, :rows].flatten(0, 1)
        scores = torch.bmm(queries.reshape(rows * heads, group, -1), keys.transpose(1, 2))
        parts.append(scores.view(rows, heads, group, -1))
        return parts

    def _mixed(self, layer: SharedLayer, weights: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        rows, heads, group, _ = weights.shape
        widths = [layer.prefix.shape[3], layer.pages.shape[3], layer.strips.shape[3]]
        ends = [sum(widths[: part + 1]) for part in range(3)]
        prefix, page, strip = (
            weights[..., end - width : end].to(dtype) for width, end in zip(widths, ends, strict=True)
        )
        mixed = torch.bmm(strip.reshape(rows * heads, group, -1), layer.strips[1, :rows].flatten(0, 1))
        mixed = mixed.view(rows, heads, group, -1)
        if widths[0]:
            lines = prefix.transpose(0, 1).reshape(heads, rows * group, -1)
            shared = torch.bmm(lines, layer.prefix[1, 0])
            mixed += shared.view(heads, rows, group, -1).transpose(0, 1)
        if widths[1]:
            values = layer.pages[1, : self.grouping.pages].flatten(0, 1)
            mixed += self.grouping.scatter(torch.bmm(self.grouping.gather(page), values), heads, group)
        return mixed
