"""A start-up check that the decoder gives a model's own logits: what it cannot decode is said before anything is sampled.

An encoder that reads ahead, keys and values of another shape, positions counted otherwise: whatever an architecture does that the
decoder does not know ends in another number here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel

from tpt.engines.hf.decoder import RowDecoder
from tpt.errors import EngineError
from tpt.system.memory import is_out_of_memory

_TOKENS = 5
_LARGEST_ERROR = 0.1
"""Of the logits' spread: rounding in bfloat16 makes about a hundredth of it, another model far more."""


_ADVICE = 'Take a decoder-only model of another family, or engine.name = "vllm" or "server", if they serve it'


@contextmanager
def foreign_explained(model: PreTrainedModel) -> Iterator[None]:
    """Turn whatever an architecture that the decoder does not know raises into one sentence, an EngineError."""
    try:
        yield
    except (EngineError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise EngineError(
            f'engine.name = "hf" cannot decode {model.config.model_type!r} models: {type(error).__name__}: '
            f"{str(error).strip():.200}. {_ADVICE}"
        ) from error


@torch.inference_mode()
def check_forward(model: PreTrainedModel, decoder: RowDecoder, *, rows: int, max_length: int) -> None:
    """Decode a few tokens and hold the logits against the model's plain forward pass; the row is free afterwards.

    Args:
        model: What the decoder is of.
        decoder: With no row in use.
        rows: How many rows a step takes.
        max_length: Most tokens of a row.

    Raises:
        EngineError: its logits are not the model's.
    """
    name, length = model.config.model_type, min(_TOKENS, max_length)
    tokens = [(index + 1) * decoder.vocabulary // (length + 1) for index in range(length)]
    expected = model(input_ids=torch.tensor([tokens], device=decoder.device), use_cache=False).logits[0].float()
    if not bool(expected.isfinite().all()):
        return  # a damaged model, which the engine says of the first request
    try:
        found = _decoded(decoder, tokens, rows).float()
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            return  # the engine takes fewer rows then, and checks again
        raise
    spread = float(expected.std())
    wrong = float((found - expected[1:]).abs().mean())
    if not wrong <= _LARGEST_ERROR * spread:
        raise EngineError(
            f'engine.name = "hf" decodes this {name!r} model wrongly: its logits are off by {wrong:.3g} on average, with a '
            f"spread of {spread:.3g}. Is it an encoder, which reads ahead? {_ADVICE}"
        )


def _decoded(decoder: RowDecoder, tokens: list[int], rows: int) -> torch.Tensor:
    """Return the logits after every token but the first, ``[tokens - 1, vocabulary]``."""
    decoder.prefill({0: tuple(tokens[:1])})
    found = []
    try:
        for count, token in enumerate(tokens[1:]):
            state = torch.zeros((3, rows), dtype=torch.long, device=decoder.device)
            state[:, 0] = torch.tensor([token, count + 1, count], device=decoder.device)
            found.append(decoder.step(state[0], state[1], state[2])[0])
    finally:
        decoder.release(0)
    return torch.stack(found)
