"""The loss of the target tokens alone: nothing is projected to the vocabulary where nothing is trained.

A vocabulary is tens of thousands of numbers a token, and in a training row most tokens are prompt. So the output
projection sees only the hidden states that predict a target, a tile of them at a time, and each tile's gradient is
computed at once, while its logits are there, instead of keeping or recomputing them for the backward pass.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from tpt.model.chat import IGNORED_LABEL
from tpt.sft.distributed import broadcast, ranks
from tpt.sft.losses import TokenLoss
from tpt.sft.packing import WEIGHTS

TILE = 2**26
"""Logits computed at once: 256 MiB in float32."""


def attach_target_loss(model: PreTrainedModel, loss: TokenLoss) -> None:
    """Teach the model's forward the argument ``target_loss``: with it, it returns the sum of the target tokens' losses.

    The sum is a float32 scalar. Everything goes through the model's own forward, as wrappers for mixed precision and
    for several devices stand around that. Undone by ``detach_target_loss``.
    """
    plain = type(model).forward
    # Of several processes the first is sure to have weights to try it with.
    own_head = bool(broadcast(int(ranks().is_first and has_plain_head(model))))

    @functools.wraps(plain)
    def forward(self: Any, *args: Any, target_loss: bool = False, **inputs: Any) -> Any:
        if not target_loss:
            return plain(self, *args, **inputs)
        labels = functional.pad(inputs.pop("labels")[:, 1:], (0, 1), value=IGNORED_LABEL)
        trained = labels != IGNORED_LABEL
        # All tokens of a row have the same weight, so these need no shift but that of the end of the row.
        weights = inputs.pop(WEIGHTS, None)
        weights = None if weights is None else weights[trained]
        if not own_head:
            logits = plain(self, *args, **inputs).logits[trained]
            return _by_autograd(logits, labels[trained], weights, loss)
        hidden = self.base_model(*args, **inputs).last_hidden_state[trained]
        return self.get_output_embeddings()(hidden, labels=labels[trained], weights=weights)

    model.forward = types.MethodType(forward, model)
    if own_head:
        _attach_to_head(model, loss)


def _attach_to_head(model: PreTrainedModel, loss: TokenLoss) -> None:
    """Teach the output projection's forward the argument ``labels``.

    The loss is computed inside of it, as a sharded projection has its weights there and nowhere else.
    """
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    plain = type(head).forward
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)

    def forward(self: Any, hidden: Tensor, labels: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        if labels is None:
            projected: Tensor = plain(self, hidden)
            return projected
        return target_loss_sum(hidden, self.weight, labels, weights, bias=self.bias, loss=loss, cap=cap)

    head.forward = types.MethodType(forward, head)


def detach_target_loss(model: PreTrainedModel) -> None:
    """Give the model back the forward of its class, which the trainer's wrappers hide too."""
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    for name in ("forward", "_original_forward"):
        model.__dict__.pop(name, None)
        head.__dict__.pop(name, None)


@torch.no_grad()
def has_plain_head(model: PreTrainedModel) -> bool:
    """Return whether logits are hidden states times the output embedding, softcapped where the config says so.

    Some architectures scale them besides, some have no part that gives hidden states; those compute their logits
    themselves, whole.
    """
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(head, torch.nn.Linear) or model.base_model is model:
        return False
    ids = torch.arange(4, device=model.device)[None] % model.config.get_text_config().vocab_size
    expected = type(model).forward(model, input_ids=ids, use_cache=False).logits
    found = functional.linear(
        model.base_model(input_ids=ids, use_cache=False).last_hidden_state, head.weight, head.bias
    )
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    if cap is not None:
        found = torch.tanh(found / cap) * cap
    return expected.shape == found.shape and torch.allclose(expected.float(), found.float(), rtol=1e-2, atol=1e-2)


def target_loss_sum(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    bias: Tensor | None,
    loss: TokenLoss,
    cap: float | None,
) -> Tensor:
    """Return the sum of the losses of target tokens, a float32 scalar; its products are in autocast's precision.

    Args:
        hidden: ``[targets, width]``, the state that predicts each target.
        weight: ``[vocabulary, width]``.
        labels: ``[targets]``.
        weights: ``[targets]``, of their losses; None: all 1.
        bias: ``[vocabulary]``, or None.
        loss: Of a target's log-probability.
        cap: Logits are ``cap * tanh(logits / cap)``, as in Gemma 2; None: they are not capped.
    """
    total: Tensor = _TargetLoss.apply(hidden, weight, bias, labels, weights, loss, cap)  # type: ignore[no-untyped-call]
    return total


def _by_autograd(logits: Tensor, labels: Tensor, weights: Tensor | None, loss: TokenLoss) -> Tensor:
    log_p = -functional.cross_entropy(logits.float(), labels, reduction="none")
    losses, slopes = loss(log_p.detach(), weights)
    # Its value is that of the losses, and its gradient by the log-probabilities the slopes.
    return (losses + slopes * (log_p - log_p.detach())).sum()


class _TargetLoss(torch.autograd.Function):
    """Computes the loss and, in the same pass, its gradients; the backward pass only scales them."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        weights: Tensor | None,
        loss: TokenLoss,
        cap: float | None,
    ) -> Tensor:
        device = hidden.device.type
        rounded = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        with torch.autocast(device, enabled=False):
            states, matrix = hidden.to(rounded), weight.to(rounded)
            total = torch.zeros((), device=hidden.device)
            by_hidden = torch.empty_like(states) if ctx.needs_input_grad[0] else None
            by_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
            by_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None else None
            rows = max(1, TILE // len(weight))
            for at in range(0, len(states), rows):
                part = slice(at, at + rows)
                # Nothing but the slopes is kept, and not into the next round: a tile is large.
                losses, slopes = _losses_and_slopes(
                    functional.linear(states[part], matrix, None if bias is None else bias.to(rounded)).float(),
                    labels[part],
                    None if weights is None else weights[part],
                    loss,
                    cap,
                )
                total += losses.sum()
                slopes = slopes.to(rounded)
                if by_hidden is not None:
                    torch.mm(slopes, matrix, out=by_hidden[part])
                if by_weight is not None:
                    by_weight += slopes.T @ states[part]
                if by_bias is not None:
                    by_bias += slopes.sum(0, dtype=torch.float32)
                del slopes
        ctx.save_for_backward(by_hidden, by_weight, by_bias)
        ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradients[0]
        scaled = (
            None if saved is None else (saved * scale).to(dtype)
            for saved, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return (*scaled, None, None, None, None)


def _losses_and_slopes(
    logits: Tensor, labels: Tensor, weights: Tensor | None, loss: TokenLoss, cap: float | None
) -> tuple[Tensor, Tensor]:
    """Return the losses ``[targets]`` and their gradients by the logits ``[targets, vocabulary]``, which it overwrites."""
    ratio = None
    if cap is not None:
        ratio = torch.tanh(logits / cap)
        logits = ratio * cap
    at = labels[:, None]
    scale = logits.logsumexp(-1, keepdim=True)
    losses, slope = loss(logits.gather(-1, at) - scale, None if weights is None else weights[:, None])
    probabilities = logits.sub_(scale).exp_()
    gradient = probabilities.mul_(-slope)
    gradient.scatter_add_(-1, at, slope)
    if ratio is not None:
        gradient *= ratio.square_().neg_().add_(1)
    return losses, gradient
