"""Architectures of every kind: decoded by us, by transformers' generate, or refused; never other text than the model's."""

from __future__ import annotations

import pytest
import torch
from foreign_configs import DECODED, GENERATED, REFUSED, model_of
from tiny_engine import GREEDY, PROMPTS, finish, grouped, open_engine, requests_for, tiny_chat, tiny_model
from transformers import GenerationConfig

from tpt.config import EngineConfig
from tpt.engines.hf.forward_check import CHECKED, check_forward, decoded
from tpt.engines.hf.opening import engine_on, why_foreign
from tpt.errors import EngineError, ForeignModelError


@pytest.mark.parametrize("name", [*DECODED, *GENERATED])
def test_a_family_s_greedy_completions_are_those_of_generate(name: str) -> None:
    model = model_of((DECODED | GENERATED)[name])
    engine = engine_on(model, tiny_chat(), EngineConfig(slots=16), max_length=64)
    assert (engine.describe()["decoder"] == "generate") == (name in GENERATED)
    found = finish(engine, requests_for(PROMPTS, GREEDY))
    model.generation_config = GenerationConfig()
    settings = GenerationConfig(do_sample=False, max_new_tokens=GREEDY.max_tokens, eos_token_id=1, pad_token_id=0)
    for index, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)[0]
        assert found[str(index), 0].token_ids == tuple(whole[len(prompt) :].tolist())


@pytest.mark.parametrize("batch_invariant", [True, False])
@pytest.mark.parametrize("name", REFUSED)
def test_what_reads_ahead_is_refused_in_a_sentence(name: str, batch_invariant: bool) -> None:
    settings = EngineConfig(slots=16, batch_invariant=batch_invariant)
    with pytest.raises(
        EngineError, match=rf'^engine.name = "hf" cannot decode this model: \'{name}\' models'
    ) as caught:
        engine_on(model_of(REFUSED[name]), tiny_chat(), settings, max_length=64)
    assert "which read ahead" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*DECODED, *GENERATED])
def test_a_small_relative_tells_by_what_a_family_is_decoded(name: str) -> None:
    assert bool(why_foreign((DECODED | GENERATED)[name])) == (name in GENERATED)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_decoder_with_other_numbers_is_found_out(name: str) -> None:
    engine = open_engine(grouped(tiny_model(name)), slots=16, batch_invariant=False)
    other = tiny_model(name)
    with torch.no_grad():
        for weight in other.parameters():
            weight += 0.1 * torch.randn_like(weight)

    def decode(tokens: list[int]) -> torch.Tensor:
        return decoded(engine._decoder, tokens, rows=16)

    check_forward(engine.model, CHECKED, decode)
    with pytest.raises(ForeignModelError, match=rf"'{engine.model.config.model_type}' models get other logits"):
        check_forward(other, CHECKED, decode)
