"""Rows in, a changed model out: TRL's trainer with every choice that matters made here."""

from __future__ import annotations

import contextlib
import logging
import math
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from datasets import Dataset
from huggingface_hub import constants as hub_constants
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as HfArguments
from transformers.utils import logging as transformers_logging
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tpt.chat import IGNORED_LABEL
from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.sft.rows import Row, training_order

Progress = Callable[[int, int, float], None]
"""Called after each optimizer step with (step, steps, loss)."""
Precision = Literal["float32", "bfloat16"]

BFLOAT16_FROM_HIDDEN_SIZE = 512
"""From this width on a CPU with bfloat16 instructions multiplies faster in bfloat16; below it, casting costs more."""


@dataclass(slots=True)
class FitLog:
    """What happened in training, one entry a step."""

    steps: int
    precision: Precision
    losses: list[float] = field(default_factory=list)
    """Mean loss of the step's target tokens, before its update."""
    grad_norms: list[float] = field(default_factory=list)
    """Before clipping."""
    target_tokens: int = 0
    total_tokens: int = 0
    """Tokens read, padding left out; every epoch counts."""
    padding_tokens: int = 0


def fit(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[Row],
    *,
    config: TrainConfig,
    seed: int,
    progress: Progress | None,
) -> FitLog:
    """Train the model in place, on the device it is on.

    The model must hold float32 weights: an update of a small learning rate is lost when it is added to a bfloat16
    weight. ``config.precision`` is that of the multiplications alone.

    On a CPU the same rows, seed and number of threads give the same weights, bit for bit.

    Raises:
        TrainError: the rows do not fit the model, or the loss is not a finite number.
    """
    _check_model(model, rows)
    order = training_order(rows, epochs=config.epochs, batch_size=config.batch_size, seed=seed)
    precision = resolve_precision(config.precision, hidden_size=_hidden_size(model), device=model.device)
    log = _planned(rows, order, config, precision)
    dataset = Dataset.from_dict(
        {"input_ids": [rows[i].input_ids for i in order], "labels": [rows[i].labels for i in order]}
    )
    use_cache = model.config.use_cache
    with _alone(), tempfile.TemporaryDirectory(prefix="tpt-train-") as folder:
        trainer = SFTTrainer(
            model=model,
            args=_arguments(config, precision, device=model.device, seed=seed, folder=folder),
            data_collator=_Padding(pad_id(tokenizer)),
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[_Recorder(log, progress)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.lr_scheduler = _scheduler(trainer.create_optimizer(), config, log.steps)
        trainer.train()
    model.config.use_cache = use_cache
    return log


def pad_id(tokenizer: Any) -> int:
    """Return the id that fills short rows; as that is masked and never trained, end-of-sequence may serve."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


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
        capabilities = torch.cpu.get_capabilities()
        fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
        return "bfloat16" if fast and hidden_size >= BFLOAT16_FROM_HIDDEN_SIZE else "float32"
    return "bfloat16" if precision == "bfloat16" else "float32"


def rate_at(step: int, *, steps: int, warmup: int, schedule: str) -> float:
    """Return the share of the peak learning rate at a step, counted from 0.

    No step has rate 0. The usual schedule begins at 0, which wastes the first step, and all of a run of one step.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / (steps - warmup)
    return {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[schedule]


def warmup_steps(steps: int, ratio: float) -> int:
    """Return how many steps warm up; the last step never does."""
    return min(math.ceil(ratio * steps), steps - 1)


def peak_memory_mb(device: torch.device) -> int:
    """Return the most memory in use so far: this process's on a CPU, the tensors' on a GPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / 2**20)
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@dataclass(frozen=True, slots=True)
class _Padding:
    """Collates rows into one right-padded batch; padding is neither attended to nor trained."""

    pad_id: int

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        length = max(len(row["input_ids"]) for row in rows)
        batch = {
            "input_ids": torch.full((len(rows), length), self.pad_id),
            "attention_mask": torch.zeros((len(rows), length), dtype=torch.long),
            "labels": torch.full((len(rows), length), IGNORED_LABEL),
        }
        for at, row in enumerate(rows):
            end = len(row["input_ids"])
            batch["input_ids"][at, :end] = torch.tensor(row["input_ids"])
            batch["attention_mask"][at, :end] = 1
            batch["labels"][at, :end] = torch.tensor(row["labels"])
        return batch


class _Recorder(TrainerCallback):
    """Writes the log and tells the caller how far it is."""

    def __init__(self, log: FitLog, progress: Progress | None) -> None:
        self._log = log
        self._progress = progress

    def on_log(
        self,
        args: HfArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **unused: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        step, loss = state.global_step, logs["loss"]
        if not (math.isfinite(loss) and math.isfinite(logs["grad_norm"])):
            raise TrainError(
                f"step {step} of {self._log.steps}: the loss is {loss} and the gradient's norm {logs['grad_norm']}. "
                'Nothing was saved; lower train.learning_rate, or set train.precision = "float32"'
            )
        self._log.losses.append(round(loss, 5))
        self._log.grad_norms.append(round(logs["grad_norm"], 5))
        if self._progress is not None:
            self._progress(step, self._log.steps, loss)


def _arguments(config: TrainConfig, precision: Precision, *, device: torch.device, seed: int, folder: str) -> SFTConfig:
    arguments = SFTConfig(
        output_dir=folder,
        # The rows come tokenised, checked, in order and short enough: nothing is left for TRL to prepare.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        packing=False,
        train_sampling_strategy="sequential",
        # The rows hold every epoch already.
        num_train_epochs=1,
        per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=config.batch_size // config.micro_batch_size,
        optim="adamw_torch_fused",
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=precision == "bfloat16",
        use_cpu=device.type == "cpu",
        activation_checkpointing=False,
        dataloader_pin_memory=device.type == "cuda",
        seed=seed % 2**32,
        logging_steps=1,
        logging_nan_inf_filter=False,
        log_level="error",
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
    )
    if arguments.n_gpu > 1:
        # One process trains on one GPU; the trainer would spread it over all that are visible.
        arguments._n_gpu = 1
    return arguments


def _scheduler(optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int) -> LambdaLR:
    warmup = warmup_steps(steps, config.warmup_ratio)
    # The scheduler asks once more after the last step.
    return LambdaLR(
        optimizer, lambda step: rate_at(min(step, steps - 1), steps=steps, warmup=warmup, schedule=config.schedule)
    )


def _planned(rows: Sequence[Row], order: list[int], config: TrainConfig, precision: Precision) -> FitLog:
    """Return an empty log with the token counts, which follow from the order alone."""
    log = FitLog(math.ceil(len(order) / config.batch_size), precision)
    for at in range(0, len(order), config.micro_batch_size):
        lengths = [len(rows[i].input_ids) for i in order[at : at + config.micro_batch_size]]
        log.total_tokens += sum(lengths)
        log.padding_tokens += max(lengths) * len(lengths) - sum(lengths)
    log.target_tokens = sum(rows[i].targets for i in order)
    return log


def _check_model(model: PreTrainedModel, rows: Sequence[Row]) -> None:
    other = next((f"{name} in {p.dtype}" for name, p in model.named_parameters() if p.dtype != torch.float32), None)
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


def _hidden_size(model: PreTrainedModel) -> int:
    return int(model.config.get_text_config().hidden_size)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Keep the libraries from writing to the terminal and from calling home."""
    verbosity, telemetry = transformers_logging.get_verbosity(), hub_constants.HF_HUB_DISABLE_TELEMETRY
    accelerate_log = logging.getLogger("accelerate")
    accelerate_level = accelerate_log.level
    transformers_logging.set_verbosity(logging.ERROR)
    accelerate_log.setLevel(logging.ERROR)
    hub_constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        accelerate_log.setLevel(accelerate_level)
        hub_constants.HF_HUB_DISABLE_TELEMETRY = telemetry
