"""GEM: cross-entropy that stops pulling once the answer is likely enough, so that other ways keep some weight.

Objective: at every token the gradient by the logits z is softmax(z / BETA) - one-hot, cross-entropy's being softmax(z) -
one-hot: that of BETA times the cross-entropy of the logits over BETA, so it vanishes when the sharpened model is sure, which
the model itself is not yet. GEM (arXiv 2408.16673) with its linear h; the form as a temperature is derived here. The last
norm's weight is divided by BETA while training, which needs a model whose logits follow it (Llama, Qwen; not Gemma).

    [train]
    trainer = "gem.py:train"
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tpt.model.load import load_model, load_tokenizer
from tpt.train import Training

BETA = 0.7


def train(training: Training) -> dict[str, Any]:
    start, out = training.start, training.out
    scaled(start.model, out / "sharp", 1 / BETA, cache=start.cache)
    plain = training.config.model_copy(update={"trainer": ""})
    sharp = replace(start, model=str(out / "sharp"))
    counts = replace(training, config=plain, start=sharp, out=out / "trained")(None)
    scaled(str(out / "trained"), out, BETA, cache=start.cache)
    return {name: counts[name] for name in ("loss_first", "loss_last", "target_tokens", "total_tokens")}


@torch.no_grad()
def scaled(spec: str, out: Path, factor: float, *, cache: Path | None) -> None:
    """Save a model with its logits times a factor."""
    model: Any = load_model(spec, dtype="float32", device="cpu", cache=cache)
    before = model(torch.tensor([[1, 2, 3]])).logits
    model.base_model.norm.weight.mul_(factor)
    if not torch.allclose(model(torch.tensor([[1, 2, 3]])).logits, factor * before, rtol=1e-3, atol=1e-4):
        raise ValueError(f"{spec}: its logits do not follow its last norm's weight; gem.py cannot train it")
    model.save_pretrained(out)
    load_tokenizer(spec, cache=cache).save_pretrained(out)
