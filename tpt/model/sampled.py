"""What is kept of a completion besides its text: what to judge, and what it takes to train on exactly the sampled tokens."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from tpt.model.chat import Chat
from tpt.model.reasoning import without_specials


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a trace keeps of a completion's tokens."""

    answer: str | None
    """The text after the reasoning, special tokens left out; None: that is the whole text."""
    token_ids: list[int] | None
    """To train on; None: the text encodes to them."""
    token_digest: str
    """Of the ids to train on where they are not kept; empty: they are, or nobody knows which were sampled."""


def digest_of_ids(token_ids: Sequence[int]) -> str:
    """Return a short digest of token ids."""
    return sha256(array("q", token_ids).tobytes()).hexdigest()[:8]


def sampled_of(chat: Chat, token_ids: Sequence[int], text: str, *, finished: bool, exact: bool) -> Sampled:
    """Return what a trace keeps.

    ``token_ids`` include the token that ended the completion, ``text`` goes up to there, or to a stop string.
    ``finished``: it ended by itself; what was cut off is never trained on. ``exact``: these are surely the ids that
    were sampled.
    """
    spoken = _until_stop(chat, token_ids)
    # Ids that are the text's, tokenised again, may lack some of it.
    answer = _answer(chat, spoken if exact else [], text)
    if not finished or not exact:
        return Sampled(answer, None, "")
    if len(spoken) < len(token_ids):
        trained = list(token_ids[: len(spoken) + 1])
    else:
        # A stop string ended it; what is trained instead is the end of a turn.
        count = _count_for(chat, spoken, len(text))
        if chat.decode(spoken[:count]) != text:
            return Sampled(answer, None, "")  # the stop string began within a token
        trained = [*spoken[:count], chat.end_of_turn_id]
    if chat.completion_ids(text) == trained:
        return Sampled(answer, None, digest_of_ids(trained))
    return Sampled(answer, trained, "")


def _answer(chat: Chat, spoken: list[int], text: str) -> str | None:
    begin = chat.reasoning.answer_begin(text)
    if not chat.special_ids.isdisjoint(spoken):
        first = _count_for(chat, spoken, begin)
        until = _count_for(chat, spoken, len(text))
        answer = without_specials(chat.tokenizer, spoken[first:until])
    else:
        answer = text[begin:]
    return None if answer == text else answer


def _count_for(chat: Chat, token_ids: list[int], length: int) -> int:
    """Return how many of the ids it takes for a text of so many characters."""
    counts = range(len(token_ids) + 1)
    return min(len(token_ids), bisect_left(counts, length, key=lambda count: len(chat.decode(token_ids[:count]))))


def _until_stop(chat: Chat, token_ids: Sequence[int]) -> list[int]:
    end = next((index for index, token in enumerate(token_ids) if token in chat.stop_ids), len(token_ids))
    return list(token_ids[:end])
