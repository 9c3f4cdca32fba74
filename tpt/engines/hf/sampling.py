"""Sampling for all slots at once, each from its own random stream."""

from __future__ import annotations

import numpy as np
import torch

from tpt.engines import Request

BROKEN = -1
"""Stands in for a token where the logits held NaN or infinity."""

_CACHED_WEIGHTS = 2**20
_SMALL_VOCABULARY = 4096
_BLOCK = 256


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
        self._greedy: set[int] = set()

    def assign(self, slot: int, request: Request) -> None:
        """Give a slot to a request."""
        sampling = request.sampling
        stream = torch.from_numpy(uniforms(request.seed, sampling.max_tokens))
        self._streams[slot, : sampling.max_tokens] = stream
        self._settings[:, slot] = torch.tensor([sampling.temperature, sampling.top_k, sampling.top_p])
        self.release(slot)
        if sampling.temperature == 0:
            self._greedy.add(slot)
            return
        self._sampled.add(slot)
        if sampling.top_k > 0 or sampling.top_p < 1:
            self._filtered.add(slot)

    def release(self, slot: int) -> None:
        """Forget what a slot's request needed."""
        for members in (self._filtered, self._sampled, self._greedy):
            members.discard(slot)

    def move(self, source: int, target: int) -> None:
        """Copy one slot onto another and release the first."""
        self._streams[target] = self._streams[source]
        self._settings[:, target] = self._settings[:, source]
        for members in (self._filtered, self._sampled, self._greedy):
            members.discard(target)
            if source in members:
                members.add(target)
        self.release(source)

    def pick(self, logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Return the next token of each of the first rows, BROKEN where the logits cannot be sampled from.

        Args:
            logits: ``[rows, vocabulary]``.
            counts: ``[rows]``, how many tokens each row has sampled already.
        """
        rows, vocabulary = logits.shape
        if not self._sampled:
            top, best = logits.max(dim=-1)
            return torch.where(torch.isfinite(top), best, BROKEN)
        draws = self._streams[:rows].gather(1, counts[:, None])
        # A few rows at a time pass through the cache of a CPU; on a GPU all at once.
        step = rows if logits.is_cuda else max(1, _CACHED_WEIGHTS // vocabulary)
        parts = [
            self._drawn(logits[start : start + step], draws[start : start + step], start)
            for start in range(0, rows, step)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _drawn(self, logits: torch.Tensor, draws: torch.Tensor, start: int) -> torch.Tensor:
        """Return the next tokens of some rows from ``start`` on."""
        slots = range(start, start + logits.shape[0])
        temperature, top_k, top_p = self._settings[:, slots.start : slots.stop]
        greedy = temperature == 0
        scale = torch.where(greedy, 1.0, temperature)[:, None]
        weights = logits.to(torch.float32, copy=True)
        weights.sub_(weights.amax(dim=-1, keepdim=True)).div_(scale).exp_()
        if any(slot in self._filtered for slot in slots):
            weights = weights * kept_tokens(weights, top_k, top_p)
        tokens, total = (invert_cdf if logits.shape[1] <= _SMALL_VOCABULARY else invert_cdf_by_blocks)(weights, draws)
        if any(slot in self._greedy for slot in slots):
            tokens = torch.where(greedy, logits.argmax(dim=-1), tokens)
        return torch.where(torch.isfinite(total), tokens, BROKEN)


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


def invert_cdf_by_blocks(weights: torch.Tensor, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what ``invert_cdf`` does, for large vocabularies: first a block of tokens, then a token in the block.

    Only the sums of whole blocks are in float32, so a token's probability is off by no more than those are, about one
    part in ten million; ``exp`` is no more exact.
    """
    vocabulary = weights.shape[1]
    even = vocabulary - vocabulary % _BLOCK
    sums = weights[:, :even].reshape(len(weights), -1, _BLOCK).sum(dim=-1)
    if even < vocabulary:
        sums = torch.cat([sums, weights[:, even:].sum(dim=-1, keepdim=True)], dim=1)
    blocks, total = invert_cdf(sums, draws)
    ends = sums.cumsum(dim=-1, dtype=torch.float64)
    ends_before = torch.nn.functional.pad(ends, (1, 0)).gather(1, blocks[:, None])
    ids = blocks[:, None] * _BLOCK + torch.arange(_BLOCK, device=weights.device)
    inside = weights.gather(1, ids.clamp(max=vocabulary - 1)) * (ids < vocabulary)
    share = (draws * total[:, None] - ends_before) / inside.sum(dim=-1, keepdim=True, dtype=torch.float64)
    tokens, _ = invert_cdf(inside, share.clamp(min=0.0))
    return (blocks * _BLOCK + tokens).clamp_(max=vocabulary - 1), total


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
