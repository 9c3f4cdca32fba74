"""What a model's config says of its shape, under whichever names its family has for it."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
_INNER = ("intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size")
_USUAL_INNER = 4
"""Times the width: what families mean that give no inner width."""


def width_of(config: PreTrainedConfig) -> int:
    """Return how many numbers stand for a token between layers; 0 where the config does not say."""
    return _first(config.get_text_config(), _WIDTHS)


def inner_width_of(config: PreTrainedConfig) -> int:
    """Return the width within a layer's MLP."""
    return _first(config.get_text_config(), _INNER) or _USUAL_INNER * width_of(config)


def heads_of(config: PreTrainedConfig) -> int:
    """Return how many heads attention has; 1 where the config does not say, as where there is no attention."""
    return int(getattr(config.get_text_config(), "num_attention_heads", None) or 1)


def head_size_of(config: PreTrainedConfig) -> int:
    """Return the width of an attention head."""
    return int(getattr(config.get_text_config(), "head_dim", None) or width_of(config) // heads_of(config))


def _first(config: Any, names: tuple[str, ...]) -> int:
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and value), 0)
