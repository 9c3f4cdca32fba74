"""Which number format a CPU is fast in, and how much slower it is in one that it has no instructions for."""

from __future__ import annotations

import time

import torch
from transformers import PreTrainedConfig

from tpt.model.shape import inner_width_of, width_of

_BFLOAT16_FROM_HIDDEN_SIZE = 512
"""From here on a CPU with instructions for bfloat16 is faster in it; below, casting costs more."""
_ROWS = 128
_WIDEST, _WIDEST_INNER = 1024, 4096
_REPEATS = 5
_TOLD_FROM = 1.5
"""Times float32's seconds."""


def gains_by_bfloat16(hidden_size: int) -> bool:
    """Return whether this CPU has instructions for bfloat16 and a model is large enough to gain by them."""
    return has_bfloat16() and hidden_size >= _BFLOAT16_FROM_HIDDEN_SIZE


def has_bfloat16() -> bool:
    """Return whether this CPU has instructions for products in bfloat16."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def emulation_text(config: PreTrainedConfig, options: list[str]) -> str:
    """Return what bfloat16 costs here where it was asked for and is far slower than float32; empty where it is not.

    A product of the model's own width is timed in both, for a fraction of a second.

    ``options``: the keys that ask for it.
    """
    if not options:
        return ""
    factor = bfloat16_factor(width_of(config), inner_width_of(config))
    if factor < _TOLD_FROM:
        return ""
    keys = " and ".join(options)
    return (
        f'{keys} = "bfloat16", which this processor emulates: a matrix product takes {factor:.1f} times as long as in '
        f'float32 (just measured). Set {keys} to "auto"'
    )


def bfloat16_factor(width: int, inner: int) -> float:
    """Return how many times as long a matrix product takes in bfloat16 as in float32, on this CPU with torch's threads."""
    return product_flops("float32", width, inner) / product_flops("bfloat16", width, inner)


def product_flops(dtype: str, width: int, inner: int) -> float:
    """Return the operations a second of a matrix product in a number format, on this CPU with torch's threads."""
    numbers = getattr(torch, dtype)
    given = torch.ones(_ROWS, min(width, _WIDEST) or _WIDEST, dtype=numbers)
    weight = torch.ones(min(inner, _WIDEST_INNER) or _WIDEST_INNER, given.shape[1], dtype=numbers)
    times = []
    for _ in range(1 + _REPEATS):
        started = time.perf_counter()
        torch.nn.functional.linear(given, weight)
        times.append(time.perf_counter() - started)
    return 2 * len(given) * weight.numel() / min(times[1:])
