"""Low-rank adapters: what is trained when the weights themselves stay as they are.

An adapter adds ``scale * B @ A`` to a layer's weights, with A and B of small rank (LoRA, arXiv 2106.09685). DoRA
(arXiv 2402.09353) trains the length of each row of the sum besides. QLoRA (arXiv 2305.14314) keeps the weights
beneath in 4 bits. A and B are float32 always, whatever the weights are in.
"""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.model.adapter_folder import CONFIG
from tpt.model.chat import Chat
from tpt.model.same_logits import difference, logits_of
from tpt.sft.checkpoint import Change, Tally, save_folder, set_stops
from tpt.system.child_python import is_installed

WEIGHTS = "adapter_model.safetensors"

_PREFIX = "base_model.model."
"""What PEFT puts before the names of weights in an adapter's file."""
_NAME = "default"


def check_method(config: TrainConfig) -> None:
    """Refuse a method that needs what is not here.

    Raises:
        TrainError: a package is missing.
    """
    if config.method == "full":
        return
    if not is_installed("peft"):
        raise TrainError(f'train.method = "{config.method}" needs the package peft: pip install peft')
    if config.method == "qlora" and not is_installed("bitsandbytes"):
        raise TrainError(
            'train.method = "qlora" needs the package bitsandbytes: pip install bitsandbytes, or set it to "lora"'
        )


def add_adapter(model: PreTrainedModel, config: TrainConfig, *, seed: int) -> None:
    """Put a new adapter on a model, in place; it changes nothing before it is trained.

    Raises:
        TrainError: no layer is meant by ``config.lora_targets``.
    """
    from peft import LoraConfig

    targets = config.lora_targets
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets if targets == "all-linear" else [name.strip() for name in targets.split(",")],
        use_dora=config.method == "dora",
        bias="none",
        task_type="CAUSAL_LM",
    )
    # A is drawn by chance; the draw depends on the seed alone, and the process's own random numbers stay as they are.
    with torch.random.fork_rng(_cuda_devices(model)), warnings.catch_warnings():
        # What may go wrong with tied embeddings and experts is refused below.
        warnings.simplefilter("ignore")
        torch.manual_seed(seed % 2**63)
        try:
            model.add_adapter(settings, _NAME)
        except ValueError as error:
            raise TrainError(f"train.lora_targets = {targets!r}: {str(error).strip().split(chr(10))[0]}") from error
    _set_up(model, targets)


def add_saved_adapter(model: PreTrainedModel, folder: Path, config: TrainConfig) -> None:
    """Put the adapter of an earlier round on its base model, in place, to be trained on.

    Raises:
        TrainError: the config asks for another kind of adapter.
    """
    from peft import LoraConfig

    saved = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    has = {"lora_rank": saved["r"], "lora_alpha": saved["lora_alpha"], "dora": saved.get("use_dora", False)}
    wanted = {"lora_rank": config.lora_rank, "lora_alpha": config.lora_alpha, "dora": config.method == "dora"}
    if has != wanted:
        raise TrainError(
            f"{folder}: an adapter with {_listed(has)} cannot be trained on with {_listed(wanted)}. Put the settings "
            'back, or set train.adapter = "merge" or train.start_from = "base"'
        )
    settings = LoraConfig.from_pretrained(str(folder))
    settings.lora_dropout, settings.inference_mode = config.lora_dropout, False
    model.add_adapter(settings, _NAME)
    load_adapter_state(model, folder)
    _set_up(model, config.lora_targets)


def load_adapter_state(model: PreTrainedModel, folder: Path) -> None:
    """Set a model's adapter to the weights in a folder.

    Raises:
        TrainError: they are of another adapter.
    """
    from peft import set_peft_model_state_dict

    state = {name.removeprefix(_PREFIX): weight for name, weight in load_file(folder / WEIGHTS).items()}
    result: Any = set_peft_model_state_dict(model, state, adapter_name=_NAME)
    missing = [name for name in result.missing_keys if "lora_" in name]
    if missing or result.unexpected_keys:
        raise TrainError(f"{folder}: the adapter does not fit the model: {[*missing, *result.unexpected_keys][0]!r}")


def has_adapter(model: PreTrainedModel) -> bool:
    """Return whether there is an adapter on a model."""
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def adapter_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a copy of the adapter's weights, on the CPU."""
    return {
        name: weight.detach().to("cpu", copy=True) for name, weight in model.named_parameters() if weight.requires_grad
    }


@torch.no_grad()
def compare_adapted(before: dict[str, Tensor], model: PreTrainedModel, whole: PreTrainedModel | None = None) -> Change:
    """Return what changed since ``adapter_state`` in the weights that a model has with its adapter, in float32.

    Nothing is merged and no copy of the model is made: layer after layer is computed with the adapter before and after.

    ``whole`` is the same model in float32, without adapter, for what was rounded to train an adapter on it.

    Raises:
        TrainError: not one weight changed.
    """
    tally = Tally()
    adapted = dict(_adapted_layers(model))
    for name, layer in adapted.items():
        weight = _float32_weight(layer) if whole is None else whole.get_parameter(f"{name}.weight").to(_device(layer))
        new = _merged_weight(layer, weight)
        with _swapped(layer, name, before):
            old = _merged_weight(layer, weight)
        tally.add(old, new)
    own = {f"{name}.{part}" for name in adapted for part in ("base_layer.weight", "weight")}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad and name not in own:
            tally.add_unchanged(parameter)
    return tally.change()


