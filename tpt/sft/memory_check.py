"""Whether a training fits: refused before anything is loaded where it does not, with the changes that would make it fit."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal

import torch
from transformers import PreTrainedConfig

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.sft.distributed import ranks
from tpt.sft.memory import GIB, MemoryEstimate, Plan, Shape, estimate, shape_of
from tpt.sft.rows import Row
from tpt.system.memory import available_bytes

_USABLE = 0.9
"""Share of the free memory that an estimate may take."""
_CPU = torch.device("cpu")
_LOGIT_SCALES = ("logit_scale", "logits_scaling")
"""What configs call a factor on the logits; a head that has one computes them itself, whole."""


def check_memory(
    architecture: PreTrainedConfig,
    rows: Sequence[Row],
    config: TrainConfig,
    *,
    device: torch.device,
    precision: Literal["float32", "bfloat16"],
) -> dict[str, int | None]:
    """Refuse a training that would not fit, and return its estimate in MiB, part by part, for one device.

    A tenth of what is free is left alone: measured peaks lie up to that much above the estimate. ``available`` in what
    is returned is that share; it is None, and nothing was checked, where the system does not say what is free.

    Raises:
        TrainError: It does not fit; the message says what would.
    """
    size = min(config.micro_batch_size, len(rows))
    batch = Plan(
        micro_batch_size=size,
        length=max(len(row.input_ids) for row in rows),
        precision=precision,
        device="cuda" if device.type == "cuda" else "cpu",
        targets=sum(heapq.nlargest(size, (row.targets for row in rows))),
    )
    shape, plan = shape_of(architecture), as_configured(batch, architecture, config)
    own = ranks()
    # Processes without a GPU of their own share the machine's memory.
    available = _usable(device, share=own.local_world if device.type == "cpu" else 1)
    if plan.devices > 1 and own.is_first:
        check_host(shape, plan, config, available=_usable(_CPU), together=own.local_world)
    found = fit_report(shape, plan, available=available)
    parts = {field.name: getattr(found, field.name) for field in fields(found)} | {"total": found.total}
    told: dict[str, int | None] = {name: round(size / 2**20) for name, size in parts.items() if size}
    return told | {"available": None if available is None else available // 2**20}


def as_configured(batch: Plan, architecture: PreTrainedConfig, config: TrainConfig) -> Plan:
    """Return a plan of some batch with all that the config and the model's architecture decide."""
    text: Any = architecture.get_text_config()
    return replace(
        batch,
        method=config.method,
        optimizer="adamw_8bit" if config.optimizer in ("adamw_8bit", "paged_adamw_8bit") else "adamw",
        gradient_checkpointing=config.gradient_checkpointing,
        rank=config.lora_rank,
        devices=max(1, config.devices) if config.strategy == "fsdp2" else 1,
        whole_logits=any(getattr(text, name, None) not in (None, 1) for name in _LOGIT_SCALES),
        eager_attention=getattr(text, "attn_logit_softcapping", None) is not None,
    )


def _usable(device: torch.device, *, share: int = 1) -> int | None:
    free = available_bytes(device)
    return None if free is None else int(_USABLE * free) // share


def check_host(
    shape: Shape, plan: Plan, config: TrainConfig, *, available: int | None, together: int | None = None
) -> None:
    """Refuse a sharded training whose whole copies of the model overfill the machine's memory.

    The first process alone has the model whole: loaded, before each process gets its share, and again to save it, when
    it holds besides what it is compared with, added to or mixed with. On CPUs the shares are in the same memory, those
    of ``together`` processes that are on one machine, or of all.

    Raises:
        TrainError: They do; ``available`` bytes are too few. None: that is not known.
    """
    copies = 1 if config.method != "full" and config.adapter == "keep" else 2
    copies += 1 if config.interpolate else 0
    found = estimate(shape, plan)
    share = found.weights + found.gradients + found.optimizer if plan.device == "cpu" else 0
    needed = copies * 4 * shape.parameters + (together or plan.devices) * share
    if available is not None and needed > available:
        raise TrainError(
            f"loading the model and saving it again would need about {needed / GIB:.0f} GiB of the machine's memory, "
            f"4 bytes a weight in each of {copies} whole copies, and there are {available / GIB:.0f} GiB. "
            "Use a smaller model, or a machine with more memory"
        )


def fit_report(shape: Shape, plan: Plan, *, available: int | None) -> MemoryEstimate:
    """Return a plan's estimate; TrainError, with the changes that would make it fit, when it is above ``available``.

    Where ``available`` is None nothing is known to be too much.
    """
    found = estimate(shape, plan)
    if available is None or found.total <= available:
        return found
    fitting = []
    for said, changed in _alternatives(plan):
        needed = estimate(shape, changed).total
        if needed <= available:
            fitting.append(f"  {said}: {needed / GIB:.1f} GiB")
            if changed.devices > plan.devices:
                break
    hint = (
        "These would fit:\n" + "\n".join(fitting)
        if fitting
        else "Nothing short of a smaller model or more memory would fit here"
    )
    raise TrainError(
        f"training would need about {found.total / GIB:.1f} GiB a device, and there are {available / GIB:.1f} GiB "
        f"({plan.device}): {found.table()}. {hint}"
    )


def _alternatives(plan: Plan) -> list[tuple[str, Plan]]:
    """Return changes that need less, the least harmful first; each goes on top of those before it."""
    found: list[tuple[str, Plan]] = []
    small, said = plan, ""
    if plan.micro_batch_size > 1:
        one_row = None if plan.targets is None else min(plan.length, plan.targets)
        small, said = replace(small, micro_batch_size=1, targets=one_row), "train.micro_batch_size = 1"
        found.append((said, small))
    if not plan.gradient_checkpointing:
        small = replace(small, gradient_checkpointing=True)
        said = f"{said}, train.gradient_checkpointing = true".removeprefix(", ")
        found.append((said, small))
    more: tuple[int, ...] = (2, 4, 8, 16, 32, 64) if plan.device == "cuda" else ()
    for method in ("lora", "qlora"):
        if plan.method == "full" or (plan.method in ("lora", "dora") and method == "qlora"):
            found.append((f'{said}, train.method = "{method}"'.removeprefix(", "), replace(small, method=method)))
    for devices in more:
        if devices > plan.devices:
            sharding = f'train.devices = {devices}, train.strategy = "fsdp2"'
            found.append((f"{said}, {sharding}".removeprefix(", "), replace(small, devices=devices)))
    return found
