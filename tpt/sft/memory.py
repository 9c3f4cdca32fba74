"""How much memory a fine-tuning step will need, told from the model's config before anything is loaded.

Counted is the peak of a step from the second on, when the optimizer's states are there and the gradients of earlier
micro batches are kept while the next one is computed. Activations are those that the model families of transformers
keep for the backward pass: the float32 residual stream and its norms, the inputs of every projection, what attention
and the gated MLP keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.models import load_config
from tpt.sft.rows import Row

Method = Literal["full", "lora", "dora", "qlora"]
Optimizer = Literal["adamw", "adamw_8bit", "adafactor", "sgd"]

GIB = 2**30
_STATE_BYTES: dict[str, float] = {"adamw": 8, "adamw_8bit": 2.1, "adafactor": 0.1, "sgd": 0}
"""Bytes of optimizer state a trained weight."""
_NF4_BYTES = 4.127 / 8
"""A 4-bit weight with its share of the doubly quantised block scales (QLoRA, arXiv 2305.14314, section 3)."""
_RUNTIME = {"cpu": 500 * 2**20, "cuda": 700 * 2**20}
"""The process and its libraries on a CPU; the CUDA context and its libraries' workspaces on a GPU."""
_USABLE = 0.9
"""Share of the free memory that an estimate may take."""
_TILE = (4096, 32768)
"""Tokens x vocabulary of the tile in which TRL's language-model head computes log-probabilities."""
_TILE_COPIES = 7
"""float32 tiles alive at once where the head's gradient is computed by torch, without its kernel for GPUs."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model decides how much memory it takes."""

    parameters: int
    """Tied weights count once."""
    head_parameters: int
    """Of the output projection, which is the embedding where they are tied."""
    projections: tuple[tuple[int, int], ...]
    """(inputs, outputs) of every linear layer but the output projection."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int

    @property
    def projected(self) -> int:
        """Weights in linear layers, the output projection left out."""
        return sum(inputs * outputs for inputs, outputs in self.projections)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is to be trained."""

    micro_batch_size: int
    """Rows a device computes at once."""
    length: int
    """Tokens of the longest row."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the multiplications; trained weights are float32 always."""
    method: Method = "full"
    optimizer: Optimizer = "adamw"
    gradient_checkpointing: bool = False
    rank: int = 16
    """Of the adapters, on every projection."""
    devices: int = 1
    """Over which weights, gradients and optimizer states are sharded."""
    device: Literal["cpu", "cuda"] = "cuda"
    whole_logits: bool = False
    """The loss needs all logits at once, as other losses than TRL's own do."""
    eager_attention: bool = False
    """Attention that keeps its whole matrix, as softcapped attention does."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on one device at the peak of a step."""

    weights: int
    compute_copy: int
    """Weights in bfloat16 that autocast keeps through a micro batch, or one gathered layer of a sharded model."""
    gradients: int
    optimizer: int
    activations: int
    logits: int
    """The head's tiles or whole logits, and its gradient before it is added to the others."""
    snapshot: int
    """The weights before training, kept to say what changed; in host memory, so counted on a CPU alone."""
    runtime: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))

    def table(self) -> str:
        """Return the parts that are not nothing, in GiB, on one line."""
        parts = {field.name.replace("_", " "): getattr(self, field.name) for field in fields(self)}
        return ", ".join(f"{name} {size / GIB:.1f}" for name, size in parts.items() if size)


