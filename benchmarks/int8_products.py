"""Which int8 matrix product is the fastest, and what rounding does to a model: the measurements behind docs/results/int8.md.

    python benchmarks/int8_products.py layers [--rows 8,32,128,256] [--model smollm2|qwen]
    python benchmarks/int8_products.py logits [--model SPEC] [--dtype bfloat16]

``layers``: microseconds of processor time of one thread for the matrices of a layer, each of several layers with weights of
its own, candidates in a new order each time, medians. ``logits``: KL from float32 on six GSM8K test questions with their
solutions (TPT_DATA), by one scale a row (``tpt.engines.hf.int8``) and by one scale a batch (torch's dynamic quantisation).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from think_arms import GSM8K, SMOLLM2
from torch import Tensor
from torch.nn.functional import linear

from tpt.engines.hf.int8 import Int8Linear, use_int8
from tpt.model.load import load_model, load_tokenizer

SHAPES = {
    "smollm2": (12, [(576, 576), (192, 576), (192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]),
    "qwen": (4, [(896, 896), (128, 896), (128, 896), (896, 896), (4864, 896), (4864, 896), (896, 4864)]),
}
"""Layers, and the matrices of each, ``(outputs, inputs)``."""
REPEATS = 7
Product = Callable[[Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    layers = tasks.add_parser("layers")
    layers.add_argument("--rows", default="8,32,128,256")
    layers.add_argument("--model", choices=list(SHAPES), default="smollm2")
    layers.set_defaults(act=compare_layers)
    logits = tasks.add_parser("logits")
    logits.add_argument("--model", default=SMOLLM2)
    logits.add_argument("--dtype", default="bfloat16")
    logits.set_defaults(act=compare_logits)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.inference_mode():
        arguments.act(arguments)


def compare_layers(arguments: argparse.Namespace) -> None:
    count, shapes = SHAPES[arguments.model]
    weights = [torch.randn(shape) * 0.02 for _ in range(count) for shape in shapes]
    table = {name: (dtype, [make(each) for each in weights]) for name, dtype, make in CANDIDATES}
    print("| rows | " + " | ".join(table) + " |")
    for rows in map(int, arguments.rows.split(",")):
        given = {width: torch.randn(rows, width) for _, width in shapes}
        seconds: dict[str, list[float]] = {name: [] for name in table}
        for _ in range(1 + REPEATS):
            for name in random.sample(list(table), len(table)):
                dtype, products = table[name]
                inputs = [given[weight.shape[1]].to(dtype) for weight in weights]
                started = time.process_time()
                for product, each in zip(products, inputs, strict=True):
                    product(each)
                seconds[name].append((time.process_time() - started) / count)
        cells = [f"{1e6 * statistics.median(each[1:]):,.0f}" for each in seconds.values()]
        print(f"| {rows} | " + " | ".join(cells) + " |", flush=True)


def full(dtype: torch.dtype) -> Callable[[Tensor], Product]:
    def make(weight: Tensor) -> Product:
        held = weight.to(dtype)
        return lambda rows: linear(rows, held)

    return make


def by_row(weight: Tensor) -> Product:
    layer = torch.nn.Linear(*reversed(weight.shape), bias=False)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    return Int8Linear(layer, 127)


def int_mm(weight: Tensor) -> Product:
    """torch._int_mm with rows rounded by torch's operators."""
    scales = weight.abs().amax(1) / 127
    numbers = (weight / scales[:, None]).round().to(torch.int8).t()

    def product(rows: Tensor) -> Tensor:
        own = rows.abs().amax(1, keepdim=True).mul_(1 / 127)
        return torch._int_mm((rows / own).round_().to(torch.int8), numbers) * own * scales

    return product


def by_batch(engine: str) -> Callable[[Tensor], Product]:
    """torch's dynamic quantisation: one scale for all rows."""

    def make(weight: Tensor) -> Product:
        torch.backends.quantized.engine = engine
        scales = weight.abs().amax(1).double() / 127
        noughts = torch.zeros(len(scales), dtype=torch.long)
        packed = torch.ops.quantized.linear_prepack(
            torch.quantize_per_channel(weight, scales, noughts, 0, torch.qint8), None
        )
        return lambda rows: torch.ops.quantized.linear_dynamic(rows, packed)  # type: ignore[no-any-return]

    return make


CANDIDATES: list[tuple[str, torch.dtype, Callable[[Tensor], Product]]] = [
    ("float32", torch.float32, full(torch.float32)),
    ("bfloat16", torch.bfloat16, full(torch.bfloat16)),
    ("Int8Linear, bfloat16", torch.bfloat16, by_row),
    ("Int8Linear, float32", torch.float32, by_row),
    ("_int_mm", torch.float32, int_mm),
    ("linear_dynamic, fbgemm", torch.float32, by_batch("fbgemm")),
    ("linear_dynamic, onednn", torch.float32, by_batch("onednn")),
]


class ByBatch(torch.nn.Module):
    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self._product, self._bias = by_batch("x86")(layer.weight.float()), layer.bias

    def forward(self, rows: Tensor) -> Tensor:
        out = self._product(rows.float()).to(rows.dtype)
        return out if self._bias is None else out + self._bias


def compare_logits(arguments: argparse.Namespace) -> None:
    if not GSM8K.is_file():
        raise SystemExit(f"{GSM8K} is not there: set TPT_DATA")
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        tokenizer = load_tokenizer(arguments.model, cache=cache)
        rows = map(json.loads, GSM8K.read_text(encoding="utf-8").splitlines()[:6])
        texts = [tokenizer(f"{row['question']}\n{row['answer']}")["input_ids"] for row in rows]

        def log_probabilities(change: Callable[[torch.nn.Module], object], dtype: str) -> Tensor:
            model = load_model(arguments.model, dtype=dtype, device="cpu", cache=cache)
            change(model)
            found = [model(torch.tensor([text]), use_cache=False).logits[0].float() for text in texts]
            return torch.cat(found).log_softmax(-1)

        exact = log_probabilities(lambda model: None, "float32")
        changes = {"full": lambda model: None, "one scale a row": use_int8, "one scale a batch": use_one_scale}
        for name, change in changes.items():
            other = log_probabilities(change, arguments.dtype)  # type: ignore[arg-type]
            kl = (exact.exp() * (exact - other)).sum(-1)
            same = (exact.argmax(-1) == other.argmax(-1)).float().mean()
            print(
                f"{name}, {arguments.dtype}: KL {kl.mean():.4f} nats a token, the likeliest token the same in {same:.1%}"
            )


def use_one_scale(model: torch.nn.Module) -> None:
    for name, module in list(model.named_modules()):
        if type(module) is torch.nn.Linear:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, ByBatch(module))


if __name__ == "__main__":
    main()
