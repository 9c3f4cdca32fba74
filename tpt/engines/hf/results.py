"""What engines on transformers' models give back: completions, and what they are made on."""

from __future__ import annotations

from typing import Any

import numpy
import torch
import transformers
from transformers import PreTrainedModel

from tpt.engines import Completion, Request
from tpt.engines.hf.sampling import BROKEN
from tpt.engines.stops import sampled_completion
from tpt.errors import EngineError
from tpt.model.chat import Chat
from tpt.system.memory import is_out_of_memory, peak_bytes


def reply_to(request: Request, token_ids: tuple[int, ...], chat: Chat) -> Completion:
    """Return what a request's sampled tokens come to.

    Raises:
        EngineError: the last token's logits were not finite.
    """
    if token_ids[-1] == BROKEN:
        raise EngineError(
            f"problem {request.id[0]!r}, sample {request.id[1]}: the logits for token {len(token_ids)} are not "
            "finite; the model's weights are damaged, or they overflow in this dtype (try engine.dtype = 'float32')"
        )
    return sampled_completion(request, token_ids, chat.decode, chat.stop_ids)


def require_fewer_rows(error: RuntimeError | MemoryError, rows: int) -> None:
    """Raise an error again unless memory ran out and fewer rows can be tried.

    Raises:
        EngineError: there is a single row.
    """
    if not is_out_of_memory(error):
        raise error
    if rows == 1:
        raise EngineError(
            f"memory ran out with a single completion in flight: {error}. Take a smaller model, "
            "engine.dtype = 'bfloat16', or shorter completions"
        ) from error


def made_on(model: PreTrainedModel, chat: Chat) -> dict[str, Any]:
    """Return versions, model, device, memory and template, for the stage manifest."""
    return {
        "engine": "hf",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "model_type": model.config.model_type,
        "attention": str(model.config.get_text_config()._attn_implementation),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "device_name": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": peak_bytes(model.device),
        "chat_template": chat.template_name,
        "chat_fingerprint": chat.fingerprint(),
        "stop_ids": sorted(chat.stop_ids),
    }


def stops_of(chat: Chat, vocabulary: int, device: torch.device) -> torch.Tensor:
    """Return which tokens end a completion, ``[vocabulary]``."""
    stops = torch.zeros(vocabulary, dtype=torch.bool, device=device)
    stops[[token for token in chat.stop_ids if token < vocabulary]] = True
    return stops
