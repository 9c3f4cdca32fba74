"""What a request must be for a decoder of fixed length to serve it."""

from __future__ import annotations

from tpt.engines import Request
from tpt.errors import EngineError


def check_request(request: Request, *, is_known: bool, max_length: int, vocabulary: int) -> None:
    """Raise EngineError for a request that is in flight already (``is_known``), or can never be served.

    ``max_length`` is that of prompt and completion together, in tokens.
    """
    if is_known:
        raise EngineError(f"request {request.id} is in flight already; every (problem, sample) is one request")
    sampling, problem, length = request.sampling, request.id[0], len(request.prompt_ids)
    if sampling.max_tokens < 1 or sampling.temperature < 0 or sampling.top_k < 0 or not 0 < sampling.top_p <= 1:
        raise EngineError(
            f"sampling settings out of range for problem {problem!r}: {sampling}; allowed: max_tokens >= 1, "
            "temperature >= 0, top_k >= 0, 0 < top_p <= 1"
        )
    if length == 0:
        raise EngineError(f"problem {problem!r} has an empty prompt; there is nothing to sample from")
    needed = length + sampling.max_tokens
    if needed > max_length:
        raise EngineError(
            f"problem {problem!r}: its prompt of {length} tokens and max_tokens = {sampling.max_tokens} need {needed}, "
            f"more than engine.max_length = {max_length}; set engine.max_length to {needed} or more"
        )
    if min(request.prompt_ids) < 0 or max(request.prompt_ids) >= vocabulary:
        raise EngineError(
            f"problem {problem!r}: its prompt holds token ids from {min(request.prompt_ids)} to "
            f"{max(request.prompt_ids)}, but the model knows {vocabulary} tokens; the tokenizer is not this model's"
        )
