"""What a trace keeps of its tokens: exactly those sampled are trained on, and verifiers see what follows the reasoning."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from chat_families import FAMILIES, tokenizer_of
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tpt.config import PromptConfig
from tpt.engines import Completion
from tpt.errors import TrainError
from tpt.model.chat import Chat
from tpt.records import Example, Outcome, Problem, Trace, judged_text
from tpt.report.audit import JUDGED
from tpt.sampling.collect import trace_of
from tpt.sft import encode
from tpt.system.jsonl import read_records, replace_records
from tpt.verifiers.judge import judge

PROBLEM = Problem("p/1", "What is 2 + 2?", "4")
MARKS = ["<|return|>", "<|start|>", "<|end|>", "<|channel|>", "<|message|>", "<pad>"]
CHANNELS = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{% if m.thinking %}<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m['content'] }}<|return|>"
    "{% else %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
THINK = (
    "{% for m in messages %}<|start|>{{ m['role'] }}<|message|>{% if m.reasoning_content %}<think>\n"
    "{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m['content'] }}<|return|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|message|>{% endif %}"
)


def merging_tokenizer(template: str) -> Any:
    """Return a byte tokenizer with merges, so that one text has many splits."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=[AddedToken(mark, special=True) for mark in MARKS],
    )
    tokenizer.train_from_iterator(["analysis final assistant the answer is four It is 4."] * 9, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|return|>", pad_token="<pad>", chat_template=template
    )


def chat_of(template: str) -> Chat:
    return Chat(merging_tokenizer(template), PromptConfig())


def spelt(chat: Chat, text: str) -> list[int]:
    """Return the ids of a text in which marks are tokens."""
    return list(chat.tokenizer(text, add_special_tokens=False).input_ids)


def traced(chat: Chat, ids: list[int]) -> Trace:
    reason: Any = "stop" if ids[-1] in chat.stop_ids else "length"
    return trace_of(Completion(("p/1", 0), tuple(ids), chat.decode(ids), reason), 0, chat)


def example_of(trace: Trace, chat: Chat) -> Example:
    messages = [*chat.messages(PROBLEM), {"role": "assistant", "content": trace.completion}]
    return Example("p/1", trace.sample, messages, trace.token_ids, trace.token_digest)


def trained_ids(trace: Trace, chat: Chat, folder: Path) -> list[int]:
    """Return what is trained of a trace that has gone through the files."""
    replace_records(folder / "traces.jsonl", [trace])
    (read,) = read_records(folder / "traces.jsonl", Trace)
    replace_records(folder / "examples.jsonl", [example_of(read, chat)])
    encoded = encode(read_records(folder / "examples.jsonl", Example), {"p/1": PROBLEM}, chat, max_length=4096)
    assert (encoded.tokens_checked, encoded.refused) == (1, {})
    (row,) = encoded.rows
    return [token for token, label in zip(row.input_ids, row.labels, strict=True) if label >= 0]


THOUGHT = "<|channel|>analysis<|message|>2+2=5? no, 4<|end|><|start|>assistant<|channel|>final<|message|>It is 4."


@pytest.mark.parametrize(
    ("template", "text", "judged"),
    [
        (CHANNELS, THOUGHT, "It is 4."),
        (CHANNELS, "<|channel|>final<|message|>It is 4.", "It is 4."),
        (CHANNELS, THOUGHT + "<|channel|> or<|message|> 4", "It is 4. or 4"),
        (CHANNELS, "It is 4.", "It is 4."),
        (CHANNELS, "<|channel|>analysis<|message|>It is 4.", ""),
        (THINK, "<think>\n2+2=5?\n</think>\n\nIt is 4.", "It is 4."),
        (THINK, "It is <|start|>4.<|end|>", "It is 4."),
        (THINK, "<think> It is 4.", ""),
    ],
)
def test_marks_are_kept_trained_and_not_judged(template: str, text: str, judged: str, tmp_path: Path) -> None:
    chat = chat_of(template)
    ids = [*spelt(chat, text), chat.end_of_turn_id]
    trace = traced(chat, ids)
    assert trace.completion == text
    assert judged_text(trace).strip() == judged
    assert trained_ids(trace, chat, tmp_path) == ids


