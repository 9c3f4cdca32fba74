"""Sampling for all slots at once, each from its own random stream."""

from __future__ import annotations

import numpy as np
import torch

from tpt.engines import Request

BROKEN = -1
"""Stands in for a token where the logits held NaN or infinity."""


def uniforms(seed: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a request's random stream in [0, 1): number ``t`` decides its token ``t``."""
    return np.random.Generator(np.random.Philox(key=seed)).random(length)


class SlotSampler:
    """The sampling settings and random streams of every slot."""

    def __init__(self, *, slots: int, max_length: int, device: torch.device) -> None:
        """Allocate for streams of up to ``max_length`` tokens."""
        self._streams = torch.zeros((slots, max_length), dtype=torch.float64, device=device)
        self._settings = torch.zeros((3, slots), device=device)
        self._settings[2] = 1.0
        self._filtered: set[int] = set()
        self._sampled: set[int] = set()

    def assign(self, slot: int, request: Request) -> None:
        """Give a slot to a request."""
        sampling = request.sampling
        stream = torch.from_numpy(uniforms(request.seed, sampling.max_tokens))
        self._streams[slot, : sampling.max_tokens] = stream
        self._settings[:, slot] = torch.tensor([sampling.temperature, sampling.top_k, sampling.top_p])
        self.release(slot)
        if sampling.temperature > 0:
            self._sampled.add(slot)
            if sampling.top_k > 0 or sampling.top_p < 1:
                self._filtered.add(slot)

    def release(self, slot: int) -> None:
        """Forget what a slot's request needed."""
        self._filtered.discard(slot)
        self._sampled.discard(slot)

    def move(self, source: int, target: int) -> None:
        """Copy one slot onto another, which takes its place."""
        self._streams[target] = self._streams[source]
        self._settings[:, target] = self._settings[:, source]
        for members in (self._filtered, self._sampled):
            members.discard(target)
            if source in members:
                members.add(target)
        self.release(source)

    def pick(self, logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Return the next token of each of the first rows, BROKEN where the logits cannot be sampled from.

        Args:
            logits: ``[rows, vocabulary]``, float32.
            counts: ``[rows]``, how many tokens each row has sampled already.
        """
        rows = logits.shape[0]
        temperature, top_k, top_p = self._settings[:, :rows]
        top, best = logits.max(dim=-1)
        if not self._sampled:
            return torch.where(torch.isfinite(top), best, BROKEN)
        greedy = temperature == 0
        scale = torch.where(greedy, 1.0, temperature)[:, None]
        weights = torch.exp((logits - top[:, None]) / scale)
        if self._filtered:
            weights = weights * kept_tokens(weights, top_k, top_p)
        draws = self._streams[:rows].gather(1, counts[:, None])
        tokens, total = invert_cdf(weights, draws)
        return torch.where(torch.isfinite(total), torch.where(greedy, best, tokens), BROKEN)


def invert_cdf(weights: torch.Tensor, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each row the first token whose cumulative weight exceeds ``draw * total``, and the total.

    Sums are in float64. A token of weight 0 is never returned.

    Args:
        weights: ``[rows, vocabulary]``, not normalised.
        draws: ``[rows, 1]``, float64 in [0, 1).
    """
    cumulative = torch.cumsum(weights, dim=-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    # Rounding could lift draw * total to total itself, which no cumulative weight exceeds.
    below = torch.nextafter(total, torch.zeros_like(total))
    tokens = torch.searchsorted(cumulative, torch.minimum(draws * total, below), right=True)
    return tokens[:, 0].clamp_(max=weights.shape[-1] - 1), total[:, 0]


def kept_tokens(weights: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Return 1 where top_k and then top_p keep a token, else 0, ``[rows, vocabulary]``.

    As elsewhere, top_p counts within what top_k left, and keeps the token that crosses the mass. Equal weights at the
    edge are ranked by id. A row with both filters off keeps all of its tokens, whatever its neighbours ask for.

    Args:
        weights: ``[rows, vocabulary]``, after temperature, not normalised.
        top_k: ``[rows]``, 0 for off.
        top_p: ``[rows]``, 1 for off.
    """
    ranked, order = torch.sort(weights, dim=-1, descending=True, stable=True)
    ranks = torch.arange(weights.shape[-1], device=weights.device)
    inside = (ranks < top_k[:, None]) | (top_k[:, None] == 0)
    ranked = torch.where(inside, ranked, 0.0).double()
    cumulative = ranked.cumsum(dim=-1)
    mass_before = cumulative - ranked
    inside &= (mass_before < top_p[:, None] * cumulative[:, -1:]) | (top_p[:, None] >= 1)
    return torch.zeros_like(weights).scatter_(1, order, inside.to(weights.dtype))
