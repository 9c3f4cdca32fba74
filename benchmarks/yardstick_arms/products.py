"""The matrix products that tpt's engine cannot do without, and nothing else; the second argument is ``engine.weights``."""

from __future__ import annotations

import sys
from itertools import takewhile
from typing import Any

import torch
from serving import Prompts, Sample, serve

from tpt.engines.hf.int8 import Int8Linear, use_int8
from tpt.engines.hf.packed import PackedLinear, pack_weights
from tpt.model.load import load_model

PREFILLED = 1024
"""Tokens of prompts that are computed together."""


def open_engine(job: dict[str, Any]) -> tuple[Sample, list[str]]:
    torch.set_num_threads(job["threads"])
    model = load_model(job["model"], dtype=job["dtype"], device="cpu")
    if sys.argv[2] == "int8":
        use_int8(model)
    else:
        pack_weights(model)
    head = model.get_output_embeddings()
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear | PackedLinear | Int8Linear)]

    def multiply(rows: int, *, with_head: bool) -> None:
        given = {width: torch.randn(rows, width, dtype=model.dtype) for width in {each.in_features for each in layers}}
        for layer in layers:
            if with_head or layer is not head:
                layer(given[layer.in_features])

    @torch.inference_mode()
    def sample(prompts: Prompts, tokens: int) -> int:
        shared = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False)))
        left = shared + sum(len(prompt) - shared for prompt in prompts)
        while left > 0:
            multiply(min(left, PREFILLED), with_head=False)
            left -= PREFILLED
        rows = job["samples"] * len(prompts)
        for _ in range(tokens):
            multiply(rows, with_head=True)
        return rows * tokens

    return sample, ["torch"]


if __name__ == "__main__":
    serve(open_engine)
