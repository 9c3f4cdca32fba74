"""Linear layers on a CPU with their weights in oneDNN's own order.

Without it every product puts the weight into that order anew, or is left to a library that is slower on some processors: what a
step of few rows costs most. The numbers are the same, but for the order of their sums.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

_LEAST_WIDTH = 512
"""Of a layer's input and output: below, a call costs more than its product."""
_TOLERANCE = 0.01
"""Of a tried product, off from torch's own: in bfloat16 the sums' order alone is worth 0.004 of its largest number."""


def pack_weights(model: PreTrainedModel) -> int:
    """Pack the linear layers of a model on a CPU in place, where this torch can, and return how many.

    A packed model is for inference alone. An output projection that shares its weights with the embeddings has a copy of them.
    """
    if model.device.type != "cpu" or not _is_right(model.dtype):
        return 0
    names = [name for name, module in model.named_modules() if _is_packed(module)]
    for name in names:
        parent, _, own = name.rpartition(".")
        layer: Any = model.get_submodule(name)
        setattr(model.get_submodule(parent), own, PackedLinear(layer))
    return len(names)


class PackedLinear(nn.Module):
    """``nn.Linear`` for inference, with its weight in oneDNN's order."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._bias = linear.bias
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach().contiguous())

    def forward(self, rows: Tensor) -> Tensor:
        """Return the outputs ``[..., out_features]`` of ``[..., in_features]``."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
        return out


def _is_packed(module: nn.Module) -> bool:
    return type(module) is nn.Linear and min(module.in_features, module.out_features) >= _LEAST_WIDTH


@cache
def _is_right(dtype: torch.dtype) -> bool:
    """Return whether this torch packs weights, by trying a product: the operators are what its own compiler calls."""
    linear = nn.Linear(_LEAST_WIDTH, 2 * _LEAST_WIDTH, dtype=dtype).requires_grad_(False)
    rows = torch.linspace(-1.0, 1.0, 3 * _LEAST_WIDTH).view(3, 1, _LEAST_WIDTH).to(dtype)
    expected = linear(rows)
    try:
        found = PackedLinear(linear)(rows)
    except (AttributeError, RuntimeError):  # another build of torch, or a number format that it has no products in
        return False
    return found.shape == expected.shape and bool((found - expected).abs().max() <= _TOLERANCE * expected.abs().max())
