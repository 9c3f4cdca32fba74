"""transformers' generate behind the engine protocol: the same records, seeds, stops and refusals as of every engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from foreign_configs import GENERATED, model_of
from tiny_engine import GREEDY, PROMPTS, RANDOM, STOP, VOCABULARY, finish, requests_for, tiny_chat, tiny_model

from tpt.config import EngineConfig
from tpt.engines import Completion, Request
from tpt.engines.hf.generate_engine import GenerateEngine
from tpt.errors import EngineError


def open_generate(model: Any, **settings: Any) -> GenerateEngine:
    return GenerateEngine(
        model, tiny_chat(), EngineConfig(**{"slots": 16, **settings}), max_length=64, reason="as a test asks"
    )


def alone(engine: GenerateEngine, requests: list[Request]) -> dict[tuple[str, int], Completion]:
    found = {}
    for request in requests:
        engine.add(request)
        (found[request.id],) = engine.step()
    return found


@pytest.mark.parametrize("name", ["bloom", "lfm2", "mamba", "rwkv"])
def test_a_completion_depends_on_its_own_seed_not_on_what_is_beside_it(name: str) -> None:
    engine = open_generate(model_of(GENERATED[name]))
    requests = requests_for(PROMPTS, RANDOM, samples=3)
    together = finish(engine, requests)
    assert alone(engine, requests[::-1]) == together
    assert len({each.token_ids for each in together.values()}) > len(PROMPTS)


def test_it_draws_what_our_own_decoder_draws() -> None:
    from tiny_engine import grouped, open_engine

    requests = requests_for(PROMPTS, replace(RANDOM, top_k=7, top_p=0.9), samples=2)
    ours = finish(open_engine(grouped(tiny_model("llama")), slots=16, batch_invariant=False), requests)
    assert finish(open_generate(tiny_model("llama")), requests) == ours


def test_one_by_one_is_batch_invariant() -> None:
    engine = open_generate(model_of(GENERATED["mamba"]), batch_invariant=True)
    assert (engine.guarantee, engine.slots) == ("batch-invariant", 1)
    requests = requests_for(PROMPTS, RANDOM)
    assert finish(engine, requests) == alone(engine, requests[::-1])


def test_rows_that_generate_does_not_keep_apart_are_not_put_together() -> None:
    assert open_generate(model_of(GENERATED["rwkv"])).describe()["slots"] == 1
    assert open_generate(model_of(GENERATED["mamba"])).describe()["slots"] == 16


def test_lengths_stop_tokens_and_stop_strings_are_each_request_s_own() -> None:
    model = model_of(GENERATED["bloom"])
    engine = open_generate(model)
    long = finish(engine, requests_for([(2, 5, 9)], replace(GREEDY, max_tokens=40)))["0", 0]
    assert long.finish_reason == "length" and len(long.token_ids) == 40
    word = f"w{long.token_ids[20]}"
    first = next(index for index, token in enumerate(long.token_ids) if f"w{token}".startswith(word))
    requests = [
        Request(("short", 0), (2, 5, 9), 0, replace(GREEDY, max_tokens=3)),
        Request(("word", 0), (2, 5, 9), 0, replace(GREEDY, max_tokens=40, stop_strings=(word,))),
        Request(("long", 0), (2, 5, 9), 0, replace(GREEDY, max_tokens=40)),
    ]
    found = finish(engine, requests)
    assert found["short", 0].token_ids == long.token_ids[:3] and found["short", 0].finish_reason == "length"
    assert found["word", 0].token_ids == long.token_ids[: first + 1] and found["word", 0].finish_reason == "stop"
    assert word not in found["word", 0].text and long.text.startswith(found["word", 0].text)
    assert found["long", 0].token_ids == long.token_ids
    with torch.no_grad():  # from now on every token is the one that ends a completion
        model.get_output_embeddings().weight.zero_()
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
        model.get_output_embeddings().weight[STOP] = 1.0
    ended = finish(engine, requests_for([(2, 5, 9)], GREEDY))["0", 0]
    assert (ended.token_ids, ended.text, ended.finish_reason) == ((STOP,), "", "stop")


def test_what_a_model_declares_of_sampling_is_not_heeded() -> None:
    model = tiny_model("llama")
    expected = finish(open_generate(model), requests_for(PROMPTS, RANDOM))
    other = tiny_model("llama")
    other.generation_config.update(
        repetition_penalty=9.0, temperature=0.1, top_k=1, no_repeat_ngram_size=1, min_new_tokens=60, num_beams=3
    )
    assert finish(open_generate(other), requests_for(PROMPTS, RANDOM)) == expected


def test_requests_that_cannot_be_served_are_refused_and_others_dropped() -> None:
    engine = open_generate(tiny_model("llama"))
    (request,) = requests_for([(2, 5)], GREEDY)
    engine.add(request)
    with pytest.raises(EngineError, match="in flight already"):
        engine.add(request)
    for prompt, said in (((), "empty prompt"), ((VOCABULARY,), "tokenizer is not"), ((2,) * 60, "engine.max_length")):
        with pytest.raises(EngineError, match=said):
            engine.add(Request(("other", 0), prompt, 0, GREEDY))
    assert engine.cancel({request.id}) == 0
    assert engine.step() == []
    engine.close()


def test_damaged_weights_are_said() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(torch.nan)
    engine = open_generate(model)
    engine.add(requests_for([(2, 5)], RANDOM)[0])
    with pytest.raises(EngineError, match="the logits for token 1 are not finite"):
        engine.step()


def test_half_of_the_rows_are_given_up_when_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_generate(tiny_model("llama"))
    requests = requests_for([(2, 5)], RANDOM, samples=8)
    expected = finish(engine, requests)
    generate, most = type(engine.model).generate, 3

    def limited(self: Any, prompts: torch.Tensor, **more: Any) -> Any:
        if len(prompts) > most:
            raise MemoryError
        return generate(self, prompts, **more)

    monkeypatch.setattr(type(engine.model), "generate", limited)
    assert finish(engine, requests) == expected
    assert engine.describe()["out_of_memory_halvings"] == 3
    most = 0
    engine.add(requests[0])
    with pytest.raises(EngineError, match="single completion in flight"):
        for _ in range(9):
            engine.step()