@torch.no_grad()
def shrink(model: PreTrainedModel, share: float) -> None:
    """Take a share of the adapter's effect away, which mixes the model with its base; not for DoRA."""
    for _, layer in _adapted_layers(model):
        second = layer.lora_B[_NAME].weight if _NAME in layer.lora_B else layer.lora_embedding_B[_NAME]
        second.mul_(1 - share)


def merge(model: PreTrainedModel, adapted: PreTrainedModel, token_ids: Sequence[int]) -> None:
    """Add the adapter of ``adapted`` to the weights of ``model``, its base model in float32, in place.

    Raises:
        TrainError: after ``token_ids`` the merged model has other logits than the adapter on top of it.
    """
    model.add_adapter(adapted.peft_config[_NAME], _NAME)
    state = {name: weight for name, weight in adapted.state_dict().items() if "lora_" in name}
    model.load_state_dict(state, strict=False)
    expected = logits_of(model, token_ids)
    merge_in_place(model)
    if wrong := difference(logits_of(model, token_ids), expected):
        raise TrainError(
            f"the adapter merged into its base model gives other logits than on top of it, {wrong}: the checkpoint would "
            'not be what was trained. Set train.adapter = "keep", or train.lora_targets to other layers'
        )


@torch.no_grad()
def merge_in_place(model: PreTrainedModel) -> None:
    """Add a model's adapter to its weights and take the adapter off."""
    for name, layer in list(_adapted_layers(model)):
        layer.merge(safe_merge=False, adapter_names=[_NAME])
        model.set_submodule(name, layer.get_base_layer())
    model._hf_peft_config_loaded = False
    del model.peft_config


def save_adapter(model: PreTrainedModel, chat: Chat, out: Path, *, base: str) -> None:
    """Write the adapter, the tokenizer and how it stops to the folder ``out``, replacing a checkpoint that is there.

    ``base`` is how its config names the model that it belongs to. The folder appears complete or not at all.

    Raises:
        TrainError: ``out`` holds something else than a checkpoint.
    """

    def write(folder: Path) -> None:
        set_stops(model, chat)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting `save_embedding_layers`")
            model.save_pretrained(folder)
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        settings |= {"base_model_name_or_path": base, "inference_mode": True}
        (folder / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        chat.tokenizer.save_pretrained(folder)

    save_folder(write, out)


def _set_up(model: PreTrainedModel, targets: str) -> None:
    _refuse_unmergeable(model, targets)
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name)
        if weight.requires_grad:
            weight.data = weight.data.float()


def _refuse_unmergeable(model: PreTrainedModel, targets: str) -> None:
    """Refuse an adapter on no single weight, or on one that two layers share: merged it would change both, on top of it one.

    Raises:
        TrainError: there is one.
    """
    places: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.nn.Parameter):
            places[id(weight)].append(name.removesuffix(".base_layer"))
    for name, layer in _adapted_layers(model):
        weight = getattr(layer.get_base_layer(), "weight", None)
        if weight is None:
            raise TrainError(
                f"train.lora_targets = {targets!r} puts an adapter on {name}, which holds the weights of several experts and "
                'cannot be merged. Name other layers, such as train.lora_targets = "q_proj,k_proj,v_proj,o_proj"'
            )
        # The wrapper passes its base layer's weight on, so both have the name.
        shared = sorted(set(places[id(weight)]) - {name})
        if shared:
            raise TrainError(
                f"train.lora_targets puts an adapter on {name}, whose weights are those of {shared[0]} too (tied "
                "embeddings): merged into them it would change both. Leave it out of train.lora_targets"
            )


def _adapted_layers(model: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def _float32_weight(layer: Any) -> Tensor:
    weight = layer.get_base_layer().weight
    if type(weight).__name__ == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, weight.quant_state)
    plain: Tensor = weight.detach().float()
    return plain


def _device(layer: Any) -> torch.device:
    device: torch.device = layer.get_base_layer().weight.device
    return device


def _merged_weight(layer: Any, weight: Tensor) -> Tensor:
    """Return a layer's weight with its adapter; the sum's rows have the lengths that DoRA learned, where it did."""
    merged: Tensor = weight + layer.get_delta_weight(_NAME).float()
    if layer.use_dora[_NAME]:
        merged *= (layer.lora_magnitude_vector[_NAME].weight / merged.norm(dim=1))[:, None]
    return merged


@contextmanager
def _swapped(layer: Any, name: str, state: dict[str, Tensor]) -> Iterator[None]:
    """Have a layer's adapter hold other weights for a while."""
    own = {part: weight.data for part, weight in layer.named_parameters() if f"{name}.{part}" in state}
    for part, weight in layer.named_parameters():
        if part in own:
            weight.data = state[f"{name}.{part}"].to(weight.device)
    try:
        yield
    finally:
        for part, weight in layer.named_parameters():
            if part in own:
                weight.data = own[part]


def _cuda_devices(model: PreTrainedModel) -> list[int]:
    return [model.device.index or 0] if model.device.type == "cuda" else []


def _listed(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items())
