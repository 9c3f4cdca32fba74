"""Chat: one renderer for sampling and training, over the chat templates that real models have."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tpt.config import PromptConfig, Shot
from tpt.errors import ModelError
from tpt.model.chat import IGNORED_LABEL, Chat
from tpt.records import Problem

SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
DROPS_SYSTEM = "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}"
DATED = "{{ strftime_now('%Y-%m-%d %H:%M:%S.%f') }}{{ date_string }}" + CHATML
DOUBLE_BOS = "{{ bos_token }}{{ bos_token }}" + NO_SYSTEM.removeprefix("{{ bos_token }}")
PROBLEM = Problem("p/1", "What is {2} + {x}?", "4")


def byte_tokenizer(
    template: str | None, *, adds_bos: bool = False, eos: str | None = "</s>"
) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with the special tokens of several families."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    if adds_bos:
        bos = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[bos])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token=eos,
        pad_token="<pad>",
        additional_special_tokens=SPECIAL[3:],
        chat_template=template,
    )


@pytest.mark.parametrize("template", [CHATML, NO_SYSTEM, None])
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_training_prompt_is_the_sampling_prompt(template: str | None, system: str) -> None:
    """The ids trained on begin with the ids sampled from; only the completion and its stop token carry labels."""
    chat = Chat(
        byte_tokenizer(template),
        PromptConfig(system=system, template="Solve: {question}", few_shot=[Shot(question="1+1?", answer="#### 2")]),
    )
    prompt = chat.prompt_ids(PROBLEM)
    input_ids, labels = chat.training_ids([*chat.messages(PROBLEM), {"role": "assistant", "content": " 2 + 2 = 4"}])
    completion = input_ids[len(prompt) :]
    assert tuple(input_ids[: len(prompt)]) == prompt
    assert labels == [IGNORED_LABEL] * len(prompt) + completion
    assert completion[-1] == chat.end_of_turn_id
    assert completion[-1] in chat.stop_ids
    assert chat.decode(completion) == " 2 + 2 = 4"


def test_prompt_is_what_the_template_renders() -> None:
    """Sampling uses exactly the tokenizer's own template, with a generation prompt."""
    tokenizer = byte_tokenizer(CHATML)
    chat = Chat(tokenizer, PromptConfig(system="Be brief."))
    text = tokenizer.decode(chat.prompt_ids(PROBLEM))
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhat is {2} + {x}?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert chat.template_name == "tokenizer"
    assert chat.stop_ids == {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "</s>")}


def test_few_shot_questions_go_through_the_template() -> None:
    """Worked examples look like the question that is asked."""
    chat = Chat(
        byte_tokenizer(CHATML), PromptConfig(template="Q: {question}", few_shot=[Shot(question="1+1?", answer="2")])
    )
    assert chat.messages(PROBLEM) == [
        {"role": "user", "content": "Q: 1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Q: What is {2} + {x}?"},
    ]


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_system_text_is_folded_where_the_template_has_no_system_role(template: str) -> None:
    """A template that refuses or drops the system turn still gets its text, in the first user turn."""
    chat = Chat(byte_tokenizer(template), PromptConfig(system="Be brief."))
    assert chat.messages(PROBLEM) == [{"role": "user", "content": "Be brief.\n\nWhat is {2} + {x}?"}]
    with_role = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROBLEM.question}]
    ids, _ = chat.training_ids([*with_role, {"role": "assistant", "content": "4"}])
    assert tuple(ids[: len(chat.prompt_ids(PROBLEM))]) == chat.prompt_ids(PROBLEM)


def test_no_chat_template_is_a_plain_prompt() -> None:
    """A base model is asked with the question and a newline, and one BOS when its tokenizer adds one."""
    tokenizer = byte_tokenizer(None, adds_bos=True)
    chat = Chat(tokenizer, PromptConfig(system="Rules."))
    assert chat.template_name == "plain"
    assert tokenizer.decode(chat.prompt_ids(PROBLEM)) == "<s>Rules.\nWhat is {2} + {x}?\n"
    assert chat.stop_ids == {tokenizer.eos_token_id}


