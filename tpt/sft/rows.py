"""Examples in, training rows out; whatever must not be trained on is refused here, before any compute is spent."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tpt.errors import TrainError
from tpt.model.chat import IGNORED_LABEL, Chat
from tpt.model.sampled import digest_of_ids
from tpt.records import Example, Problem, well_formed
from tpt.seeds import seed_for


@dataclass(frozen=True, slots=True)
class Row:
    """One example as token ids, the prompt's labels being -100."""

    name: str
    """The example's problem id and sample, for messages."""
    input_ids: list[int]
    labels: list[int]
    weight: float = 1.0
    """What its tokens' losses are multiplied by."""

    @property
    def targets(self) -> int:
        """How many tokens are trained."""
        return sum(label != IGNORED_LABEL for label in self.labels)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The rows of a training set, in the order of its examples."""

    rows: list[Row]
    dropped: int
    """Examples longer than ``max_length``; they are left out whole, as a cut one would never end."""
    prompts_checked: int
    """Examples whose problem is known, so that their prompt was compared with the sampled one."""
    tokens_checked: int
    """Examples whose trained tokens were found to be the sampled ones; of others nobody knows what was sampled."""
    refused: dict[str, str]
    """Examples left out, as their trained tokens would not be the sampled ones: name to reason."""


def encode(examples: Sequence[Example], problems: Mapping[str, Problem], chat: Chat, *, max_length: int) -> Encoded:
    """Turn examples into rows.

    Raises:
        TrainError: there is nothing to train on, or an example would teach another prompt than the one sampled with,
            not teach when to stop, or train the wrong tokens; or all are refused.
    """
    if not examples:
        raise TrainError(
            "there are no examples to train on: no trace was kept. Look at the verdicts, then raise think.samples, "
            "loosen prune.require_format, or choose easier problems"
        )
    rows, refused, checked_tokens = [], {}, 0
    for example in examples:
        name = f"{example.problem_id}, sample {example.sample}"
        if fault := _other_tokens(example, chat):
            refused[name] = fault
            continue
        checked_tokens += bool(example.token_ids or example.token_digest)
        row = Row(name, *chat.training_ids(example.messages, example.token_ids), example.weight)
        problem = problems.get(example.problem_id)
        check_row(row, chat, prompt=None if problem is None else chat.prompt_ids(problem))
        rows.append(row)
    if not rows:
        name, fault = next(iter(refused.items()))
        raise TrainError(
            f"all {len(refused)} examples are refused; {name}: {fault}. Were they sampled with another tokenizer? Make them "
            "again from think on"
        )
    kept = [row for row in rows if len(row.input_ids) <= max_length]
    if not kept:
        longest = max(rows, key=lambda row: len(row.input_ids))
        raise TrainError(
            f"all {len(rows)} examples are longer than train.max_length = {max_length} tokens; the longest is that of "
            f"{longest.name} with {len(longest.input_ids)}. Raise train.max_length to {len(longest.input_ids)}"
        )
    checked = sum(example.problem_id in problems for example in examples)
    return Encoded(
        kept, dropped=len(rows) - len(kept), prompts_checked=checked, tokens_checked=checked_tokens, refused=refused
    )


def _other_tokens(example: Example, chat: Chat) -> str:
    """Return why an example would not train the tokens that were sampled; empty: it would, or nobody knows them."""
    text, ids = example.messages[-1]["content"], example.token_ids
    if ids is None:
        same = not example.token_digest or digest_of_ids(chat.completion_ids(text)) == example.token_digest
        return "" if same else "its text encodes to other tokens than those sampled"
    if not ids or ids[-1] not in chat.stop_ids or not chat.stop_ids.isdisjoint(ids[:-1]):
        return "its sampled tokens do not end where this model stops"
    if max(ids) >= len(chat.tokenizer) or well_formed(chat.decode(ids)) != text:
        return "its sampled tokens do not spell its text"
    pad = chat.tokenizer.pad_token_id
    return "its sampled tokens hold the padding token" if pad not in chat.stop_ids and pad in ids else ""


def check_row(row: Row, chat: Chat, *, prompt: tuple[int, ...] | None) -> None:
    """Refuse a row that must not be trained on; ``prompt`` is what its problem is sampled with, where that is known.

    Raises:
        TrainError: see ``encode``.
    """
    begin = next((at for at, label in enumerate(row.labels) if label != IGNORED_LABEL), len(row.labels))
    trained = row.labels[begin:]
    if not trained or begin == 0:
        share = "none" if not trained else "all"
        raise TrainError(
            f"{row.name}: {share} of its {len(row.labels)} tokens would be trained; expected the completion's"
        )
    if trained != row.input_ids[begin:]:
        raise TrainError(f"{row.name}: from token {begin} on the labels are not the tokens themselves")
    if prompt is not None and row.input_ids[:begin] != list(prompt):
        raise TrainError(_other_prompt(row, begin, prompt, chat))
    _check_begin_of_sequence(row, chat)
    _check_end(row, trained, chat)


def _other_prompt(row: Row, begin: int, prompt: tuple[int, ...], chat: Chat) -> str:
    """Say where the trained prompt and the sampled prompt part."""
    pairs = zip(row.input_ids[:begin], prompt, strict=False)
    at = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), min(begin, len(prompt)))
    tokenizer = chat.tokenizer
    ours, theirs = (tokenizer.decode(list(ids[at : at + 8])) for ids in (row.input_ids[:begin], prompt))
    return (
        f"{row.name}: it would be trained on another prompt than it is sampled with: from token {at} on {ours!r} "
        f"instead of {theirs!r} ({begin} tokens instead of {len(prompt)}). The examples were made with another "
        "[prompt] or chat template: make them again from prune on"
    )


def _check_begin_of_sequence(row: Row, chat: Chat) -> None:
    bos = chat.tokenizer.bos_token_id
    if bos is not None and row.input_ids[:2] == [bos, bos]:
        raise TrainError(
            f"{row.name}: it begins with two beginning-of-sequence tokens (id {bos}). Take bos_token out of the chat "
            "template, or let the tokenizer add none"
        )


def _check_end(row: Row, trained: list[int], chat: Chat) -> None:
    stops = sorted(chat.stop_ids)
    if trained[-1] not in chat.stop_ids:
        raise TrainError(
            f"{row.name}: its last trained token is {trained[-1]} ({chat.tokenizer.decode([trained[-1]])!r}) and none "
            f"of the stop tokens {stops}, so the model would not learn to stop"
        )
    early = next((at for at, token in enumerate(trained[:-1]) if token in chat.stop_ids), None)
    if early is not None:
        raise TrainError(
            f"{row.name}: a stop token (id {trained[early]}) comes {len(trained) - 1 - early} tokens before the end; "
            "what follows it could never be sampled"
        )
    pad = chat.tokenizer.pad_token_id
    if pad is not None and pad not in chat.stop_ids and pad in trained:
        raise TrainError(f"{row.name}: the padding token (id {pad}) would be trained, at place {trained.index(pad)}")


def training_order(rows: Sequence[Row], *, epochs: int, batch_size: int, seed: int) -> list[int]:
    """Return the indices of the rows in the order they are trained on, ``batch_size`` to a step, ``epochs`` times each.

    Every epoch is shuffled anew from the seed. Within a step the longest come first: the step's gradient is the same
    in any order, and its micro-batches hold less padding.
    """
    order: list[int] = []
    for epoch in range(epochs):
        indices = list(range(len(rows)))
        random.Random(seed_for(seed, "epoch", epoch)).shuffle(indices)
        order += indices
    steps = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    return [index for step in steps for index in sorted(step, key=lambda i: -len(rows[i].input_ids))]
