"""Folders with tiny random models, as from_pretrained finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers import models as token_models
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast

from tpt.model.embedded import FOLDER

TOKENS: dict[str, Any] = {"vocab_size": 160, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
"""What a config says to go with the embedded model's tokenizer."""


def save_llama(folder: Path) -> Path:
    """Save a two-layer Llama of eight words, whose tokenizer knows but a few of them."""
    shape = {"vocab_size": 8, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    save_random(LlamaConfig(**shape, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=16), folder)
    words = token_models.WordLevel({"<pad>": 0, "</s>": 1, "a": 2}, unk_token="<pad>")
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="</s>").save_pretrained(folder)
    return folder


def save_with_tokenizer(config: PreTrainedConfig, folder: Path, *, template: str | None = None) -> Path:
    """Save a random model with the embedded model's tokenizer, and another chat template if there is one."""
    save_random(config, folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(FOLDER)
    tokenizer.chat_template = tokenizer.chat_template if template is None else template
    tokenizer.save_pretrained(folder)
    return folder


def save_random(config: PreTrainedConfig, folder: Path) -> None:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
