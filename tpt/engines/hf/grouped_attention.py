"""Attention for CPUs: plain matrix products, query heads grouped by the key head they share.

Unlike torch's fused CPU kernel, whose partition over threads lets a row's rounding depend on its position in the batch,
each row's products here have one shape; and unlike transformers' eager attention, shared keys are not copied per query
head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from tpt.errors import ForeignModelError

if TYPE_CHECKING:
    from tpt.engines.hf.cpu_kernel.step import PrefixStep

NAME = "tpt_grouped"
_UNKNOWN_TERMS = ("s_aux", "position_bias")


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Make a model attend by this module's function."""
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, eager_mask)
    model.set_attn_implementation(NAME)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **terms: Any,
) -> tuple[torch.Tensor, None]:
    """Return softmax(scaled and soft-capped query @ key + mask) @ value, as ``[batch, length, heads, width]``.

    The signature is that of transformers' attention functions, keyword terms included.

    Args:
        module: The attention layer.
        query: ``[batch, heads, length, width]``.
        key: ``[batch, key_heads, window, width]``.
        value: Like ``key``.
        attention_mask: Additive, ``[batch, 1, length, window]``; None: nothing is masked.
        terms: ``scaling`` and ``softcap`` are used, and ``prefix_step`` of a decoder whose rows share prompts; the
            others do not change the result of a decoder that is not training, save those that raise ForeignModelError.
    """
    for term in _UNKNOWN_TERMS:
        if terms.get(term) is not None:
            raise ForeignModelError(f"{type(module).__name__} uses attention with {term!r}, which it does not have")
    shared: PrefixStep | None = terms.get("prefix_step")
    if shared is not None:
        assert attention_mask is not None  # of a decoder whose rows share prompts: the first position a row sees
        index = int(module.layer_idx)  # type: ignore[arg-type]
        scaling, cap = terms["scaling"], terms.get("softcap")
        return shared.attend(index, query, attention_mask, scaling=scaling, softcap=cap), None
    batch, heads, length, width = query.shape
    key_heads, window = key.shape[1], key.shape[2]
    folded = query.reshape(batch, key_heads, heads // key_heads * length, width)
    scores = torch.matmul(folded, key.transpose(2, 3)) * terms["scaling"]
    softcap = terms.get("softcap")
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.view(batch, key_heads, heads // key_heads, length, window)
    if attention_mask is not None:
        scores = scores + attention_mask[:, :, None]
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    mixed = torch.matmul(weights.view(batch, key_heads, -1, window), value)
    return mixed.reshape(batch, heads, length, value.shape[-1]).transpose(1, 2).contiguous(), None
