"""Opens the in-process engine: our own decoder where it knows a model's architecture, else transformers' ``generate``.

Which one it is, is not looked up but tried: on a small relative of the model, with a text longer than its windows of
attention, and then on the model's own weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from tpt.config import EngineConfig
from tpt.engines import Engine
from tpt.engines.hf.engine import HFEngine
from tpt.engines.hf.fixed_decoder import FixedDecoder
from tpt.engines.hf.forward_check import check_forward, decoded, foreign_explained
from tpt.engines.hf.generate_engine import GenerateEngine
from tpt.engines.hf.grouped_attention import use_grouped_attention
from tpt.engines.hf.int8 import Int8Weights, use_int8
from tpt.engines.hf.packed import pack_weights
from tpt.errors import EngineError, ForeignModelError
from tpt.model.chat import Chat
from tpt.model.load import load_model
from tpt.model.tiny import tiny_model

_RELATIVE_TOKENS = 32
"""Of a small relative: more than its windows of attention, so that what counts in them otherwise is seen."""
_ROWS = 8
_ERRORS = 40
"""The level of messages."""
_Made = TypeVar("_Made")


def open_hf(spec: str, chat: Chat, settings: EngineConfig, *, max_length: int, cache: Path | None) -> Engine:
    """Load a model and return an engine on it.

    ``max_length`` is that of prompt and completion together; ``cache`` keeps GGUF models dequantised.
    """
    model = load_model(spec, dtype=settings.dtype, device=settings.device, cache=cache)
    int8 = use_int8(model) if settings.weights == "int8" else None
    if int8 is None:
        pack_weights(model)
    return engine_on(model, chat, settings, max_length=max_length, int8=int8)


def engine_on(
    model: PreTrainedModel, chat: Chat, settings: EngineConfig, *, max_length: int, int8: Int8Weights | None = None
) -> Engine:
    """Return our own decoder's engine on a model, or ``generate``'s where that does not know the architecture.

    ``int8`` is what ``use_int8`` did to the model.

    Raises:
        EngineError: neither gives the model's own logits, or only ``generate`` would, of a model in int8.
    """
    reason = why_foreign(model.config)
    if not reason:
        try:
            return with_known_attention(
                model, lambda: HFEngine(model, chat, settings, max_length=max_length, int8=int8)
            )
        except ForeignModelError as error:
            reason = str(error)
    if int8 is not None:
        raise EngineError(
            f'weights = "int8" is for our own decoder, which does not serve this {model.config.model_type!r} model ({reason}): '
            'set weights = "full"'
        )
    return GenerateEngine(model, chat, settings, max_length=max_length, reason=reason)


def why_foreign(config: PreTrainedConfig) -> str:
    """Return why our own decoder cannot decode a small relative of a model; empty where it can, or where there is none."""
    model = tiny_model(config, small_text=True)
    if model is None:
        return ""
    try:
        with_known_attention(model, lambda: _check_relative(model))
    except ForeignModelError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def _unwarned() -> Iterator[None]:
    """Keep it to us that a model has no other attention than its own: trying is how we find out."""
    before = logging.get_verbosity()
    logging.set_verbosity(_ERRORS)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _check_relative(model: PreTrainedModel) -> None:
    decoder = FixedDecoder(model, slots=_ROWS, max_length=_RELATIVE_TOKENS)
    check_forward(model, _RELATIVE_TOKENS, lambda tokens: decoded(decoder, tokens, rows=_ROWS))


def with_known_attention(model: PreTrainedModel, make: Callable[[], _Made]) -> _Made:
    """Return what is made of a model with the attention that is best on its device, or else with its own.

    Raises:
        ForeignModelError: it can be made with neither; the model has its own attention again.
    """
    own = str(model.config.get_text_config()._attn_implementation)
    if model.device.type == "cpu":
        with contextlib.suppress(ForeignModelError), foreign_explained(model), _unwarned():
            use_grouped_attention(model)
            return make()
        with _unwarned():
            model.set_attn_implementation(own)
    with foreign_explained(model):
        return make()
