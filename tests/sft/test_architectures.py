"""Small random models of the families that people train: trained, saved, read back and sampled, and they stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from chat_families import tokenizer_of
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, LlamaConfig, PreTrainedConfig, Qwen2Config

from tpt.config import EngineConfig, PromptConfig, TrainConfig
from tpt.engines import Request, Sampling, complete
from tpt.engines.hf.opening import open_hf
from tpt.model.chat import Chat
from tpt.records import Example, Problem
from tpt.sft import encode, fit, save_checkpoint

PROBLEMS = {f"p/{n}": Problem(f"p/{n}", f"What is {n} + 2 - {n}?", "2") for n in range(4)}
SMALL = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12}
CONFIGS: dict[str, type[PreTrainedConfig]] = {"gemma2": Gemma2Config, "llama3": LlamaConfig, "qwen2_5": Qwen2Config}
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_tokens=24)


def build(name: str, tokenizer: Any) -> Any:
    torch.manual_seed(0)
    config = CONFIGS[name](
        vocab_size=len(tokenizer),
        **SMALL,
        **{key: value for key, value in HEADS.items() if name != "qwen2_5" or key != "head_dim"},
        tie_word_embeddings=name != "llama3",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_learns_an_answer_and_stops_after_it(name: str, tmp_path: Path) -> None:
    tokenizer = tokenizer_of(name)
    model, chat = build(name, tokenizer), Chat(tokenizer, PromptConfig())
    examples = [
        Example(p.id, 0, [*chat.messages(p), {"role": "assistant", "content": f"#### {p.answer}"}])
        for p in PROBLEMS.values()
    ]
    rows = encode(examples, PROBLEMS, chat, max_length=512).rows
    config = TrainConfig(learning_rate=1e-2, batch_size=4, micro_batch_size=2, epochs=45, schedule="constant")
    log = fit(model, tokenizer, rows, config=config, seed=0)
    assert log.packed
    assert log.losses[-1] < 0.1 < 3 < log.losses[0]
    out = tmp_path / "checkpoint"
    save_checkpoint(model, chat, out)

    reloaded: Any = AutoModelForCausalLM.from_pretrained(out)
    for weight, saved in reloaded.named_parameters():
        assert torch.equal(saved, model.get_parameter(weight)), weight
    expected = [f"#### {problem.answer}" for problem in PROBLEMS.values()]
    plain: Any = AutoTokenizer.from_pretrained(out)
    for problem, answer in zip(PROBLEMS.values(), expected, strict=True):
        prompt = torch.tensor([chat.prompt_ids(problem)])
        sampled = reloaded.generate(prompt, max_new_tokens=24, do_sample=False)[0, prompt.shape[1] :]
        assert sampled[-1].item() in chat.stop_ids
        assert plain.decode(sampled, skip_special_tokens=True) == answer

    engine = open_hf(str(out), chat, EngineConfig(slots=4, device="cpu"), max_length=256, cache=None)
    requests = [Request((p.id, 0), chat.prompt_ids(p), seed=0, sampling=GREEDY) for p in PROBLEMS.values()]
    found = {each.id[0]: (each.text, each.finish_reason) for each in complete(engine, requests)}
    engine.close()
    assert [found[p.id] for p in PROBLEMS.values()] == [(answer, "stop") for answer in expected]
