"""Train: examples in, a checkpoint out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from tpt.chat import Chat, PromptTemplate
from tpt.config import TrainConfig
from tpt.records import Example, Problem


def train(
    examples: Sequence[Example],
    problems: Mapping[str, Problem],
    *,
    config: TrainConfig,
    prompt: PromptTemplate,
    model: str,
    out: Path,
    seed: int,
    progress: Callable[[int, int, float], None] | None = None,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Fine-tune ``model`` on the examples, write the checkpoint ``out``, and return what there is to say about it.

    ``progress`` is called after each optimizer step with (step, steps, loss). ``cache`` keeps a GGUF start model
    dequantised for the next round that starts from it.

    Raises:
        TrainError: the examples must not be trained on, or training changed nothing; ``out`` is then untouched.
        ModelError: the start model cannot be loaded.
    """
    from tpt import sft
    from tpt.models import load_model, load_tokenizer

    clock = _Clock()
    chat = Chat(load_tokenizer(model, cache=cache), prompt)
    encoded = sft.encode(examples, problems, chat, max_length=config.max_length)
    clock.lap("encode_s")
    weights = load_model(model, dtype="float32", cache=cache)
    before = sft.snapshot(weights)
    clock.lap("load_s")
    log = sft.fit(weights, chat.tokenizer, encoded.rows, config=config, seed=seed, progress=progress)
    clock.lap("fit_s")
    change = sft.compare(before, weights)
    clock.lap("compare_s")
    sft.save_checkpoint(weights, chat, out)
    clock.lap("save_s")
    tenth = max(1, log.steps // 10)
    return {
        "examples": len(encoded.rows),
        "dropped_too_long": encoded.dropped,
        "prompts_checked": encoded.prompts_checked,
        "longest_tokens": max(len(row.input_ids) for row in encoded.rows),
        "template": chat.template_name,
        "steps": log.steps,
        "loss_first": round(fmean(log.losses[:tenth]), 5),
        "loss_last": round(fmean(log.losses[-tenth:]), 5),
        "losses": log.losses,
        "grad_norms": log.grad_norms,
        "target_tokens": log.target_tokens,
        "total_tokens": log.total_tokens,
        "padding_share": round(log.padding_tokens / (log.padding_tokens + log.total_tokens), 4),
        **{
            name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in asdict(change).items()
        },
        "precision": log.precision,
        "saved_dtype": "float32",
        "device": str(weights.device),
        "peak_memory_mb": sft.peak_memory_mb(weights.device),
        "times": clock.laps,
    }


class _Clock:
    """Splits the wall time."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
