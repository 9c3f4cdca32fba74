"""Whether two models, or one before and after a change that must change nothing, give the same logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

_TOKENS = 64
"""Most tokens that are compared."""
_LARGEST_ERROR = 1e-3
"""Of the logits' spread: sums in another order make about a hundred thousandth of it."""


def probe_ids(model: PreTrainedModel) -> list[int]:
    """Return a few ids from all over a model's vocabulary."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    return [(index + 1) * vocabulary // 9 for index in range(8)]


@torch.no_grad()
def logits_of(model: PreTrainedModel, token_ids: Sequence[int]) -> Tensor:
    """Return the logits after each of the first tokens, ``[tokens, vocabulary]`` in float32 on the CPU."""
    was_training = model.training
    model.train(False)
    try:
        ids = torch.tensor([list(token_ids[:_TOKENS])], device=model.device)
        found: Tensor = model(input_ids=ids, use_cache=False).logits[0].float().cpu()
    finally:
        model.train(was_training)
    return found


def difference(found: Tensor, expected: Tensor, *, largest: float = _LARGEST_ERROR) -> str:
    """Return how far logits are from those expected, in words; empty where they are the same but for rounding."""
    spread = float(expected.std())
    wrong = float((found - expected).abs().mean())
    if wrong <= largest * spread:
        return ""
    return f"off by {float((found - expected).abs().max()):.3g} at most, {wrong:.3g} on average, with a spread of {spread:.3g}"
