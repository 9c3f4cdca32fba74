"""Arithmetic and memory traffic of one token, from a model's shape.

A product with a weight takes 2 operations a token forward and 4 backward; attention to ``context`` tokens takes
4 x layers x heads x head size x context forward, and twice that backward (Kaplan et al., arXiv 2001.08361, table 1;
PaLM, arXiv 2204.02311, appendix B). The embedding is looked up, not multiplied; the output projection is multiplied
even where the two are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tpt.config import TrainConfig

if TYPE_CHECKING:
    from tpt.sft.memory import Shape


@dataclass(frozen=True, slots=True)
class Cost:
    """What a token of a model costs."""

    parameters: int
    multiplied: int
    """Weights that every token is multiplied with."""
    trained_weights: int
    layers: int
    attention: int
    """Heads x head size, over all layers."""
    kv_numbers: int
    """Keys and values of one token, over all layers."""
    width: int
    """Bytes of a weight, and of a key, while sampling."""
    train_factor: float
    """Operations of training over those of a forward pass: 3 for all weights."""

    @property
    def weight_bytes(self) -> int:
        """Weights that a step of decoding reads."""
        return self.multiplied * self.width

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one token."""
        return self.kv_numbers * self.width

    def forward(self, context: float) -> float:
        """Return the operations of one token that attends to ``context`` tokens."""
        return 2 * self.multiplied + 4 * self.attention * context

    def training(self, context: float) -> float:
        """Return the operations of one token, forward and backward."""
        return self.train_factor * self.forward(context)


def cost_of(shape: Shape, config: TrainConfig, *, width: int) -> Cost:
    """Return what a token costs; ``width``: bytes of a weight while sampling."""
    adapters = sum(config.lora_rank * (inputs + outputs) for inputs, outputs in shape.projections)
    is_full = config.method == "full"
    # Weights that stay need no gradient of their own: 2 backward instead of 4.
    factor = 3.0 if is_full else 2.0
    return Cost(
        parameters=shape.parameters,
        multiplied=shape.projected + shape.head_parameters,
        trained_weights=shape.parameters if is_full else adapters,
        layers=shape.layers,
        attention=shape.layers * shape.heads * shape.head_size,
        kv_numbers=2 * shape.layers * shape.kv_heads * shape.head_size,
        width=width,
        train_factor=factor + (1.0 if config.gradient_checkpointing else 0.0),
    )
