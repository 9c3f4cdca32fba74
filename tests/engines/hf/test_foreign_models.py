"""Architectures that the decoder does not know: one sentence when it opens, never other text than the model's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_engine import VOCABULARY, grouped, open_engine, tiny_model
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BloomConfig,
    FalconConfig,
    GPT2Config,
    GPTNeoXConfig,
    MambaConfig,
    MptConfig,
    OPTConfig,
    PreTrainedConfig,
    RobertaConfig,
    XLNetConfig,
)

from tpt.engines.hf.forward_check import check_forward
from tpt.errors import EngineError

SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
FOREIGN = {
    "bert": BertConfig(**SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48),
    "roberta": RobertaConfig(**SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48),
    "bloom": BloomConfig(**SMALL, hidden_size=32, n_layer=2, n_head=4),
    "mpt": MptConfig(vocab_size=VOCABULARY, d_model=32, n_layers=2, n_heads=4, max_seq_len=128),
    "mamba": MambaConfig(**SMALL, hidden_size=32, num_hidden_layers=2),
    "xlnet": XLNetConfig(vocab_size=VOCABULARY, d_model=32, n_layer=2, n_head=4, d_inner=48),
    "falcon-alibi": FalconConfig(**SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True),
    "opt": OPTConfig(
        **SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=48, word_embed_proj_dim=32
    ),
    "gpt2": GPT2Config(**SMALL, n_embd=32, n_layer=2, n_head=4, n_positions=128),
    "gpt-neox": GPTNeoXConfig(
        **SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    ),
}


def model_of(config: PreTrainedConfig) -> Any:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config.initializer_range = 0.3
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("batch_invariant", [True, False])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_family_is_decoded_rightly_or_refused_in_a_sentence(name: str, batch_invariant: bool) -> None:
    try:
        engine = open_engine(model_of(FOREIGN[name]), slots=16, batch_invariant=batch_invariant)
    except EngineError as error:
        assert str(error).startswith(
            ('engine.name = "hf" cannot decode', 'engine.name = "hf" decodes this', 'engine.name = "hf" needs')
        )
        assert name.split("-")[0] in str(error) and "\n" not in str(error)
    else:
        assert name not in ("bert", "roberta", "bloom", "mamba", "xlnet")
        assert engine.slots >= 16


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_decoder_with_other_numbers_is_found_out(name: str) -> None:
    engine = open_engine(grouped(tiny_model(name)), slots=16, batch_invariant=False)
    other = tiny_model(name)
    with torch.no_grad():
        for weight in other.parameters():
            weight += 0.1 * torch.randn_like(weight)
    check_forward(engine.model, engine._decoder, rows=16, max_length=64)
    with pytest.raises(EngineError, match=rf"decodes this '{engine.model.config.model_type}' model wrongly"):
        check_forward(other, engine._decoder, rows=16, max_length=64)
