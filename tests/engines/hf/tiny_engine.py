"""Random models of a few thousand parameters, of every family, and engines on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)
from transformers.models.auto import AutoModelForCausalLM

from tpt.config import EngineConfig, PromptConfig
from tpt.engines import Completion, Request, Sampling
from tpt.engines.hf.engine import HFEngine
from tpt.engines.hf.grouped_attention import use_grouped_attention
from tpt.model.chat import Chat

VOCABULARY = 48
STOP = 1
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": STOP,
    "initializer_range": 0.3,
}


def _without_head_dim(shape: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shape.items() if key != "head_dim"}


WINDOWED: dict[str, Any] = {**SHAPE, "num_key_value_heads": 2, "num_hidden_layers": 3, "sliding_window": 6}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, num_hidden_layers=2, num_key_value_heads=4),
    "llama-gqa": LlamaConfig(**SHAPE, num_hidden_layers=2, num_key_value_heads=2, tie_word_embeddings=True),
    "mistral": MistralConfig(**WINDOWED),
    "qwen2": Qwen2Config(**WINDOWED, use_sliding_window=True, max_window_layers=1),
    "qwen3": Qwen3Config(**WINDOWED, use_sliding_window=True, max_window_layers=1),
    "gemma2": Gemma2Config(
        **WINDOWED, query_pre_attn_scalar=8, attn_logit_softcapping=2.0, final_logit_softcapping=5.0
    ),
    "gemma3": Gemma3TextConfig(**WINDOWED, sliding_window_pattern=2),
    "phi": PhiConfig(**_without_head_dim(SHAPE), num_hidden_layers=2, num_key_value_heads=2, partial_rotary_factor=0.5),
    "phi3": Phi3Config(**WINDOWED),
    "smollm3": SmolLM3Config(**SHAPE, num_hidden_layers=4, num_key_value_heads=2, no_rope_layer_interval=2),
}
PROMPTS = [(2, 5, 9), (2, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40), (7,), (2, 11, 12, 13, 14, 15), (2, 5, 9, 20)]
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_tokens=16)
RANDOM = replace(GREEDY, temperature=1.0)


def tiny_model(name: str, **changes: Any) -> PreTrainedModel:
    """Return a random model of a few thousand parameters."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = type(CONFIGS[name])(**{**CONFIGS[name].to_dict(), **changes})
    return AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-any-return]


def grouped(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with the attention that open_hf gives it on a CPU."""
    use_grouped_attention(model)
    return model


def tiny_chat() -> Chat:
    """Return a chat over a tokenizer with one word for each token of the tiny models."""
    words = {"<pad>": 0, "</s>": STOP, **{f"w{index}": index for index in range(2, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return Chat(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>"), PromptConfig()
    )


def open_engine(model: PreTrainedModel, *, slots: int = 4, batch_invariant: bool = True, store_mb: int = 1) -> HFEngine:
    """Return an engine of 64 positions."""
    return HFEngine(
        model,
        tiny_chat(),
        EngineConfig(slots=slots, batch_invariant=batch_invariant),
        max_length=64,
        prompt_store_mb=store_mb,
    )


def finish(engine: HFEngine, requests: list[Request]) -> dict[tuple[str, int], Completion]:
    """Add requests and step until all are back."""
    for request in requests:
        engine.add(request)
    done: dict[tuple[str, int], Completion] = {}
    for _ in range(1000):
        for completion in engine.step():
            assert completion.id not in done
            done[completion.id] = completion
        if len(done) == len(requests):
            assert engine.step() == []
            return done
    raise AssertionError(f"only {len(done)} of {len(requests)} requests finished")


def requests_for(prompts: list[tuple[int, ...]], sampling: Sampling, *, samples: int = 1) -> list[Request]:
    """Return requests with a seed of their own each."""
    return [
        Request((str(index), sample), prompt, 1000 * index + sample, sampling)
        for index, prompt in enumerate(prompts)
        for sample in range(samples)
    ]
