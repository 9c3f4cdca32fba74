"""What travels between the engine and a server: prompts as text, and completions out of answers that are not believed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tpt.engines import Completion, Request
from tpt.engines.server.api import FailedRequestError, odd_answer
from tpt.engines.stops import ended_by_text, stop_in
from tpt.errors import EngineError
from tpt.model.chat import Chat
from tpt.records import FinishReason, well_formed

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
}


def prompt_text(request: Request, chat: Chat) -> str:
    """Return a prompt as the text that a server turns into the same ids again.

    A server that takes text puts the tokenizer's BOS before it, so where the tokenizer does, the text has none.

    Raises:
        EngineError: no text gives these ids, as when a question spells out a control token.
    """
    ids = list(request.prompt_ids)
    added = list(chat.tokenizer("a").input_ids)[:1]
    adds_bos = added == [chat.tokenizer.bos_token_id]
    bare = ids[1:] if adds_bos and ids[:1] == added else ids
    text = str(chat.tokenizer.decode(bare, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    if list(chat.tokenizer(text).input_ids) != ids:
        raise EngineError(
            f'problem {request.id[0]!r}: its prompt cannot travel as text (engine.prompt = "text"), as the server would '
            "read other tokens than those meant, a control token that the question spells out, say; use a server that "
            'takes token ids with engine.prompt = "tokens", or take the problem out'
        )
    return text


def completion_of(request: Request, answer: Any, chat: Chat, *, quote: Callable[[str], str]) -> Completion:
    """Return the completion in a server's answer.

    Where the server does not return ids, the text is tokenised again, which may split it in other places. ``quote``
    makes what the server wrote fit for a message.

    Raises:
        PassingError: the answer holds no completion.
        FailedRequestError: the server withheld it, or cut it short.
    """
    choice = _choice(request, answer, quote)
    text, said = choice.get("text"), choice.get("finish_reason")
    reason = _REASONS.get(said) if isinstance(said, str) else None
    if not isinstance(text, str) or reason is None:
        raise (FailedRequestError if said == "content_filter" else odd_answer)(
            f"problem {request.id[0]!r}, sample {request.id[1]}: the server's answer has no text, or the finish_reason "
            f"{quote(repr(said))}; expected are {', '.join(_REASONS)}"
        )
    text = well_formed(text)  # half a surrogate pair is no text to any tokenizer
    ids = _token_ids(choice, vocabulary=len(chat.tokenizer))
    if ids is not None:
        stops = (index for index, token in enumerate(ids) if token in chat.stop_ids)
        ids = ids[: next(stops, len(ids))]
        if stopped := ended_by_text(request, tuple(ids), chat.decode):
            return stopped
        text = chat.decode(ids)
    elif (at := stop_in(text, request.sampling.stop_strings)) >= 0:
        text, reason = text[:at], "stop"  # a server that does not know them
    found = ids if ids is not None else list(chat.tokenizer(text, add_special_tokens=False).input_ids)
    if reason == "stop":
        found = [*found, chat.end_of_turn_id]
    _require_whole(request, answer, reason, len(ids) if ids is not None else None)
    return Completion(request.id, tuple(found[: request.sampling.max_tokens]), text, reason, exact=ids is not None)


def _choice(request: Request, answer: Any, quote: Callable[[str], str]) -> dict[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise odd_answer(
            f"problem {request.id[0]!r}, sample {request.id[1]}: the server's answer is not one completion in the form of "
            f"the OpenAI API, but {quote(repr(answer))}; is engine.url a completions server?"
        )
    return choices[0]


def _token_ids(choice: dict[str, Any], *, vocabulary: int) -> list[int] | None:
    """Return the ids of the sampled tokens where the server sent sound ones."""
    ids = choice.get("token_ids")
    if not isinstance(ids, list) or not ids:
        return None
    sound = all(type(token) is int and 0 <= token < vocabulary for token in ids)
    return ids if sound else None


def _require_whole(request: Request, answer: dict[str, Any], reason: FinishReason, tokens: int | None) -> None:
    """Refuse a completion that ended by length before max_tokens: the server's context was too small for it."""
    usage = answer.get("usage")
    counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
    sampled = tokens if tokens is not None else counted
    if reason == "length" and type(sampled) is int and sampled < request.sampling.max_tokens:
        raise FailedRequestError(
            f"problem {request.id[0]!r}, sample {request.id[1]}: the server ended the completion after {sampled} of "
            f"max_tokens = {request.sampling.max_tokens} tokens, so its context is too small: start it with a longer one"
        )
