"""What is minimised, token by token: functions of the log-probability that the model gives to a target token.

Every loss here sees a token only through that log-probability, so its gradient by the logits is the slope
d loss / d log p times (one-hot - softmax), and nothing but the slope differs between them.

Cross-entropy goes on rewarding a token that is already nearly certain. Over rounds of training on its own traces that
makes a model ever surer and its samples ever more alike: pass@1 rises and pass@k falls (arXiv 2502.07154). Both other
losses take the reward away where the model is sure.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tpt.config import TrainConfig
from tpt.errors import OwnCodeError
from tpt.system.own_code import call_own_code, is_own_code

TokenLoss = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""From log-probabilities of target tokens, float32 of any shape, and their weights in that shape (None: all are 1) to their
losses and d loss / d log p, same shape."""

_SMALLEST = 1e-12


def token_loss(config: TrainConfig) -> TokenLoss:
    """Return the loss that the config names."""
    if is_own_code(config.loss):
        return own_loss(config.loss)
    if config.loss == "focal":
        return focal(config.focal_gamma)
    if config.loss == "clipped_confidence":
        return clipped_confidence(config.confidence_limit)
    return cross_entropy


def own_loss(name: str) -> TokenLoss:
    """Return a loss of the user's own, a function of log-probabilities and weights; its slope is found by autograd."""

    def loss(log_p: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = log_p.detach().requires_grad_()
            losses = call_own_code(name, leaf, torch.ones_like(log_p) if weights is None else weights)
            if not isinstance(losses, Tensor) or losses.shape != log_p.shape or not losses.requires_grad:
                raise OwnCodeError(
                    f"train.loss = {name}: it must return a tensor of the losses of {tuple(log_p.shape)} tokens that "
                    f"follows from their log-probabilities, got {losses!r:.100}"
                )
            (slope,) = torch.autograd.grad(losses.sum(), leaf)
        return losses.detach(), slope

    return loss


def cross_entropy(log_p: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return -log p."""
    return _weighted(-log_p, torch.full_like(log_p, -1.0), weights)


def _weighted(losses: Tensor, slopes: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    return (losses, slopes) if weights is None else (losses * weights, slopes * weights)


def focal(gamma: float) -> TokenLoss:
    """Return the focal loss, -(1 - p)^gamma log p (Lin et al., arXiv 1708.02002).

    Its slope is -(1 - p)^gamma + gamma (1 - p)^(gamma - 1) p log p: sure tokens count less and less.
    """

    def loss(log_p: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        # expm1 keeps the digits of 1 - p near p = 1, and the bound keeps a negative power of it finite.
        rest = (-torch.expm1(log_p)).clamp(min=_SMALLEST)
        weight = rest**gamma
        slope = -weight + gamma * rest ** (gamma - 1) * torch.exp(log_p) * log_p
        return _weighted(-weight * log_p, slope, weights)

    return loss


def clipped_confidence(limit: float) -> TokenLoss:
    """Return -log min(p, limit): a token likelier than ``limit`` has a constant loss and teaches nothing.

    The confidence limit of arXiv 2502.07154 in its plainest form, a bound on each token instead of on the sequence.
    """

    def loss(log_p: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ceiling = math.log(limit)
        return _weighted(-log_p.clamp(max=ceiling), -(log_p < ceiling).to(log_p.dtype), weights)

    return loss
