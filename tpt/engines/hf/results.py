"""What engines on transformers' models give back: completions, and what they are made on."""

from __future__ import annotations

from typing import Any

import numpy
import torch
import transformers
from transformers import PreTrainedModel

from tpt.engines import Completion, Request
from tpt.engines.hf.sampling import BROKEN
from tpt.engines.stops import ended_by_text
from tpt.errors import EngineError
from tpt.model.chat import Chat
from tpt.records import FinishReason
from tpt.system.memory import peak_bytes


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
    if stopped := ended_by_text(request, token_ids, chat.decode):
        return stopped
    reason: FinishReason = "stop" if token_ids[-1] in chat.stop_ids else "length"
    return Completion(request.id, token_ids, chat.decode(token_ids), reason)


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
