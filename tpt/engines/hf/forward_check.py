"""A start-up check that decoding gives a model's own logits: what cannot be decoded is said before anything is sampled.

An encoder that reads ahead, keys and values of another shape, positions counted otherwise: whatever an architecture does that its
decoder does not know ends in another number here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tpt.engines.hf.decoder import RowDecoder
from tpt.errors import EngineError, ForeignModelError
from tpt.system.memory import is_out_of_memory

CHECKED = 5
"""Tokens that are decoded with a model's own weights."""
_LARGEST_ERROR = 0.1
"""Of the logits' spread: rounding in bfloat16 makes about a hundredth of it, another model far more."""


@contextmanager
def foreign_explained(model: PreTrainedModel) -> Iterator[None]:
    """Turn whatever an architecture that is not known raises into one sentence, a ForeignModelError."""
    try:
        yield
    except (EngineError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ForeignModelError(
            f"{model.config.model_type!r} models end in {type(error).__name__}: {' '.join(str(error).split()):.200}"
        ) from error


@torch.inference_mode()
def check_forward(model: PreTrainedModel, length: int, decode: Callable[[list[int]], Tensor]) -> None:
    """Decode a few tokens and hold the logits against the model's plain forward pass.

    Given ``length`` tokens, ``decode`` returns the logits after every one but the first, ``[tokens - 1, vocabulary]``.

    Raises:
        ForeignModelError: these are not the model's.
    """
    name, vocabulary = model.config.model_type, int(model.config.get_text_config().vocab_size)
    tokens = [(index + 1) * vocabulary // (length + 1) for index in range(length)]
    expected = model(input_ids=torch.tensor([tokens], device=model.device), use_cache=False).logits[0].float()
    if not bool(expected.isfinite().all()):
        return  # a damaged model, which the engine says of the first request
    try:
        found = decode(tokens).float()
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return  # the engine takes fewer rows then, and checks again
        raise
    spread = float(expected.std())
    wrong = float((found - expected[1:]).abs().mean())
    if not wrong <= _LARGEST_ERROR * spread:
        raise ForeignModelError(
            f"{name!r} models get other logits token by token than from a whole text, off by {wrong:.3g} on average with a "
            f"spread of {spread:.3g}; encoders do, which read ahead"
        )


def decoded(decoder: RowDecoder, tokens: list[int], *, rows: int) -> Tensor:
    """Return the logits that a decoder with no row in use gives after every token but the first; its row is free again.

    The tokens are those of one row; a step takes ``rows`` of them.
    """
    decoder.prefill({0: tuple(tokens[:1])})
    found = []
    try:
        for count, token in enumerate(tokens[1:]):
            state = torch.zeros((3, rows), dtype=torch.long, device=decoder.device)
            state[:, 0] = torch.tensor([token, 1 + count, count], device=decoder.device)
            found.append(decoder.step(state[0], state[1], state[2])[0])
    finally:
        decoder.release(0)
    return torch.stack(found)
