"""Tiny configs of families whose layers are not those of the usual decoder."""

from __future__ import annotations

from typing import Any

import torch
from tiny_engine import VOCABULARY
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    DeepseekV2Config,
    DeepseekV3Config,
    FalconConfig,
    FalconMambaConfig,
    GPT2Config,
    GPTNeoConfig,
    GPTNeoXConfig,
    GptOssConfig,
    JambaConfig,
    Lfm2Config,
    Llama4TextConfig,
    Mamba2Config,
    MambaConfig,
    MptConfig,
    OpenAIGPTConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
    RobertaConfig,
    RwkvConfig,
    XLNetConfig,
)

_TOKENS: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
_SMALL: dict[str, Any] = {**_TOKENS, "hidden_size": 32, "num_hidden_layers": 2}
_PLAIN: dict[str, Any] = {**_SMALL, "num_attention_heads": 4, "intermediate_size": 48}
_GROUPED: dict[str, Any] = {**_PLAIN, "num_key_value_heads": 2, "head_dim": 8}
_GPT: dict[str, Any] = {**_TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 4}
_EXPERTS: dict[str, Any] = {"moe_intermediate_size": 16, "num_experts_per_tok": 2}
_LATENT: dict[str, Any] = {
    **_PLAIN,
    **_EXPERTS,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
}
_DELTA: dict[str, Any] = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}

DECODED: dict[str, PreTrainedConfig] = {
    "deepseek-v2": DeepseekV2Config(**_LATENT, n_group=None, topk_group=None, topk_method="greedy"),
    "deepseek-v3": DeepseekV3Config(**_LATENT, n_group=2, topk_group=1),
    "gpt-oss": GptOssConfig(**_GROUPED, num_local_experts=4, num_experts_per_tok=2, sliding_window=8),
    "gpt2": GPT2Config(**_GPT, n_positions=128),
    "gpt-neox": GPTNeoXConfig(**_PLAIN),
    "mpt": MptConfig(vocab_size=VOCABULARY, d_model=32, n_layers=2, n_heads=4, max_seq_len=128),
    "opt": OPTConfig(**_SMALL, num_attention_heads=4, ffn_dim=48, word_embed_proj_dim=32),
}
"""By our own decoder."""
GENERATED: dict[str, PreTrainedConfig] = {
    "bloom": BloomConfig(**_TOKENS, hidden_size=32, n_layer=2, n_head=4),
    "falcon-alibi": FalconConfig(**_SMALL, num_attention_heads=4, alibi=True),
    "falcon-mamba": FalconMambaConfig(**_SMALL, state_size=8),
    "gpt": OpenAIGPTConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4),
    "gpt-neo": GPTNeoConfig(
        **_TOKENS, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=8
    ),
    "jamba": JambaConfig(
        **_PLAIN, num_key_value_heads=2, attn_layer_period=2, attn_layer_offset=1, num_experts=2, mamba_d_state=8
    ),
    "lfm2": Lfm2Config(**_PLAIN, num_key_value_heads=2, layer_types=["conv", "full_attention"]),
    "llama4": Llama4TextConfig(
        **{**_GROUPED, "num_hidden_layers": 4}, intermediate_size_mlp=48, num_local_experts=2, attention_chunk_size=16
    ),
    "mamba": MambaConfig(**_SMALL, state_size=8),
    "mamba2": Mamba2Config(**_SMALL, state_size=8, num_heads=8, head_dim=8, n_groups=1, chunk_size=16),
    "qwen3-next": Qwen3NextConfig(
        **{**_GROUPED, "num_hidden_layers": 4}, **_EXPERTS, **_DELTA, shared_expert_intermediate_size=16, num_experts=4
    ),
    "recurrent-gemma": RecurrentGemmaConfig(
        **{**_GROUPED, "num_hidden_layers": 3, "num_key_value_heads": 1}, lru_width=32, attention_window_size=16
    ),
    "rwkv": RwkvConfig(**_SMALL, attention_hidden_size=32, intermediate_size=48, context_length=128),
}
"""By transformers' ``generate``."""
REFUSED: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**_PLAIN),
    "roberta": RobertaConfig(**_PLAIN),
    "xlnet": XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=2, n_head=4, d_inner=48),
}
"""They read ahead."""


def model_of(config: PreTrainedConfig) -> Any:
    """Return a random model of a config, with weights large enough that a token changes something."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config.initializer_range = 0.3
    return AutoModelForCausalLM.from_config(config).eval()
