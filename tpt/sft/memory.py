"""How much memory a fine-tuning step will need, told from the model's config before anything is loaded.

Counted is the peak of a step from the second on, when the optimizer's states are there and the gradients of earlier
micro batches are kept while the next one is computed. Activations are those that the model families of transformers
keep for the backward pass: the float32 residual stream and its norms, the inputs of every projection, what attention
and the gated MLP keep.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.model.shape import head_size_of, heads_of, inner_width_of, width_of
from tpt.sft.target_loss import TILE

Method = Literal["full", "lora", "dora", "qlora"]
Optimizer = Literal["adamw", "adamw_8bit", "adafactor", "sgd"]

GIB = 2**30
_STATE_BYTES: dict[str, float] = {"adamw": 8, "adamw_8bit": 2.1, "adafactor": 0.1, "sgd": 0}
"""Bytes of optimizer state a trained weight."""
_NF4_BYTES = 4.127 / 8
"""A 4-bit weight with its share of the doubly quantised block scales (QLoRA, arXiv 2305.14314, section 3)."""
_RUNTIME = {"cpu": 500 * 2**20, "cuda": 700 * 2**20}
"""The process and its libraries on a CPU; the CUDA context and its libraries' workspaces on a GPU."""


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
    capped: bool
    """Whether its logits are softcapped."""

    @property
    def projected(self) -> int:
        """Weights in linear layers, the output projection left out."""
        return sum(inputs * outputs for inputs, outputs in self.projections)


_DEFAULTS = TrainConfig()


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is to be trained."""

    micro_batch_size: int
    """Rows a device computes at once."""
    length: int
    """Tokens of the longest row."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the multiplications; trained weights are float32 always."""
    method: Method = _DEFAULTS.method
    optimizer: Optimizer = "adamw"
    gradient_checkpointing: bool = _DEFAULTS.gradient_checkpointing
    rank: int = 16
    """Of the adapters, on every projection."""
    devices: int = 1
    """Over which weights, gradients and optimizer states are sharded."""
    device: Literal["cpu", "cuda"] = "cuda"
    targets: int | None = None
    """Trained tokens of a micro batch, which alone are projected to the vocabulary; None: all of them."""
    whole_logits: bool = False
    """The model computes its logits itself, as those do that scale them."""
    eager_attention: bool = False
    """Attention that keeps its whole matrix, as softcapped attention does."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on one device at the peak of a step."""

    weights: int
    compute_copy: int
    """Weights in bfloat16 that autocast keeps through a micro batch, or gathered layers of a sharded model."""
    gradients: int
    optimizer: int
    activations: int
    head: int
    """Of the output projection, a tile of logits and its gradient; or of the last layer's backward pass, if that is more."""
    snapshot: int
    """An adapter before training, kept to say what changed; in host memory, so counted on a CPU alone."""
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
    """Return a model's shape from its config alone; nothing is allocated.

    Raises:
        TrainError: the config does not say what the estimates need.
    """
    try:
        return _shape_of(config)
    except AttributeError as error:
        raise TrainError(
            f"a {config.model_type!r} model's config does not say what training needs to know: {error}. Take a model of "
            "another family"
        ) from error


def _shape_of(config: PreTrainedConfig) -> Shape:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    head = model.get_output_embeddings()
    linears = [each for each in model.modules() if isinstance(each, nn.Linear | Conv1D) and each is not head]
    text = config.get_text_config()
    heads = heads_of(config)
    return Shape(
        parameters=sum(weight.numel() for weight in model.parameters()),
        head_parameters=head.weight.numel(),
        projections=tuple(_sides(each) for each in linears),
        layers=int(text.num_hidden_layers),
        hidden=width_of(config),
        intermediate=inner_width_of(config),
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_size=head_size_of(config),
        vocabulary=int(text.vocab_size),
        capped=getattr(text, "final_logit_softcapping", None) is not None,
    )


def _sides(layer: nn.Linear | Conv1D) -> tuple[int, int]:
    """Return a layer's inputs and outputs; GPT-2's layers keep their weights the other way round."""
    rows, columns = layer.weight.shape
    return (columns, rows) if isinstance(layer, nn.Linear) else (rows, columns)


