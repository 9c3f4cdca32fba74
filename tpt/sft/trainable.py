"""The model of one training, from its start to the checkpoint, for every method and on several devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import AutoModelForCausalLM, PreTrainedModel

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.model.adapter_folder import base_to_name, find_adapter
from tpt.model.chat import Chat, open_chat
from tpt.model.load import load_architecture, load_model, load_quantised
from tpt.model.same_logits import difference, logits_of
from tpt.sft.adapters import adapter_state, add_adapter, add_saved_adapter, compare_adapted, merge, save_adapter, shrink
from tpt.sft.checkpoint import Change, compare, interpolate, save_checkpoint, snapshot
from tpt.sft.distributed import ranks
from tpt.sft.recorder import Precision
from tpt.sft.rows import Row
from tpt.system.memory import give_back_large_blocks


@dataclass(slots=True)
class Trainee:
    """A model to train, and what is needed to say what training changed in it."""

    model: PreTrainedModel
    config: TrainConfig
    start: str
    """Spec of the model that training starts from."""
    under: str
    """Spec of the weights that an adapter is on; for all other methods the start model."""
    cache: Path | None
    seed: int
    before: dict[str, Tensor]
    """What will be trained, as it was; empty where it can be loaded again."""


def open_trainee(
    start: str, config: TrainConfig, *, device: torch.device, precision: Precision, cache: Path | None, seed: int
) -> Trainee:
    """Load the start model and make ready what the method trains.

    Weights that are trained are float32; those under an adapter have the precision of the multiplications, which
    rounds them in any case, or 4 bits.

    Raises:
        ModelError: the model cannot be loaded.
        TrainError: the adapter to go on with is of another kind than the config asks for.
    """
    give_back_large_blocks()
    sharded = _is_sharded(config)
    # Sharding moves every layer to the device by itself; the whole might not fit there.
    where = torch.device("cpu") if sharded else device
    adapter = find_adapter(start) if config.method != "full" and config.adapter == "keep" else None
    under = adapter.base if adapter else start
    if config.method == "qlora":
        model = load_quantised(under, compute=getattr(torch, precision), device=where, cache=cache)
    else:
        # What is sharded together must have one type.
        frozen = "float32" if config.method == "full" or sharded else precision
        if sharded and not ranks().is_first:
            model = _without_weights(under, cache)
        else:
            model = load_model(under, dtype=frozen, device=where.type, cache=cache)
    trainee = Trainee(model, config, start, under, cache, seed, before={})
    if config.method == "full":
        return trainee
    _put_adapter(model, trainee)
    trainee.before = adapter_state(model)
    return trainee


def _without_weights(spec: str, cache: Path | None) -> PreTrainedModel:
    """Return a model whose weights are not set: it takes addresses, and no memory until somebody writes to them.

    They are not on the meta device, as accelerate knows a weight again by its address when it shards the optimizer.
    """
    with init_empty_weights():
        built: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            load_architecture(spec, cache=cache), dtype=torch.float32
        )
    built.tie_weights()
    for parameter in list(built.parameters()):
        empty = torch.nn.Parameter(torch.empty_like(parameter, device="cpu"))
        torch.utils.swap_tensors(parameter, empty)  # type: ignore[no-untyped-call]
    model: PreTrainedModel = built.eval()
    return model


def gather(trainee: Trainee) -> None:
    """Have the first process hold the whole trained model again, where it was sharded; a matter of all processes."""
    sharded = trainee.model
    if not isinstance(sharded, FSDPModule):
        return
    only_adapter = trainee.config.method != "full"
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=only_adapter)
    whole = get_model_state_dict(sharded, options=options)
    if not ranks().is_first:
        return
    model = load_model(trainee.under, dtype="float32", device="cpu", cache=trainee.cache)
    if not only_adapter:
        model.load_state_dict(whole, assign=True)
        model.tie_weights()
    else:
        _put_adapter(model, trainee)
        model.load_state_dict(whole, strict=False)
    trainee.model = model


def finish(trainee: Trainee, chat: Chat, out: Path, *, base: str | None, row: Row) -> Change:
    """Write the trained model's checkpoint and return how far training moved it.

    The trainee is as ``fit`` and ``gather`` left it. ``base``: spec of the base model for ``config.interpolate``; None:
    it is the start model. On ``row`` an adapter must give the same logits before and after it is merged.

    Raises:
        TrainError: training changed nothing, ``out`` is no checkpoint, or the adapter cannot be merged.
    """
    config, model = trainee.config, trainee.model
    if config.method == "full":
        # A copy of the weights kept through training would be a seventh of its memory.
        model.zero_grad(set_to_none=True)
        trainee.before = trainee.before or _weights_of(trainee.start, trainee.cache)
        change = compare(trainee.before, model)
        _mix(model, trainee, base=base)
        save_checkpoint(model, chat, out)
        return change
    if config.adapter == "keep":
        change = compare_adapted(trainee.before, model)
        if config.interpolate:
            shrink(model, config.interpolate)
        save_adapter(model, chat, out, base=base_to_name(trainee.under, out))
        return change
    whole = load_model(trainee.under, dtype="float32", device="cpu", cache=trainee.cache)
    change = compare_adapted(trainee.before, model, whole)
    if config.interpolate and base is None:
        trainee.before = snapshot(whole)
    merge(whole, model, row.input_ids)
    _mix(whole, trainee, base=base)
    save_checkpoint(whole, chat, out)
    trainee.model = whole
    return change


def check_saved(trainee: Trainee, chat: Chat, out: Path, row: Row) -> None:
    """Read a checkpoint again and refuse one that is not what was trained.

    The trainee is as ``finish`` left it; logits are compared on ``row``.

    Raises:
        TrainError: it gives other logits, or its tokenizer other tokens.
        ModelError: it cannot be read.
    """
    again = open_chat(chat.prompt, str(out), trainee.cache)
    if again.fingerprint() != chat.fingerprint():
        raise TrainError(
            f"{out}: read again, the saved tokenizer has another chat template or other tokens that end a completion"
        )
    if trainee.config.adapter == "keep" and trainee.config.method == "qlora":
        return  # the weights beneath are in 4 bits while training, and whole when they are read again
    saved = load_model(str(out), dtype="float32", device=trainee.model.device.type, cache=trainee.cache)
    largest = 0.1 if trainee.model.dtype != torch.float32 else 1e-3
    if wrong := difference(logits_of(saved, row.input_ids), logits_of(trainee.model, row.input_ids), largest=largest):
        raise TrainError(
            f"{out}: read again, the checkpoint gives other logits than the model that was trained, {wrong}"
        )


def _mix(model: PreTrainedModel, trainee: Trainee, *, base: str | None) -> None:
    weight = trainee.config.interpolate
    if weight:
        other = trainee.before
        if base is not None:
            other = _weights_of(base, trainee.cache)
        interpolate(model, other, weight)


def _weights_of(spec: str, cache: Path | None) -> dict[str, torch.Tensor]:
    model = load_model(spec, dtype="float32", device="cpu", cache=cache)
    return {name: weight.detach() for name, weight in model.named_parameters()}


def _put_adapter(model: PreTrainedModel, trainee: Trainee) -> None:
    if trainee.under == trainee.start:
        add_adapter(model, trainee.config, seed=trainee.seed)
    else:
        add_saved_adapter(model, Path(trainee.start), trainee.config)


def _is_sharded(config: TrainConfig) -> bool:
    return ranks().world > 1 and config.strategy == "fsdp2"
