"""What a model's folder declares besides its tokenizer: stop tokens, a chat template in a file of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from tests.model.test_chat import CHATML, PROBLEM, byte_tokenizer
from tpt.config import PromptConfig, parse_config
from tpt.errors import ConfigError, ModelError
from tpt.model.chat import FIXED_TIME, Chat, open_chat
from tpt.model.load import load_stop_ids, load_tokenizer

THINKING = CHATML + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"


def model_folder(path: Path, template: str | None, **config: Any) -> Path:
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(template)
    shape = {"vocab_size": len(tokenizer), "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=2, **config)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_every_declared_end_stops_a_completion(tmp_path: Path) -> None:
    """As with GLM-4: the template has no end of turn, and a list of ends stands in the files."""
    folder = model_folder(tmp_path, None, eos_token_id=[258, 259])
    GenerationConfig(eos_token_id=[258, 260], do_sample=True, temperature=0.3).save_pretrained(folder)
    assert load_stop_ids(str(folder)) == {258, 259, 260}
    chat = open_chat(PromptConfig(), str(folder))
    assert chat.stop_ids == {258, 259, 260}
    hello = chat.tokenizer("hello", add_special_tokens=False).input_ids
    assert {chat.decode([*hello, end, *hello]) for end in (258, 259, 260)} == {"hello"}
    assert chat.fingerprint() != Chat(chat.tokenizer, PromptConfig()).fingerprint()


def test_no_file_of_generation_is_no_fault(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, CHATML, eos_token_id=258)
    (folder / "generation_config.json").unlink()
    assert load_stop_ids(str(folder)) == {258}


@pytest.mark.parametrize("where", ["config.json", "generation_config.json"])
@pytest.mark.parametrize("token", [5000, -1])
def test_an_end_that_is_no_token_is_refused_by_name(tmp_path: Path, where: str, token: int) -> None:
    folder = model_folder(tmp_path, CHATML)
    table = json.loads((folder / where).read_text()) | {"eos_token_id": [258, token]}
    (folder / where).write_text(json.dumps(table))
    with pytest.raises(ModelError, match=rf"{where} declares eos_token_id {token}, but the model has 261 tokens"):
        open_chat(PromptConfig(), str(folder))


@pytest.mark.parametrize("value", ["</s>", [[258]], [258, None], {"id": 258}, float("inf")])
def test_an_end_that_is_no_number_is_refused_by_name(tmp_path: Path, value: Any) -> None:
    folder = model_folder(tmp_path, CHATML)
    table = json.loads((folder / "generation_config.json").read_text()) | {"eos_token_id": value}
    (folder / "generation_config.json").write_text(json.dumps(table))
    with pytest.raises(
        ModelError, match=r"generation_config.json declares eos_token_id .*a token id or a list of them"
    ):
        open_chat(PromptConfig(), str(folder))


def test_a_template_in_a_file_of_its_own_is_read(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, None)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": CHATML}))
    chat = Chat(load_tokenizer(str(folder)), PromptConfig())
    assert chat.template_name == "tokenizer"
    assert chat.prompt_ids(PROBLEM) == Chat(byte_tokenizer(CHATML), PromptConfig()).prompt_ids(PROBLEM)


@pytest.mark.parametrize("text", ["{", "[]", '{"chat_template": 3}', "{}"])
def test_a_damaged_template_file_is_named(tmp_path: Path, text: str) -> None:
    folder = model_folder(tmp_path, None)
    (folder / "chat_template.json").write_text(text)
    with pytest.raises(ModelError, match=r"chat_template.json"):
        load_tokenizer(str(folder))


def test_variables_of_the_template_are_handed_on() -> None:
    plain, without = (
        Chat(byte_tokenizer(THINKING), PromptConfig(template_args=given)) for given in ({}, {"enable_thinking": False})
    )
    text = without.tokenizer.decode(without.prompt_ids(PROBLEM))
    assert text.endswith("<think></think>") and not plain.tokenizer.decode(plain.prompt_ids(PROBLEM)).endswith(">")
    turns = [*without.messages(PROBLEM), {"role": "assistant", "content": "4"}]
    ids, labels = without.training_ids(turns)
    assert tuple(ids[: labels.count(-100)]) == without.prompt_ids(PROBLEM)
    assert plain.fingerprint() != without.fingerprint()


def test_what_the_loop_sets_itself_is_no_variable() -> None:
    with pytest.raises(ConfigError, match=r"prompt.template_args.*tokenize is set by the loop itself"):
        parse_config({"prompt": {"template_args": {"tokenize": False}}})


@pytest.mark.parametrize(
    "pattern", ["%Y-%m-%d", "%d %B %Y", "%A, %b %d, %y", "%H:%M:%S.%f", "100%% on %j", "%I %p", "today"]
)
def test_a_template_that_reads_the_clock_gets_its_own_format(pattern: str) -> None:
    chat = Chat(byte_tokenizer("{{ strftime_now('" + pattern + "') }}" + CHATML), PromptConfig())
    assert chat.tokenizer.decode(chat.prompt_ids(PROBLEM)).startswith(FIXED_TIME.strftime(pattern) + "<|im_start|>")