def estimate(shape: Shape, plan: Plan) -> MemoryEstimate:
    """Return the memory that a plan needs on one device."""
    is_full = plan.method == "full"
    adapters = sum(plan.rank * (inputs + outputs) for inputs, outputs in shape.projections)
    trained = shape.parameters if is_full else adapters
    return MemoryEstimate(
        weights=_weights(shape, plan, adapters) // plan.devices,
        compute_copy=_compute_copy(shape, plan),
        gradients=4 * trained // plan.devices,
        optimizer=int(_STATE_BYTES[plan.optimizer] * trained) // plan.devices,
        activations=_activations(shape, plan),
        head=_head_or_layer(shape, plan),
        snapshot=4 * adapters if plan.device == "cpu" and not is_full else 0,
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
        return _width(plan) * (2 * layer + shape.head_parameters)
    if plan.method == "qlora":
        return _width(plan) * layer
    if plan.method == "full" and plan.precision == "bfloat16":
        # Autocast keeps them through the forward pass, also those of checkpointed layers.
        return 2 * shape.projected
    return 0


def _activations(shape: Shape, plan: Plan) -> int:
    """Return what is kept from the forward pass of a micro batch."""
    tokens = plan.micro_batch_size * plan.length
    # The last norm keeps two tensors more.
    ends = 2 * 4 * shape.hidden * tokens
    if plan.gradient_checkpointing:
        return shape.layers * _stream_width(plan) * shape.hidden * tokens + ends
    return shape.layers * _layer(shape, plan) + ends


def _stream_width(plan: Plan) -> int:
    """Return the bytes of a number that flows between layers: autocast leaves it in the type of the embedding."""
    return 4 if plan.method == "full" else _width(plan)


def _layer(shape: Shape, plan: Plan) -> int:
    """Return what one layer keeps for the backward pass."""
    width, tokens = _width(plan), plan.micro_batch_size * plan.length
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    attention = width * (2 * queries + 2 * keys)
    gated = width * 4 * shape.intermediate
    if plan.method == "full":
        # Two norms keep what came in and what they normalised, both in float32.
        norms = 2 * 2 * 4 * shape.hidden
        # Autocast rounds the input of each of the five projections that read a norm anew; without it two tensors serve all.
        inputs = 5 * 2 * shape.hidden if width == 2 else 2 * 4 * shape.hidden
    else:
        # A frozen norm keeps what came in alone, and a frozen projection nothing. An adapter keeps what it reads, which
        # is rounded anew for each, and what its first half makes of it.
        norms = 2 * 4 * shape.hidden
        inputs = 2 * (5 * shape.hidden + queries) if width == 2 else 2 * 4 * shape.hidden
        inputs += width * plan.rank * len(shape.projections) // shape.layers
    whole = plan.micro_batch_size * shape.heads * plan.length**2 * (4 + 2 * width) if plan.eager_attention else 0
    return tokens * (norms + inputs + attention + gated) + whole


def _head_or_layer(shape: Shape, plan: Plan) -> int:
    """Return what comes on top of all activations: the head's two passes, or the last layer's backward pass.

    In the latter the head's gradient waits for the embedding's, and a checkpointed layer is computed anew; the gradients
    of what the gated MLP keeps are there at once.
    """
    tokens = plan.micro_batch_size * plan.length
    waiting = 4 * shape.head_parameters if plan.method == "full" else 0
    layer = waiting + 3 * _width(plan) * shape.intermediate * tokens
    if plan.gradient_checkpointing:
        layer += _layer(shape, plan)
    return max(_head(shape, plan), layer)


def _head(shape: Shape, plan: Plan) -> int:
    """Return what the output projection takes in the larger of its two passes.

    In the forward pass a tile's float32 logits and what logsumexp makes of them are alive, later its slopes and their
    product, which is the weight's gradient by this tile. In the backward pass that gradient is scaled, so it is there
    twice.
    """
    rounded, rounds = _width(plan), plan.precision == "bfloat16"
    tokens = plan.micro_batch_size * plan.length
    targets = min(tokens, tokens if plan.targets is None else plan.targets)
    trained = shape.head_parameters if plan.method == "full" else 0
    if plan.whole_logits:
        return tokens * shape.vocabulary * (rounded + 3 * 4) + 4 * trained
    tile = min(targets, max(1, TILE // shape.vocabulary)) * shape.vocabulary
    # The third is how much the cap flattens.
    losses = tile * 4 * (3 if shape.capped else 2)
    # Added to a float32 sum, what is in bfloat16 is copied to float32 first, on CPUs.
    product = trained * (rounded + (4 if rounds and plan.device == "cpu" else 0))
    # Under an adapter the weight is in the products' precision already, unless it is sharded.
    copied = rounded * shape.head_parameters if rounds and (trained or plan.devices > 1) else 0
    forward = 4 * trained + copied + max(losses, tile * rounded + product)
    # The states that predict a target and their gradient, in float32 or as picked, rounded and rounded.
    return max(forward, 8 * trained) + 8 * targets * shape.hidden


def _width(plan: Plan) -> int:
    """Return the bytes of a number in the products' precision."""
    return 2 if plan.precision == "bfloat16" else 4