@pytest.mark.parametrize("family", FAMILIES)
def test_any_tokens_at_all_are_trained_as_they_were_sampled(family: str, tmp_path: Path) -> None:
    source = random.Random(family)
    for chat in (Chat(tokenizer_of(family), PromptConfig()), chat_of(CHANNELS)):
        pad = chat.tokenizer.pad_token_id
        usable = [each for each in range(len(chat.tokenizer)) if each not in chat.stop_ids and each != pad]
        for _ in range(30):
            ids = [*source.choices(usable, k=source.randint(0, 12)), source.choice(sorted(chat.stop_ids))]
            assert trained_ids(traced(chat, ids), chat, tmp_path) == ids


def test_a_text_that_encodes_to_its_tokens_keeps_a_digest_alone() -> None:
    chat = chat_of(THINK)
    plain = traced(chat, chat.completion_ids("the answer is four"))
    assert plain.token_ids is None and len(plain.token_digest) == 8 and plain.answer is None
    split = traced(chat, [*(spelt(chat, letter)[0] for letter in "the"), chat.end_of_turn_id])
    assert split.completion == "the" and split.token_ids is not None
    spelled_out = traced(chat, chat.completion_ids("a <|start|> b"))
    assert spelled_out.token_ids is None and spelled_out.answer is None
    cut = traced(chat, spelt(chat, "<think> and on"))
    assert (cut.token_ids, cut.token_digest, cut.finish_reason) == (None, "", "length")


def test_a_completion_ended_by_a_stop_string_is_trained_up_to_it() -> None:
    chat = chat_of(THINK)
    ids = [*(spelt(chat, letter)[0] for letter in "It is 4."), *spelt(chat, "###")]
    trace = trace_of(Completion(("p/1", 0), tuple(ids), "It is 4.", "stop"), 0, chat)
    assert trace.token_ids == [*ids[:8], chat.end_of_turn_id]
    merged = spelt(chat, "the answer")
    within = trace_of(Completion(("p/1", 0), tuple(merged), "the ans", "stop"), 0, chat)
    assert (within.token_ids, within.token_digest) == (None, "")


def test_what_a_server_only_said_in_text_is_not_taken_for_sampled() -> None:
    chat = chat_of(THINK)
    ids = tuple(chat.completion_ids("It is 4."))
    trace = trace_of(Completion(("p/1", 0), ids, "It is 4.", "stop", exact=False), 0, chat)
    encoded = encode([example_of(trace, chat)], {"p/1": PROBLEM}, chat, max_length=4096)
    assert encoded.tokens_checked == 0 and len(encoded.rows) == 1
    lossy = (*ids[:2], chat.tokenizer.pad_token_id, chat.end_of_turn_id)
    trace = trace_of(Completion(("p/1", 0), lossy, "<think>5</think>It is 4.", "stop", exact=False), 0, chat)
    assert judged_text(trace) == "It is 4."


def test_an_example_whose_tokens_are_not_the_sampled_ones_is_refused_and_counted() -> None:
    chat = chat_of(THINK)
    good = traced(chat, chat.completion_ids("It is 4."))
    content = {"role": "assistant", "content": "It is 5."}
    fine = example_of(good, chat)
    changed = Example("p/2", 0, [*fine.messages[:-1], content], None, good.token_digest)
    end, pad = chat.end_of_turn_id, chat.tokenizer.pad_token_id
    ids = [
        [end],
        [1, 2],
        [end, 8, end],
        [*spelt(chat, "It is 5."), pad, end],
        [*spelt(chat, "It is 6."), end],
        [9999, end],
    ]
    others = [Example(f"p/{3 + n}", 0, [*fine.messages[:-1], content], each) for n, each in enumerate(ids)]
    encoded = encode([fine, changed, *others], {}, chat, max_length=4096)
    assert len(encoded.rows) == 1 and len(encoded.refused) == 1 + len(ids)
    with pytest.raises(
        TrainError, match=r"all 2 examples are refused; p/2, sample 0: its text encodes to other tokens"
    ):
        encode([changed, others[0]], {}, chat, max_length=4096)


def test_verdicts_go_by_what_follows_the_reasoning() -> None:
    chat = chat_of(CHANNELS)
    right = THOUGHT.replace("2+2=5? no, 4", "#### 5")
    traces = [traced(chat, [*spelt(chat, text), chat.end_of_turn_id]) for text in (right, right.replace("4.", "5."))]
    assert [each.outcome for each in judge(traces, {"p/1": PROBLEM})] == [Outcome.CORRECT, Outcome.WRONG]
    assert JUDGED
