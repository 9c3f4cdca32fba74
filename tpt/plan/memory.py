"""Whether every stage fits: weights, keys and values while sampling; what training needs, by its own estimate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tpt.errors import TrainError
from tpt.plan.hardware import GIB, Hardware
from tpt.plan.work import LOGIT_BYTES, Work

_RUNTIME = {"cpu": 500 * 2**20, "cuda": 1024 * 2**20}
"""The process and its libraries; on a GPU its context and the engine's workspaces."""
_USABLE = 0.9
"""Share of a device's memory that a plan may take: an estimate may be a tenth too low."""
_PROBE_BYTES = int(1.5 * GIB)
"""Probabilities of two models that the probe of an evaluation holds."""


class FreeMemory(NamedTuple):
    """Memory of one device that sampling and training may take, in bytes."""

    sampling: float
    training: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What a stage needs on one device, at most."""

    stage: Literal["think", "train", "evaluate"]
    needed: int
    """Bytes."""
    available: int
    devices: int
    """Over which it is spread."""
    fits: bool
    parts: str
    """What it is made of, in GiB."""
    instead: str
    """What would fit; empty where it does."""


def memory_of(hardware: Hardware, work: Work) -> FreeMemory:
    """Return the memory of one device that may be taken."""
    if hardware.gpu is None:
        import torch

        from tpt.system.memory import available_bytes

        known = available_bytes(torch.device("cpu"))
        free = math.inf if known is None else _USABLE * known
        return FreeMemory(free, free / max(1, work.config.train.devices))
    whole = hardware.gpu.memory * 1e9
    share = work.config.engine.gpu_memory_utilization if work.engine == "vllm" else _USABLE
    return FreeMemory(share * whole, _USABLE * whole)


def free_for_slots(work: Work, free_memory: FreeMemory, *, width: int, on_gpu: bool) -> float:
    """Return what sampling leaves for keys and values on all of its devices together."""
    devices = work.config.engine.tensor_parallel_size
    taken = _weight_bytes(work, width, on_gpu) / devices + _RUNTIME["cuda" if on_gpu else "cpu"]
    return max(0.0, (free_memory.sampling - taken) * devices)


def sampling_fit(
    work: Work, stage: Literal["think", "evaluate"], free_memory: FreeMemory, *, slots: int, width: int, on_gpu: bool
) -> Fit:
    """Return what sampling needs with so many slots; vLLM takes fewer at a time where they do not fit."""
    settings = work.config.engine
    devices = settings.tensor_parallel_size if work.engine == "vllm" else 1
    weights = _weight_bytes(work, width, on_gpu) / devices
    keys = slots * work.length(stage) * work.cost(width).kv_bytes / devices
    logits = LOGIT_BYTES * slots * work.shape.vocabulary
    needed = int(weights + keys + logits + _RUNTIME["cpu"])
    parts = f"weights {weights / GIB:.1f}, keys and values {keys / GIB:.1f} ({slots} slots), logits {logits / GIB:.1f}"
    if stage == "evaluate" and work.config.evaluate.probe:
        # Two whole models on one device, after the engine has gone.
        probe = int(2 * work.shape.parameters * width + _PROBE_BYTES)
        if probe > needed:
            needed, parts = probe, f"the probe's two models {2 * work.shape.parameters * width / GIB:.1f}, logits 1.5"
    fits = needed <= free_memory.sampling
    hint = "" if fits else _sampling_hint(work, stage, free_memory, weights=weights, width=width)
    return Fit(stage, needed, int(free_memory.sampling), devices, fits, parts, hint)


def _weight_bytes(work: Work, width: int, on_gpu: bool) -> int:
    """Return the bytes of weights while sampling: on a CPU an output projection that is tied has a copy, packed."""
    tied = bool(getattr(work.architecture.get_text_config(), "tie_word_embeddings", False))
    copied = work.shape.head_parameters if tied and not on_gpu else 0
    return (work.shape.parameters + copied) * width


def _sampling_hint(work: Work, stage: str, free_memory: FreeMemory, *, weights: float, width: int) -> str:
    """Return the changes that would make sampling fit."""
    settings, whole = work.config.engine, work.shape.parameters * width
    found = []
    if stage == "evaluate" and 2 * whole + _PROBE_BYTES > free_memory.sampling > weights:
        found.append("evaluate.probe = 0")
    if weights + _RUNTIME["cuda"] > free_memory.sampling:
        spread = [
            n for n in (2, 4, 8, 16) if n > settings.tensor_parallel_size and whole / n < 0.8 * free_memory.sampling
        ]
        if width == 4:
            found.append('engine.dtype = "bfloat16"')
        if spread:
            found.append(f'engine.name = "vllm" and engine.tensor_parallel_size = {spread[0]} ({spread[0]} devices)')
        found.append("a smaller model")
    elif not found:
        found.append("fewer engine.slots, or shorter completions (max_tokens)")
    return "; or ".join(found)


def training_fit(
    work: Work, free_memory: FreeMemory, completion: int, *, precision: Literal["float32", "bfloat16"], on_gpu: bool
) -> Fit:
    """Return what training needs where the longest completion trained on has so many tokens."""
    from tpt.sft.memory import Plan, estimate
    from tpt.sft.memory_check import as_configured, fit_report

    config = work.config.train
    length = min(work.train.longest + completion, config.max_length)
    batch = Plan(
        micro_batch_size=config.micro_batch_size,
        length=length,
        precision=precision,
        device="cuda" if on_gpu else "cpu",
        targets=config.micro_batch_size * min(completion, length),
    )
    plan = as_configured(batch, work.architecture, config)
    found = estimate(work.shape, plan)
    available = int(free_memory.training)
    hint = ""
    try:
        fit_report(work.shape, plan, available=available)
    except TrainError as error:
        # The message begins with the numbers that the plan shows already.
        _, would, rest = str(error).partition("These would fit")
        hint = would + rest if would else "a smaller model, or more memory"
    return Fit("train", found.total, available, plan.devices, not hint, found.table(), hint)
