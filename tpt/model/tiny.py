"""A model's architecture made small: the same classes and kinds of layers, a few of them, and narrow.

What a model's family does that a stage cannot do, its small relative does too, within seconds.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from tpt.model.shape import width_of

_MOST_LAYERS = 8
_LEAST_LAYERS = 2
_WIDTH, _INNER, _EXPERTS = 64, 128, 4
_SPREAD = 0.3
"""Of random weights: with the usual ones layers this narrow would hardly change a token."""
_MOST_PARAMETERS = 200_000_000
"""Of a model that could be cut in depth alone."""
_INNER_NAMES = (
    "intermediate_size", "ffn_dim", "n_inner", "d_ff", "ffn_hidden_size", "moe_intermediate_size",
    "shared_expert_intermediate_size", "intermediate_size_mlp",
)  # fmt: skip
_EXPERT_NAMES = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN_NAMES = ("num_experts_per_tok", "moe_topk", "num_selected_experts")
_WINDOW_NAMES = ("sliding_window", "window_size", "attention_window_size", "attention_chunk_size")
_WINDOW, _WORDS = 16, 512
_GROUP_NAMES = ("n_group", "topk_group")
_REFUSALS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError),
    StrictDataclassError,
)
"""What a family raises that cannot be made small, as about 50 of transformers' 200 do; no lack of memory or disk is one."""


def tiny_model(config: PreTrainedConfig, *, small_text: bool = False) -> PreTrainedModel | None:
    """Return a small random model of an architecture, in float32; None where it cannot be made small.

    ``small_text``: its vocabulary and its windows of attention are small too.
    """
    for narrow in (True, False):
        try:
            small = _small(config, narrow=narrow)
            if small_text:
                _shorten(small.get_text_config())
            if not narrow and _parameters(small) > _MOST_PARAMETERS:
                return None
            model = random_model(small)
            if _gives_numbers(model):
                return model
        except _REFUSALS:
            continue
    return None


def random_model(config: PreTrainedConfig) -> PreTrainedModel:
    """Return a model of a config with random weights in float32, the same ones each time; the process's random numbers stay."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model: PreTrainedModel = built.eval()
    return model


def with_layers(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    """Return a copy of a config with the first layers alone, in whatever is told layer by layer too."""
    small = copy.deepcopy(config)
    text: Any = small.get_text_config()
    before = int(text.num_hidden_layers)
    per_layer = [name for name, value in vars(text).items() if isinstance(value, list) and len(value) == before]
    cut = {name: getattr(text, name)[:layers] for name in per_layer}
    text.num_hidden_layers = layers
    for name, value in cut.items():
        setattr(text, name, value)
    return small


def _small(config: PreTrainedConfig, *, narrow: bool) -> PreTrainedConfig:
    small = with_layers(config, _layers_of_every_kind(config.get_text_config()))
    for part in (small, small.get_text_config()):
        if hasattr(part, "quantization_config"):
            del part.quantization_config
    for name in ("vision_config", "audio_config"):
        tower = getattr(small, name, None)
        if isinstance(tower, PreTrainedConfig) and hasattr(tower, "num_hidden_layers"):
            tower.num_hidden_layers = 1
    if narrow:
        _narrow(small.get_text_config())
    return small


def _layers_of_every_kind(text: Any) -> int:
    """Return how many of the first layers hold every kind of layer that there is."""
    layers, kinds = int(text.num_hidden_layers), getattr(text, "layer_types", None) or []
    needed = max((kinds.index(kind) + 1 for kind in set(kinds)), default=0)
    needed = max(needed, int(getattr(text, "first_k_dense_replace", 0) or 0) + 1, _LEAST_LAYERS)
    return min(layers, needed, _MOST_LAYERS)


def _narrow(text: Any) -> None:
    """Make every layer narrow, in place; heads keep how many of them share a key."""
    if hasattr(text, "initializer_range"):
        text.initializer_range = _SPREAD
    heads = int(getattr(text, "num_attention_heads", None) or 1)
    kv_heads = int(getattr(text, "num_key_value_heads", None) or heads)
    few = min(kv_heads, 2)
    width = width_of(text)
    has_size = bool(getattr(text, "head_dim", None))
    asked = few * min(heads // kv_heads, 2)
    for name, count in (("num_attention_heads", asked), ("num_key_value_heads", few)):
        if hasattr(text, name):
            setattr(text, name, count)
    narrow = _WIDTH if has_size or heads == 1 else asked * min(width // heads, _WIDTH // 2)
    for name in ("hidden_size", "d_model", "n_embd", "word_embed_proj_dim", "rnn_hidden_size"):
        if getattr(text, name, None) == width:
            setattr(text, name, narrow)
    for name in _INNER_NAMES:
        value = getattr(text, name, None)
        if isinstance(value, int):
            setattr(text, name, min(value, _INNER))
        elif isinstance(value, list):
            setattr(text, name, [min(each, _INNER) for each in value])
    for names, most in ((_EXPERT_NAMES, _EXPERTS), (_CHOSEN_NAMES, 2), (_GROUP_NAMES, 1)):
        for name in names:
            if isinstance(getattr(text, name, None), int):
                setattr(text, name, min(getattr(text, name), most))


def _shorten(text: Any) -> None:
    """Make a model's vocabulary and its windows of attention small, in place."""
    text.vocab_size = min(int(text.vocab_size), _WORDS)
    if (getattr(text, "pad_token_id", None) or 0) >= text.vocab_size:
        text.pad_token_id = None
    for name in _WINDOW_NAMES:
        value = getattr(text, name, None)
        if isinstance(value, int) and value:
            setattr(text, name, min(value, _WINDOW))


def layer_names(config: PreTrainedConfig) -> list[str]:
    """Return the names of a model's linear layers and embeddings; no weights are made."""
    return [name for name, module in _unmade(config).named_modules() if hasattr(module, "weight")]


def _parameters(config: PreTrainedConfig) -> int:
    return sum(weight.numel() for weight in _unmade(config).parameters())


def _unmade(config: PreTrainedConfig) -> torch.nn.Module:
    with torch.device("meta"):
        model: torch.nn.Module = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return model


@torch.no_grad()
def _gives_numbers(model: PreTrainedModel) -> bool:
    ids = torch.arange(4, 8)[None] % int(model.config.get_text_config().vocab_size)
    return bool(model(input_ids=ids).logits.isfinite().all())
