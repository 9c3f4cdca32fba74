"""A trained model on disk, all of it or nothing, and what training changed in it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from tpt.chat import Chat
from tpt.errors import TrainError
from tpt.sft.fit import pad_id


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
    parameters = changed = changed_rounded = 0
    moved = moved_rounded = size = 0.0
    for name, weight in model.named_parameters():
        old, new = before[name], weight.detach().to("cpu")
        parameters += new.numel()
        changed += int((old.view(torch.int32) != new.view(torch.int32)).sum())
        rounded = new.bfloat16().float() - old.bfloat16().float()
        changed_rounded += int(rounded.count_nonzero())
        moved_rounded += float(rounded.abs().sum(dtype=torch.float64))
        moved += float((new - old).abs().sum(dtype=torch.float64))
        size += float(old.abs().sum(dtype=torch.float64))
    if changed == 0:
        raise TrainError(
            f"training changed none of the {parameters} weights. Raise train.learning_rate; nothing was saved"
        )
    return Change(
        parameters,
        changed_share=changed / parameters,
        changed_share_bfloat16=changed_rounded / parameters,
        mean_relative_change=moved / size,
        mean_relative_change_bfloat16=moved_rounded / size,
    )


def save_checkpoint(model: PreTrainedModel, chat: Chat, out: Path) -> None:
    """Write the model, its tokenizer and how it stops to the folder ``out``, replacing a checkpoint that is there.

    Weights are saved in float32, the precision they were trained in, at 4 bytes each: the next round then goes on from
    exactly these weights. Rounded to bfloat16, at half the size, most of what a small learning rate changed would be
    gone. The folder appears complete or not at all.

    Raises:
        TrainError: ``out`` holds something else than a checkpoint.
    """
    if out.exists() and not (out / "config.json").is_file():
        raise TrainError(f"{out}: exists and is no checkpoint, so it is not replaced. Move it away")
    partial, replaced = out.with_name(out.name + ".partial"), out.with_name(out.name + ".replaced")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(model, chat, partial)
        _sync(partial)
        if out.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            out.rename(replaced)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _sync_folder(out.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _write(model: PreTrainedModel, chat: Chat, folder: Path) -> None:
    # Sampling settings belong to whoever samples; when to stop and how to pad belong to the model.
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=chat.tokenizer.bos_token_id,
        eos_token_id=sorted(chat.stop_ids),
        pad_token_id=pad_id(chat.tokenizer),
    )
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model.save_pretrained(folder)
        chat.tokenizer.save_pretrained(folder)
    finally:
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _sync(folder: Path) -> None:
    """Make sure that the files' content is on disk before the folder gets its name."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
