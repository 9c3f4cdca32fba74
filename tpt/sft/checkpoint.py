"""A trained model on disk, all of it or nothing, and what training changed in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from tpt.errors import TrainError
from tpt.model.adapter_folder import CONFIG as ADAPTER_CONFIG
from tpt.model.chat import Chat
from tpt.system.folders import beside, take_place


@dataclass(frozen=True, slots=True)
class Change:
    """How far training moved the weights."""

    parameters: int
    """Tied weights count once."""
    changed_share: float
    """Share of the weights with other bits than before."""
    changed_share_bfloat16: float
    """Share that still differs once both are rounded to bfloat16: what an engine in bfloat16 sees of the training."""
    mean_relative_change: float
    """Sum of the changes' sizes over sum of the weights' sizes."""
    mean_relative_change_bfloat16: float
    """The same, once both are rounded to bfloat16.

    Weights out of a 4-bit file often lie halfway between two bfloat16 numbers, where the least update flips the
    rounding: bfloat16 then sees a step many times as large as the one that was taken.
    """


def snapshot(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a copy of the weights, on the CPU; tied weights are in it once."""
    return {name: weight.detach().to("cpu", copy=True) for name, weight in model.named_parameters()}


def compare(before: dict[str, Tensor], model: PreTrainedModel) -> Change:
    """Return what changed since the snapshot.

    Raises:
        TrainError: not one weight changed.
    """
    tally = Tally()
    for name, weight in model.named_parameters():
        tally.add(before[name], weight.detach().to("cpu"))
    return tally.change()


class Tally:
    """Counts changes, one tensor after the other."""

    def __init__(self) -> None:
        self._parameters = self._changed = self._changed_rounded = 0
        self._moved = self._moved_rounded = self._size = 0.0

    def add(self, old: Tensor, new: Tensor) -> None:
        """Count a tensor before and after, both in float32."""
        self._changed += int((old.view(torch.int32) != new.view(torch.int32)).sum())
        rounded = new.bfloat16().float() - old.bfloat16().float()
        self._changed_rounded += int(rounded.count_nonzero())
        self._moved_rounded += float(rounded.abs().sum(dtype=torch.float64))
        self._moved += float((new - old).abs().sum(dtype=torch.float64))
        self.add_unchanged(old)

    def add_unchanged(self, weight: Tensor) -> None:
        """Count a tensor that stayed as it was."""
        self._parameters += weight.numel()
        self._size += float(weight.detach().abs().sum(dtype=torch.float64))

    def change(self) -> Change:
        """Return the change of all tensors together.

        Raises:
            TrainError: not one weight changed.
        """
        if self._changed == 0:
            raise TrainError(
                f"training changed none of the {self._parameters} weights. Raise train.learning_rate; nothing was saved"
            )
        return Change(
            self._parameters,
            changed_share=self._changed / self._parameters,
            changed_share_bfloat16=self._changed_rounded / self._parameters,
            mean_relative_change=self._moved / self._size,
            mean_relative_change_bfloat16=self._moved_rounded / self._size,
        )


@torch.no_grad()
def interpolate(model: PreTrainedModel, base: dict[str, Tensor], weight: float) -> None:
    """Mix the model with the base model's weights, in place: (1 - weight) x trained + weight x base.

    WiSE-FT (arXiv 2109.01903): between a fine-tuned model and the one it came from lie models that keep most of the
    gain in pass@1 and more of the base's diversity, so of its pass@k (arXiv 2504.10478).

    Raises:
        TrainError: the two have other weights than each other.
    """
    names = {name: tuple(trained.shape) for name, trained in model.named_parameters()}
    other = {name: tuple(given.shape) for name, given in base.items()}
    if names != other:
        differing = min(names.items() ^ other.items())[0]
        raise TrainError(
            f"train.interpolate = {weight}: the base model cannot be mixed with the trained one, they differ in "
            f"{differing!r}. Set it to 0"
        )
    for name, trained in model.named_parameters():
        trained.lerp_(base[name].to(trained.device), weight)


def save_checkpoint(model: PreTrainedModel, chat: Chat, out: Path) -> None:
    """Write the model, its tokenizer and how it stops to the folder ``out``, replacing a checkpoint that is there.

    Weights are saved in float32, the precision they were trained in, at 4 bytes each: the next round then goes on from
    exactly these weights. Rounded to bfloat16, at half the size, most of what a small learning rate changed would be
    gone. The folder appears complete or not at all.

    Raises:
        TrainError: ``out`` holds something else than a checkpoint.
    """

    def write(folder: Path) -> None:
        set_stops(model, chat)
        model.save_pretrained(folder)
        chat.tokenizer.save_pretrained(folder)

    save_folder(write, out)


def save_folder(write: Callable[[Path], None], out: Path) -> None:
    """Have a checkpoint written beside ``out``, brought to the disk, and put in its place.

    Raises:
        TrainError: ``out`` holds something else than a checkpoint.
    """
    if out.exists() and not any((out / name).is_file() for name in ("config.json", ADAPTER_CONFIG)):
        raise TrainError(f"{out}: exists and is no checkpoint, so it is not replaced. Move it away")
    partial = beside(out)
    shutil.rmtree(partial, ignore_errors=True)
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        write(partial)
        take_place(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def set_stops(model: PreTrainedModel, chat: Chat) -> None:
    """Have the model's folder say when to stop and how to pad, which belong to the model, and nothing of sampling."""
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=chat.tokenizer.bos_token_id,
        eos_token_id=sorted(chat.stop_ids),
        pad_token_id=pad_id(chat.tokenizer),
    )


def pad_id(tokenizer: Any) -> int:
    """Return the id that fills short rows; as that is masked and never trained, end-of-sequence may serve."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)
