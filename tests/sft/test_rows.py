"""What must not be trained on is refused, and the message says why."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tpt.config import PromptConfig
from tpt.errors import TrainError
from tpt.model.chat import IGNORED_LABEL, Chat
from tpt.records import Example, Problem
from tpt.sft import Row, encode
from tpt.sft.rows import check_row, training_order


def test_rows_are_the_sampled_prompt_and_then_the_trained_completion(
    examples: list[Example], problems: dict[str, Problem], chat: Chat
) -> None:
    encoded = encode(examples, problems, chat, max_length=512)
    assert (len(encoded.rows), encoded.dropped, encoded.prompts_checked) == (24, 0, 24)
    for row, example in zip(encoded.rows, examples, strict=True):
        prompt = list(chat.prompt_ids(problems[example.problem_id]))
        assert row.input_ids[: len(prompt)] == prompt
        assert row.labels == [IGNORED_LABEL] * len(prompt) + row.input_ids[len(prompt) :]
        assert row.labels[-1] in chat.stop_ids
        assert chat.decode(row.input_ids[len(prompt) :]) == example.messages[-1]["content"]
        assert row.targets == len(row.input_ids) - len(prompt)


def test_an_example_of_an_unknown_problem_is_trained_on_unchecked(examples: list[Example], chat: Chat) -> None:
    assert encode(examples, {}, chat, max_length=512).prompts_checked == 0


def test_no_examples(chat: Chat) -> None:
    with pytest.raises(TrainError, match=r"no examples to train on.*raise think.samples"):
        encode([], {}, chat, max_length=512)


def test_a_prompt_other_than_the_sampled_one(
    examples: list[Example], problems: dict[str, Problem], tokenizer: Any
) -> None:
    sampled_with = Chat(tokenizer, PromptConfig(template="{question}\nFirst"))
    with pytest.raises(TrainError) as caught:
        encode(examples, problems, sampled_with, max_length=512)
    message = str(caught.value)
    assert "word_problems/train/00000, sample 0: it would be trained on another prompt" in message
    assert "'First\\n'" in message
    assert "make them again from prune on" in message


def test_an_answer_that_reaches_into_the_prompt(problems: dict[str, Problem], chat: Chat, rows: list[Row]) -> None:
    row = rows[0]
    begin = len(row.labels) - row.targets
    shifted = Row("p, sample 0", row.input_ids, [*row.labels[: begin - 1], *row.input_ids[begin - 1 :]])
    prompt = chat.prompt_ids(problems["word_problems/train/00000"])
    check_row(row, chat, prompt=prompt)
    with pytest.raises(TrainError, match=rf"another prompt.*\({begin - 1} tokens instead of {begin}\)"):
        check_row(shifted, chat, prompt=prompt)


BOS, EOS, PAD, A, B = 1, 2, 0, 10, 11
MASKED = IGNORED_LABEL


@pytest.mark.parametrize(
    ("input_ids", "labels", "message"),
    [
        ([BOS, A, B, EOS], [MASKED] * 4, "none of its 4 tokens would be trained"),
        ([BOS, A, B, EOS], [BOS, A, B, EOS], "all of its 4 tokens would be trained"),
        ([BOS, A, B, EOS], [MASKED, MASKED, A, EOS], "from token 2 on the labels are not the tokens"),
        ([BOS, A, B, EOS], [MASKED, A, MASKED, EOS], "from token 1 on the labels are not the tokens"),
        ([BOS, BOS, A, B, EOS], [MASKED, MASKED, MASKED, B, EOS], "begins with two beginning-of-sequence tokens"),
        ([BOS, A, B, B], [MASKED, MASKED, B, B], r"last trained token is 11 .* would not learn to stop"),
        ([BOS, A, EOS, B, EOS], [MASKED, MASKED, EOS, B, EOS], r"a stop token \(id 2\) comes 2 tokens before the end"),
        ([BOS, A, PAD, EOS], [MASKED, MASKED, PAD, EOS], r"padding token \(id 0\) would be trained, at place 0"),
    ],
)
def test_rows_that_would_teach_the_wrong_thing(
    input_ids: list[int], labels: list[int], message: str, chat: Chat
) -> None:
    with pytest.raises(TrainError, match=f"p, sample 3: .*{message}"):
        check_row(Row("p, sample 3", input_ids, labels), chat, prompt=None)


def test_padding_that_is_the_stop_token_is_trained_at_the_end(tokenizer: Any) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    chat = Chat(tokenizer, PromptConfig())
    check_row(Row("p", [BOS, A, B, EOS], [MASKED, MASKED, B, EOS]), chat, prompt=None)


def test_too_long_examples_are_dropped_whole_and_counted(
    examples: list[Example], problems: dict[str, Problem], chat: Chat, rows: list[Row]
) -> None:
    lengths = sorted(len(row.input_ids) for row in rows)
    encoded = encode(examples, problems, chat, max_length=lengths[9])
    assert encoded.dropped == sum(length > lengths[9] for length in lengths) > 0
    assert [row for row in rows if len(row.input_ids) <= lengths[9]] == encoded.rows
    with pytest.raises(TrainError, match=rf"all 24 examples are longer than train.max_length = 5 .* to {lengths[-1]}"):
        encode(examples, problems, chat, max_length=5)


def test_every_epoch_has_every_row_once_in_another_order(rows: list[Row]) -> None:
    order = training_order(rows, epochs=3, batch_size=8, seed=5)
    epochs = [order[:24], order[24:48], order[48:]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(24))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    assert order == training_order(rows, epochs=3, batch_size=8, seed=5)
    assert order != training_order(rows, epochs=3, batch_size=8, seed=6)


def test_a_step_begins_with_its_longest_and_epochs_share_one_only_at_their_border(rows: list[Row]) -> None:
    order = training_order(rows[:10], epochs=2, batch_size=8, seed=0)
    steps = [order[at : at + 8] for at in range(0, 20, 8)]
    assert [len(step) for step in steps] == [8, 8, 4]
    for step in steps:
        lengths = [len(rows[index].input_ids) for index in step]
        assert lengths == sorted(lengths, reverse=True)
    assert Counter(order) == Counter(dict.fromkeys(range(10), 2))
