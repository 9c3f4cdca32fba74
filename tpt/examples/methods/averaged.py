"""The mean of the weights that the rounds so far ended with, instead of the last ones.

Objective: none of its own; averaging keeps more of the earlier models' variety (WiSE-FT, arXiv 2109.01903, over rounds). The
start model is itself such a mean, so a round's weights count half as much every round: an exponential average.

    [train]
    trainer = "averaged.py:train"
"""

from dataclasses import replace
from typing import Any

import torch

from tpt.model.load import load_model, load_tokenizer
from tpt.train import Training


@torch.no_grad()
def train(training: Training) -> dict[str, Any]:
    plain = training.config.model_copy(update={"trainer": ""})
    with torch.enable_grad():
        counts = replace(training, config=plain, out=training.out / "trained")(None)
    start = training.start.model
    model = load_model(str(training.out / "trained"), dtype="float32", device="cpu")
    before = load_model(start, dtype="float32", device="cpu", cache=training.start.cache).state_dict()
    for name, weights in model.state_dict().items():
        weights.lerp_(before[name].to(weights.dtype), 0.5)
    model.save_pretrained(training.out)
    load_tokenizer(start, cache=training.start.cache).save_pretrained(training.out)
    return {"loss_first": counts["loss_first"], "loss_last": counts["loss_last"]}
