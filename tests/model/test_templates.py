"""The chat formats of the model families that people train: what is trained is what is sampled, and it ends."""

from __future__ import annotations

import pytest
from chat_families import FAMILIES, TEMPLATES, tokenizer_of

from tpt.config import PromptConfig, Shot
from tpt.model.chat import IGNORED_LABEL, Chat
from tpt.records import Example, Problem
from tpt.sft import encode
from tpt.sft.packing import Padded

PROBLEM = Problem("p/1", "What is 2 + 2?", "4")
SYSTEM = "Be brief."
ANSWER = "2 + 2 = 4\n#### 4"


def chat_of(name: str, system: str = "", few_shot: tuple[Shot, ...] = ()) -> Chat:
    return Chat(tokenizer_of(name), PromptConfig(system=system, few_shot=list(few_shot)))


def test_every_template_is_tried() -> None:
    assert {path.stem for path in TEMPLATES.glob("*.jinja")} == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_prompt_is_the_familys(name: str) -> None:
    chat, family = chat_of(name), FAMILIES[name]
    assert chat.tokenizer.decode(chat.prompt_ids(PROBLEM)) == family.prompt
    ends = {chat.tokenizer.convert_tokens_to_ids(token) for token in (family.end, family.eos)}
    assert chat.tokenizer.convert_ids_to_tokens(chat.end_of_turn_id) == family.end
    assert chat.stop_ids == ends


@pytest.mark.parametrize("few_shot", [(), (Shot(question="1 + 1?", answer="#### 2"),)])
@pytest.mark.parametrize("system", ["", SYSTEM])
@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_trained_is_what_is_sampled_and_it_ends(name: str, system: str, few_shot: tuple[Shot, ...]) -> None:
    """``encode`` checks every row; here the same is checked from outside."""
    chat = chat_of(name, system, few_shot)
    messages = [*chat.messages(PROBLEM), {"role": "assistant", "content": ANSWER}]
    (row,) = encode([Example("p/1", 0, messages)], {"p/1": PROBLEM}, chat, max_length=4096).rows
    prompt = list(chat.prompt_ids(PROBLEM))
    assert row.input_ids[: len(prompt)] == prompt
    assert row.labels == [IGNORED_LABEL] * len(prompt) + row.input_ids[len(prompt) :]
    text = chat.tokenizer.decode(row.input_ids[len(prompt) :])
    assert text == ANSWER + FAMILIES[name].end
    bos = FAMILIES[name].bos
    if bos is not None and name != "smollm2":
        assert prompt.count(chat.tokenizer.bos_token_id) == 1
        assert prompt[0] == chat.tokenizer.bos_token_id


@pytest.mark.parametrize("name", FAMILIES)
def test_a_system_text_reaches_the_model(name: str) -> None:
    chat = chat_of(name, SYSTEM)
    assert chat.tokenizer.decode(chat.prompt_ids(PROBLEM)).count(SYSTEM) == 1
    assert (chat.messages(PROBLEM)[0]["role"] == "system") == FAMILIES[name].system_role


@pytest.mark.parametrize("name", ["smollm2", "llama3"])
def test_padding_that_looks_like_the_end_of_turn_is_not_trained_and_the_end_is(name: str) -> None:
    """SmolLM2 pads with its end-of-turn, and Llama 3 has no padding token, so its end-of-sequence serves."""
    chat = chat_of(name)
    examples = [
        Example("p/1", n, [*chat.messages(PROBLEM), {"role": "assistant", "content": answer}])
        for n, answer in enumerate([ANSWER, "4"])
    ]
    rows = encode(examples, {"p/1": PROBLEM}, chat, max_length=4096).rows
    pad = chat.tokenizer.pad_token_id if chat.tokenizer.pad_token_id is not None else chat.tokenizer.eos_token_id
    assert pad == chat.end_of_turn_id
    batch = Padded(pad)([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])
    short = len(rows[1].input_ids)
    assert batch["input_ids"][1, short - 1 :].unique().tolist() == [pad]
    assert batch["labels"][1, short - 1] == pad
    assert batch["labels"][1, short:].unique().tolist() == [IGNORED_LABEL]
    assert batch["attention_mask"][1].sum() == short
