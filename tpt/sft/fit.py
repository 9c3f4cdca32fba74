"""Rows in, a changed model out."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from huggingface_hub import constants as hub_constants
from transformers import PreTrainedModel, TrainerCallback
from transformers.utils import logging as transformers_logging

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.model.chat import IGNORED_LABEL
from tpt.model.number_format import gains_by_bfloat16
from tpt.model.shape import width_of
from tpt.sft.checkpoint import pad_id
from tpt.sft.distributed import ranks
from tpt.sft.packing import WEIGHT, Packed, Padded, use_packed_attention
from tpt.sft.recorder import FitLog, Precision, Progress, Recorder, planned
from tpt.sft.resume import ResumePoint, Saver
from tpt.sft.rows import Row, training_order
from tpt.sft.target_loss import detach_target_loss
from tpt.sft.trainer import build_trainer, check_installed, make_arguments, set_up


def fit(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[Row],
    *,
    config: TrainConfig,
    seed: int,
    progress: Progress | None = None,
    point: ResumePoint | None = None,
    log_path: Path | None = None,
) -> FitLog:
    """Train the model in place, on the device it is on.

    What is trained must be float32: an update of a small learning rate is lost when it is added to a bfloat16 weight.
    ``config.precision`` is that of the multiplications alone. Called in several processes, all of them train the one
    model on the same steps; with ``config.strategy = "fsdp2"`` each is left with its share of the weights.

    On a CPU the same rows, seed and number of threads give the same weights, bit for bit, also when a killed training
    goes on from a checkpoint. Checkpoints are kept at ``point``, and none without it; ``log_path`` gets a line a step.

    Raises:
        TrainError: the rows do not fit the model, the loss is not a finite number, or a setting needs what is not here.
    """
    _check_model(model, rows)
    check_installed(config, model.device)
    order = training_order(rows, epochs=config.epochs, batch_size=config.batch_size, seed=seed)
    precision = resolve_precision(config.precision, hidden_size=width_of(model.config), device=model.device)
    own = ranks()
    checkpoint = None if point is None else point.find_together()
    with _alone(config, log_path), _folder(point) as folder, _prepared(model, packing=config.packing) as packed:
        log = planned(rows, order, config, precision=precision, packed=packed)
        recorder = Recorder(log, log_path, progress) if own.is_first else Recorder(log, None, None)
        callbacks: list[TrainerCallback] = [recorder]
        if point is not None:
            callbacks.append(Saver(point, config.save_every_steps))
        trainer = build_trainer(
            model,
            make_arguments(config, precision, device=model.device, seed=seed, folder=folder),
            dataset=_dataset(rows, order, multiple=config.micro_batch_size * own.world if own.world > 1 else 1),
            tokenizer=tokenizer,
            collate=Packed(pad_id(tokenizer)) if packed else Padded(pad_id(tokenizer)),
            callbacks=callbacks,
        )
        set_up(trainer, model, config=config, steps=log.steps)
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return log


def _dataset(rows: Sequence[Row], order: list[int], *, multiple: int) -> Dataset:
    """Return the rows in order, filled up with rows without targets so that the last step has work for every process."""
    ids, labels = [rows[i].input_ids for i in order], [rows[i].labels for i in order]
    missing = -len(order) % multiple
    ids += [rows[0].input_ids[:2]] * missing
    labels += [[IGNORED_LABEL] * len(rows[0].input_ids[:2])] * missing
    columns = {"input_ids": ids, "labels": labels}
    if all(row.weight == 1 for row in rows):
        return Dataset.from_dict(columns)
    return Dataset.from_dict({**columns, WEIGHT: [rows[i].weight for i in order] + [1.0] * missing})


def resolve_precision(precision: str, *, hidden_size: int, device: torch.device) -> Precision:
    """Return the compute precision; ``auto`` is bfloat16 where it is the faster one.

    That is on CUDA devices that have it, and on CPUs with AVX512-BF16 or AMX for a ``hidden_size`` from 512 on.
    """
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bfloat16" and not able:
            raise TrainError(
                'train.precision = "bfloat16", but this GPU has no bfloat16; set it to "float32" or "auto"'
            )
        return "bfloat16" if able and precision != "float32" else "float32"
    if precision == "auto":
        return "bfloat16" if gains_by_bfloat16(hidden_size) else "float32"
    return "bfloat16" if precision == "bfloat16" else "float32"


def _check_model(model: PreTrainedModel, rows: Sequence[Row]) -> None:
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    other = next((f"{name} in {p.dtype}" for name, p in trained if p.dtype != torch.float32), None)
    if other is not None:
        raise TrainError(f"the model holds {other}; load it in float32, as small updates are lost in other types")
    longest = max(rows, key=lambda row: len(row.input_ids))
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and len(longest.input_ids) > context:
        raise TrainError(
            f"{longest.name}: it has {len(longest.input_ids)} tokens and the model reads {context}. "
            f"Set train.max_length to {context} or less"
        )
    largest, vocabulary = max(max(row.input_ids) for row in rows), int(model.config.get_text_config().vocab_size)
    if largest >= vocabulary:
        raise TrainError(
            f"the tokenizer gives the id {largest}, but the model knows {vocabulary} tokens: do they belong together?"
        )


@contextlib.contextmanager
def _folder(point: ResumePoint | None) -> Iterator[Path]:
    """Yield where the trainer may write: the checkpoints' folder, or one that is gone afterwards."""
    if point is not None:
        point.folder.mkdir(parents=True, exist_ok=True)
        yield point.folder
        return
    with tempfile.TemporaryDirectory(prefix="tpt-train-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _prepared(model: PreTrainedModel, *, packing: bool) -> Iterator[bool]:
    """Make the model attend row by row where it can and may, and yield whether it does; undo it all afterwards."""
    own_attention = use_packed_attention(model) if packing else None
    # The config of a multimodal model keeps it in its text part.
    caching = [config for config in (model.config, model.config.get_text_config()) if hasattr(config, "use_cache")]
    before = [config.use_cache for config in caching]
    try:
        yield own_attention is not None
    finally:
        detach_target_loss(model)
        for config, use_cache in zip(caching, before, strict=True):
            config.use_cache = use_cache
        if own_attention is not None:
            model.set_attn_implementation(own_attention)


@contextlib.contextmanager
def _alone(config: TrainConfig, log_path: Path | None) -> Iterator[None]:
    """Keep the libraries from writing to the terminal and from calling home."""
    verbosity, telemetry = transformers_logging.get_verbosity(), hub_constants.HF_HUB_DISABLE_TELEMETRY
    shown = transformers_logging.is_progress_bar_enabled()
    accelerate_log = logging.getLogger("accelerate")
    accelerate_level = accelerate_log.level
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    accelerate_log.setLevel(logging.ERROR)
    hub_constants.HF_HUB_DISABLE_TELEMETRY = True
    if "tensorboard" in config.report_to and log_path is not None:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(log_path.with_name("tensorboard")))
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        accelerate_log.setLevel(accelerate_level)
        hub_constants.HF_HUB_DISABLE_TELEMETRY = telemetry
