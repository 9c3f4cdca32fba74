"""A two-layer model, its tokenizer and a few examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from paper_models import GEMMA_2_2B, GEMMA_2_9B, LLAMA_70B
from transformers import LlamaConfig, LlamaForCausalLM

from tools.embedded_model.tokenizer import build_tokenizer
from tpt.config import PromptConfig
from tpt.model.chat import Chat
from tpt.problems.procedural.word_problems import word_problems
from tpt.records import Example, Problem
from tpt.sft import Row, encode
from tpt.sft.memory import Shape, shape_of

BuildModel = Callable[[], LlamaForCausalLM]


@pytest.fixture(autouse=True)
def single_threaded(one_thread: None) -> None:
    """Every test here compares bits or losses."""


@pytest.fixture
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture
def chat(tokenizer: Any) -> Chat:
    return Chat(tokenizer, PromptConfig())


@pytest.fixture(scope="session")
def problems() -> dict[str, Problem]:
    return {problem.id: problem for problem in word_problems(split="train", size=24)}


@pytest.fixture
def examples(problems: dict[str, Problem], chat: Chat) -> list[Example]:
    return [
        Example(p.id, 0, [*chat.messages(p), {"role": "assistant", "content": p.solution or ""}])
        for p in problems.values()
    ]


@pytest.fixture
def rows(examples: list[Example], problems: dict[str, Problem], chat: Chat) -> list[Row]:
    return encode(examples, problems, chat, max_length=512).rows


@pytest.fixture
def build_model(tokenizer: Any) -> BuildModel:
    """Builds the same small model each time."""

    def build() -> LlamaForCausalLM:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        return LlamaForCausalLM(config)

    return build


@pytest.fixture(scope="session")
def shapes() -> dict[str, Shape]:
    """What decides how much memory three published models take."""
    return {"2b": shape_of(GEMMA_2_2B), "9b": shape_of(GEMMA_2_9B), "70b": shape_of(LLAMA_70B)}
