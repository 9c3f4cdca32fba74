"""Linear layers in int8 for sampling on a CPU: whole-number products take a fraction of the time of real ones.

Weights have one scale an output; what goes in is rounded row by row as it comes, so that a row never depends on its
neighbours (dynamic quantisation: Zafrir et al. 2019, section 3; one scale a row: Dettmers et al. 2022, section 2).
The products are oneDNN's, which torch brings along. Embeddings, norms and attention stay as they are.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tpt.errors import EngineError
from tpt.model.same_logits import logits_of, probe_ids

NOUGHT = 128
"""The whole number that stands for 0 in what goes into a product."""
_LEAST_WIDTH = 32
"""Smaller layers, such as routers, gain nothing."""
_WEIGHT_LEVELS = (127, 63)
"""Whole numbers on either side of nought. Processors without VNNI add two products in 16 bits, cut off at 32,767, so that
weights, which have fewer outliers than what goes in, are rounded more coarsely there."""
_CHUNK = 4096
_LARGEST_ERROR = 0.5
"""Of the logits' spread: usual models are off by a few hundredths."""


class Int8Weights(NamedTuple):
    """What a manifest says of a model that samples in int8."""

    share: float
    """Of the model's weights, those in int8."""
    levels: int
    """Whole numbers on either side of nought that the largest weight of an output is the last of."""
    logit_error: float
    """Mean difference of the logits from full precision, as a share of their spread, on a few tokens."""


@torch.inference_mode()
def use_int8(model: PreTrainedModel) -> Int8Weights:
    """Put a model's linear layers, the output projection too, into int8 in place.

    Raises:
        EngineError: it is not on a CPU, has no linear layers, numba is missing, or its logits do not survive it.
    """
    if model.device.type != "cpu":
        raise EngineError(
            f'weights = "int8" is for CPUs, and the model is on {model.device.type}: set weights = "full", or engine.device '
            '= "cpu"'
        )
    try:
        import numba  # noqa: F401
    except ImportError as error:
        raise EngineError(f'weights = "int8" needs numba ({error}): pip install "think-prune-train[cpu]"') from None
    ids = probe_ids(model)
    expected = logits_of(model, ids)
    names = [name for name, module in model.named_modules() if _is_replaced(module)]
    if not names:
        raise EngineError(
            f'weights = "int8", but this {model.config.model_type!r} model has no linear layers of torch: set weights = "full"'
        )
    levels, replaced, total = weight_levels(), 0, sum(weight.numel() for weight in model.parameters())
    for name in names:
        parent, _, own = name.rpartition(".")
        layer: Any = model.get_submodule(name)
        replaced += layer.weight.numel()
        setattr(model.get_submodule(parent), own, Int8Linear(layer, levels))
    off = float((logits_of(model, ids) - expected).abs().mean() / expected.std())
    if off > _LARGEST_ERROR:
        raise EngineError(
            f'weights = "int8" changes this {model.config.model_type!r} model: its logits are off by {off:.2f} of their '
            'spread on average. Set weights = "full"'
        )
    # A shared output projection is there twice now: as embeddings in full, and in int8.
    left = sum(weight.numel() for weight in model.parameters())
    return Int8Weights(round(replaced / max(total, replaced + left), 3), levels, round(off, 4))


class Int8Linear(nn.Module):
    """``nn.Linear`` for inference, with weights in int8."""

    def __init__(self, linear: nn.Linear, levels: int) -> None:
        """Round a layer's weights; ``levels``: whole numbers on either side of nought."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._weight, self._scales = _quantised_weight(linear.weight, levels)
        self._noughts = torch.zeros(self.out_features, dtype=torch.long)
        self._bias = linear.bias

    def forward(self, rows: Tensor) -> Tensor:
        """Return the outputs ``[..., out_features]`` of ``[..., in_features]``, in the type of what goes in."""
        from tpt.engines.hf.cpu_kernel.quantise import quantised_rows

        numbers, scales = quantised_rows(rows.reshape(-1, self.in_features).contiguous())
        out = _product(numbers, self._weight, self._scales, self._noughts, rows.dtype)
        out = out.mul_(scales) if self._bias is None else torch.addcmul(self._bias, out, scales)
        return out.view(*rows.shape[:-1], self.out_features)


@cache
def weight_levels() -> int:
    """Return how finely weights can be rounded here, by trying whether the processor's products are exact.

    Raises:
        EngineError: they are not with any number of levels, or torch has no such products here.
    """
    if not hasattr(torch.ops.onednn, "qlinear_pointwise"):
        raise EngineError(
            'weights = "int8" needs a torch with oneDNN, as built for x86 processors; set weights = "full"'
        )
    for levels in _WEIGHT_LEVELS:
        numbers = torch.full((16, 64), 255, dtype=torch.uint8)
        packed = torch.ops.onednn.qlinear_prepack(torch.full((64, 64), levels, dtype=torch.int8), None)
        noughts = torch.zeros(64, dtype=torch.long)
        found = _product(numbers, packed, torch.ones(64), noughts, torch.float32)
        if bool((found == (255 - NOUGHT) * levels * 64).all()):
            return levels
    raise EngineError('weights = "int8": products of this processor in int8 are not exact; set weights = "full"')


def _product(numbers: Tensor, weight: Tensor, scales: Tensor, noughts: Tensor, dtype: torch.dtype) -> Tensor:
    out: Tensor = torch.ops.onednn.qlinear_pointwise(
        numbers, 1.0, NOUGHT, weight, scales, noughts, None, 1.0, 0, dtype, "none", [], ""
    )
    return out


def _is_replaced(module: nn.Module) -> bool:
    return type(module) is nn.Linear and min(module.in_features, module.out_features) >= _LEAST_WIDTH


def _quantised_weight(weight: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Return a weight ``[out, in]`` packed for oneDNN, and the scales of its outputs."""
    numbers = torch.empty(weight.shape, dtype=torch.int8)
    scales = torch.empty(len(weight))
    for start in range(0, len(weight), _CHUNK):
        part = weight[start : start + _CHUNK].float()
        scale = part.abs().amax(1).clamp_(min=torch.finfo(torch.float32).tiny).div_(levels)
        scales[start : start + _CHUNK] = scale
        # Not in place: in float32 the part is the weight itself, which the embeddings may share.
        numbers[start : start + _CHUNK] = part.div(scale[:, None]).round_()
    packed: Tensor = torch.ops.onednn.qlinear_prepack(numbers, None)
    return packed, scales