def shape_of(config: PreTrainedConfig) -> Shape:
    """Return a model's shape from its config alone; nothing is allocated."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    head = model.get_output_embeddings()
    linears = [each for each in model.modules() if isinstance(each, nn.Linear) and each is not head]
    text = config.get_text_config()
    heads = int(text.num_attention_heads)
    return Shape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        head_parameters=head.weight.numel(),
        projections=tuple((each.in_features, each.out_features) for each in linears),
        layers=int(text.num_hidden_layers),
        hidden=int(text.hidden_size),
        intermediate=int(text.intermediate_size),
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_size=int(getattr(text, "head_dim", None) or text.hidden_size // heads),
        vocabulary=int(text.vocab_size),
    )


def estimate(shape: Shape, plan: Plan) -> Estimate:
    """Return the memory that a plan needs on one device."""
    is_full = plan.method == "full"
    adapters = sum(plan.rank * (inputs + outputs) for inputs, outputs in shape.projections)
    trained = shape.parameters if is_full else adapters
    return Estimate(
        weights=_weights(shape, plan, adapters) // plan.devices,
        compute_copy=_compute_copy(shape, plan),
        gradients=4 * trained // plan.devices,
        optimizer=int(_STATE_BYTES[plan.optimizer] * trained) // plan.devices,
        activations=_activations(shape, plan),
        logits=_logits(shape, plan),
        snapshot=4 * trained if plan.device == "cpu" else 0,
        runtime=_RUNTIME[plan.device],
    )


def _weights(shape: Shape, plan: Plan, adapters: int) -> int:
    if plan.method == "full":
        return 4 * shape.parameters
    # What is sharded together has one type, that of the adapters.
    frozen = 2 if plan.precision == "bfloat16" and plan.devices == 1 else 4
    if plan.method == "qlora":
        packed = int(_NF4_BYTES * shape.projected)
        return packed + frozen * (shape.parameters - shape.projected) + 4 * adapters
    return frozen * shape.parameters + 4 * adapters


def _compute_copy(shape: Shape, plan: Plan) -> int:
    layer = shape.projected // shape.layers
    if plan.devices > 1:
        # The layer at work and the one fetched ahead are whole on every device, and so is the embedding.
        width = 2 if plan.precision == "bfloat16" else 4
        return width * (2 * layer + shape.head_parameters)
    if plan.method == "qlora":
        return (2 if plan.precision == "bfloat16" else 4) * layer
    if plan.method == "full" and plan.precision == "bfloat16":
        # A checkpointed layer is computed anew, and its copies are made anew.
        return 2 * (shape.projected if not plan.gradient_checkpointing else 2 * layer)
    return 0


def _activations(shape: Shape, plan: Plan) -> int:
    tokens = plan.micro_batch_size * plan.length
    one_layer = _layer_bytes(shape, plan) * tokens
    if plan.eager_attention:
        width = 2 if plan.precision == "bfloat16" else 4
        one_layer += plan.micro_batch_size * shape.heads * plan.length**2 * (4 + 2 * width)
    # The last norm keeps two tensors more.
    ends = 2 * 4 * shape.hidden * tokens
    if plan.gradient_checkpointing:
        return shape.layers * 4 * shape.hidden * tokens + 2 * one_layer + ends
    return shape.layers * one_layer + ends


def _layer_bytes(shape: Shape, plan: Plan) -> int:
    """Return what one layer keeps of one token for the backward pass."""
    width = 2 if plan.precision == "bfloat16" else 4
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    # Two norms keep what came in and what they normalised, both in float32.
    norms = 2 * 2 * 4 * shape.hidden
    # Autocast rounds the input of each of the five projections that read a norm anew; without it two tensors serve all.
    inputs = 5 * 2 * shape.hidden if width == 2 else 2 * 4 * shape.hidden
    attention = width * (2 * queries + 2 * keys)
    gated = width * 4 * shape.intermediate
    adapted = 0
    if plan.method != "full":
        # An adapter reads its input in its own float32, besides what the frozen projection reads.
        adapted = 4 * (2 * shape.hidden + queries + shape.intermediate) if width == 2 else 0
    return norms + inputs + attention + gated + adapted


def _logits(shape: Shape, plan: Plan) -> int:
    width = 2 if plan.precision == "bfloat16" else 4
    tokens = plan.micro_batch_size * plan.length
    # The head's own gradient, before it is added to the embedding's.
    gradient = 4 * shape.head_parameters if plan.method == "full" else 0
    if plan.whole_logits:
        return tokens * shape.vocabulary * (width + 3 * 4) + gradient
    tile = min(tokens, _TILE[0]) * min(shape.vocabulary, _TILE[1])
    copies = 4 * _TILE_COPIES if plan.device == "cpu" else 0
    # The buffer always has the tile's full width.
    return min(tokens, _TILE[0]) * _TILE[1] * width + tile * copies + 4 * tokens * shape.hidden + gradient


def check_fits(model: str, plan: Plan, *, available: int | None = None) -> Estimate:
    """Estimate a plan's memory for a model spec and refuse it when there is not as much.

    Args:
        model: as for ``tpt.models.load_model``; only its config is read.
        plan: How it is to be trained.
        available: Bytes; None for what the plan's device has free now.

    Raises:
        TrainError: It does not fit; the message says what would.
    """
    return fit_report(
        shape_of(load_config(model)), plan, available=available_bytes(plan.device) if available is None else available
    )


def check_memory(
    architecture: PreTrainedConfig,
    rows: Sequence[Row],
    config: TrainConfig,
    *,
    device: torch.device,
    precision: Literal["float32", "bfloat16"],
) -> dict[str, int]:
    """Refuse a training that would not fit, and return its estimate in MiB, part by part, for one device.

    A tenth of what is free is left alone: measured peaks lie up to that much above the estimate.

    Raises:
        TrainError: It does not fit; the message says what would.
    """
    world = max(1, config.devices)
    kind: Literal["cpu", "cuda"] = "cuda" if device.type == "cuda" else "cpu"
    plan = Plan(
        micro_batch_size=min(config.micro_batch_size, len(rows)),
        length=max(len(row.input_ids) for row in rows),
        precision=precision,
        method=config.method,
        optimizer="adamw_8bit" if config.optimizer in ("adamw_8bit", "paged_adamw_8bit") else "adamw",
        gradient_checkpointing=config.gradient_checkpointing,
        rank=config.lora_rank,
        devices=world if config.strategy == "fsdp2" else 1,
        device=kind,
        eager_attention=getattr(architecture.get_text_config(), "attn_logit_softcapping", None) is not None,
    )
    # Processes without a GPU of their own share the machine's memory.
    free = available_bytes(kind) // (world if kind == "cpu" else 1)
    shape = shape_of(architecture)
    if kind == "cuda" and plan.devices > 1:
        _check_loading(shape, plan, available=int(_USABLE * available_bytes("cpu")))
    found = fit_report(shape, plan, available=int(_USABLE * free))
    parts = {field.name: getattr(found, field.name) for field in fields(found)} | {"total": found.total}
    return {name: round(size / 2**20) for name, size in parts.items() if size}


def _check_loading(shape: Shape, plan: Plan, *, available: int) -> None:
    """Refuse a sharded training whose processes, each with the whole model until it is sharded, overfill the host."""
    needed = plan.devices * 4 * shape.parameters
    if needed > available:
        raise TrainError(
            f"loading the model in {plan.devices} processes would need about {needed / GIB:.0f} GiB of the machine's memory, "
            f"4 bytes a weight in each, and there are {available / GIB:.0f} GiB. Lower train.devices, or use a smaller model"
        )


def fit_report(shape: Shape, plan: Plan, *, available: int) -> Estimate:
    """Return a plan's estimate; TrainError, with the changes that would make it fit, when it is above ``available``."""
    found = estimate(shape, plan)
    if found.total <= available:
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
        small, said = replace(small, micro_batch_size=1), "train.micro_batch_size = 1"
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


def available_bytes(device: str) -> int:
    """Return the memory that is free now: of the CUDA device, or of this machine within its control group's limit."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    free = int(meminfo["MemAvailable"].split()[0]) * 1024
    return min([free, *_group_limits(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))])


def _group_limits(root: Path, membership: Path) -> list[int]:
    """Return what this process's control groups, and those above them, leave free."""
    if not membership.is_file():
        return []
    found = []
    for line in membership.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        names = (
            ("memory.max", "memory.current") if not controllers else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        if controllers and "memory" not in controllers.split(","):
            continue
        place = root / ("memory" if controllers else "") / path.lstrip("/")
        for folder in (place, *place.parents):
            limit, used = (folder / name for name in names)
            if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
                found.append(max(0, int(text) - int(used.read_text())))
            if folder == root:
                break
    return found