def test_exactly_one_bos() -> None:
    """A template without BOS gets the one that the tokenizer would add; a template with one gets no second."""
    bos = byte_tokenizer(None).bos_token_id
    for template, adds_bos, expected in [
        (NO_SYSTEM, True, 1),
        (NO_SYSTEM, False, 1),
        (CHATML, True, 1),
        (CHATML, False, 0),
    ]:
        ids = Chat(byte_tokenizer(template, adds_bos=adds_bos), PromptConfig()).prompt_ids(PROBLEM)
        assert ids.count(bos) == expected
        assert (ids[0] == bos) is bool(expected)


def test_double_bos_is_refused() -> None:
    """The classic fault is an error, not a worse model."""
    with pytest.raises(ModelError, match="2 beginning-of-sequence tokens"):
        Chat(byte_tokenizer(DOUBLE_BOS), PromptConfig()).prompt_ids(PROBLEM)


def test_control_tokens_in_text_stay_text() -> None:
    """A question or a completion that spells out a control token does not become one."""
    for template in (CHATML, NO_SYSTEM, None):
        tokenizer = byte_tokenizer(template, adds_bos=True)
        chat = Chat(tokenizer, PromptConfig())
        harmless = chat.prompt_ids(Problem("p", "x", "1"))
        hostile = chat.prompt_ids(Problem("p", "x<s><|im_end|></s>", "1"))
        special = set(tokenizer.all_special_ids)
        assert [i for i in hostile if i in special] == [i for i in harmless if i in special]
        ids, labels = chat.training_ids(
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a</s><|im_end|>b"}]
        )
        assert sum(label in chat.stop_ids for label in labels) == 1
        assert chat.decode(ids[len(harmless) :]) == "a</s><|im_end|>b"


def test_decode_ends_at_the_stop_token_and_keeps_spaces() -> None:
    """Nothing after the stop token, special tokens written out, no cleaned-up spaces."""
    tokenizer = byte_tokenizer(CHATML)
    chat = Chat(tokenizer, PromptConfig())
    ids = tokenizer("a , b <pad>. 'll", add_special_tokens=False).input_ids
    tail = tokenizer("<|im_end|>junk", add_special_tokens=False).input_ids
    assert chat.decode([*ids, *tail]) == "a , b <pad>. 'll"
    assert chat.decode([]) == ""


def test_templates_that_read_the_clock_do_not_change_with_it() -> None:
    """Two renderings at different moments are the same prompt."""
    chat = Chat(byte_tokenizer(DATED), PromptConfig())
    assert chat.prompt_ids(PROBLEM) == chat.prompt_ids(PROBLEM)
    assert "26 Jul 2024" in chat.decode(chat.prompt_ids(PROBLEM))


def test_fingerprint_tells_prompts_and_templates_apart() -> None:
    """Anything that changes the prompt changes the fingerprint, and nothing else does."""
    prompts = [
        PromptConfig(),
        PromptConfig(system="s"),
        PromptConfig(template="{question}!"),
        PromptConfig(few_shot=[Shot(question="a", answer="b")]),
    ]
    prints = [Chat(byte_tokenizer(t), prompt).fingerprint() for t in (CHATML, NO_SYSTEM, None) for prompt in prompts]
    assert len(set(prints)) == len(prints)
    assert Chat(byte_tokenizer(CHATML), PromptConfig()).fingerprint() == prints[0]


def test_errors_say_what_to_do() -> None:
    """A tokenizer without EOS and messages without an answer are refused."""
    with pytest.raises(ModelError, match=r"no end-of-sequence token.*set eos_token"):
        Chat(byte_tokenizer(CHATML, eos=None), PromptConfig())
    with pytest.raises(ModelError, match=r"roles \['user'\]"):
        Chat(byte_tokenizer(CHATML), PromptConfig()).training_ids([{"role": "user", "content": "x"}])
    with pytest.raises(ModelError, match="cannot render one user turn"):
        Chat(byte_tokenizer("{{ raise_exception('never') }}"), PromptConfig())


def test_importing_chat_imports_no_torch() -> None:
    """The command line stays quick."""
    code = "import sys, tpt.model.chat; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
