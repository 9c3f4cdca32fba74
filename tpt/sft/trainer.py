"""TRL's trainer with every choice that matters made here; ``fit`` runs what this module builds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from datasets import Dataset
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback
from transformers.integrations.liger import apply_liger_kernel
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.sft.adapters import check_method, has_adapter, load_adapter_state
from tpt.sft.distributed import ranks
from tpt.sft.losses import token_loss
from tpt.sft.packing import Packed, Padded
from tpt.sft.recorder import Precision
from tpt.sft.target_loss import attach_target_loss
from tpt.system.child_python import is_installed

_OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_bnb_8bit",
    "paged_adamw": "paged_adamw_32bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}


class TargetTrainer(SFTTrainer):
    """Sums the target tokens' losses over a whole optimizer step and divides by their number, whatever the batches."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Have the trainer count a step's target tokens for every architecture, and leave the division to compute_loss.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga: Any = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return a micro-batch's share of the step's mean loss."""
        total = model(**inputs, use_cache=False, target_loss=True)
        # The number counts the targets of all processes, and their gradients are averaged.
        return total / num_items_in_batch * self.accelerator.num_processes

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: nobody reads it."""
        return 0

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        own: Any = self.model
        if has_adapter(own) and not self.is_fsdp_enabled:
            load_adapter_state(own, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        # Without TRL's model card: a checkpoint to go on from is not to be published.
        Trainer._save_checkpoint(self, model, trial)


def check_installed(config: TrainConfig, device: torch.device) -> None:
    """Refuse settings that need what is not here.

    Raises:
        TrainError: a package or a CUDA device is missing.
    """
    # A tracker's module, and what pip knows it by, have its name.
    missing = [name for name in config.report_to if not is_installed(name)]
    if missing:
        raise TrainError(
            f"train.report_to = {config.report_to}: not installed: {', '.join(missing)}. "
            f"pip install {' '.join(missing)}, or take it out; the same metrics are in train_log.jsonl"
        )
    check_method(config)
    if config.optimizer != "adamw":
        _check_cuda_package(f'train.optimizer = "{config.optimizer}"', "bitsandbytes", device, 'set it to "adamw"')
    if config.liger:
        _check_cuda_package("train.liger = true", "liger-kernel", device, "set it to false")


def _check_cuda_package(setting: str, package: str, device: torch.device, otherwise: str) -> None:
    if device.type != "cuda":
        raise TrainError(f"{setting} needs a CUDA device, and training is on {device.type}; {otherwise}")
    if not is_installed(package.replace("-", "_")):
        raise TrainError(f"{setting} needs the package {package}: pip install {package}, or {otherwise}")


def make_arguments(
    config: TrainConfig, precision: Precision, *, device: torch.device, seed: int, folder: Path
) -> SFTConfig:
    """Return the trainer's arguments; ``folder`` takes what it writes, and all processes have the same."""
    world = ranks().world
    sharded = world > 1 and config.strategy == "fsdp2"
    arguments = SFTConfig(
        output_dir=str(folder),
        # The rows come tokenised, checked, in order and short enough: nothing is left for TRL to prepare.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        packing=False,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        # The rows hold every epoch already.
        num_train_epochs=1,
        per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=config.batch_size // (config.micro_batch_size * world),
        optim=_OPTIMIZERS[config.optimizer],
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=precision == "bfloat16",
        use_cpu=device.type == "cpu",
        activation_checkpointing=config.gradient_checkpointing and not sharded,
        dataloader_pin_memory=device.type == "cuda",
        seed=seed % 2**32,
        logging_steps=1,
        logging_nan_inf_filter=False,
        log_level="error",
        disable_tqdm=True,
        report_to=list(config.report_to) or "none",
        save_strategy="no",
        ddp_find_unused_parameters=False,
        **(_sharding(config) if sharded else {}),
    )
    if sharded and precision == "bfloat16":
        # Each device's share of the weights and its sum of gradients are float32.
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        arguments.fsdp_plugin_args["mixed_precision_policy"] = policy
    if arguments.n_gpu > 1:
        # One process trains on one GPU; the trainer would spread it over all that are visible.
        arguments._n_gpu = 1
    return arguments


def _sharding(config: TrainConfig) -> dict[str, Any]:
    """Return the arguments that have every layer's weights, gradients and optimizer states spread over the devices."""
    return {
        "fsdp": True,
        "fsdp_config": {
            "version": 2,
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "reshard_after_forward": True,
            "state_dict_type": "SHARDED_STATE_DICT",
            # The first process alone has the weights before, and every other gets its share from it.
            "cpu_ram_efficient_loading": True,
            "activation_checkpointing": config.gradient_checkpointing,
        },
        # Unreduced gradients of several micro-batches would be as large as the whole model's on every device.
        "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": True}},
    }


def build_trainer(
    model: PreTrainedModel,
    arguments: SFTConfig,
    *,
    dataset: Dataset,
    tokenizer: Any,
    collate: Packed | Padded,
    callbacks: list[TrainerCallback],
) -> TargetTrainer:
    """Return a trainer on rows in their final order; ``set_up`` gives it the loss and the schedule."""
    if arguments.fsdp and arguments.use_cpu:
        _shard_on_cpu(arguments)
    trainer = TargetTrainer(
        model=model,
        args=arguments,
        data_collator=collate,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _shard_on_cpu(arguments: SFTConfig) -> None:
    """Have accelerate shard on CPUs as it does on GPUs; left to itself it falls back to DDP there, and does not say so."""
    plugin = FullyShardedDataParallelPlugin(**arguments.fsdp_plugin_args)
    state = Accelerator(cpu=True, mixed_precision="bf16" if arguments.bf16 else "no", fsdp_plugin=plugin).state
    state.fsdp_plugin = plugin
    state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def set_up(trainer: TargetTrainer, model: PreTrainedModel, *, config: TrainConfig, steps: int) -> None:
    """Give the trainer our loss, kernels and learning-rate schedule."""
    if config.liger:
        # The layers' kernels alone: the loss is computed on the target tokens by our own.
        kernels = {"cross_entropy": False, "fused_linear_cross_entropy": False}
        apply_liger_kernel(model, kernels)  # type: ignore[no-untyped-call]
    attach_target_loss(model, token_loss(config))
    warmup = warmup_steps(steps, config.warmup_ratio)
    # The scheduler asks once more after the last step.
    trainer.lr_scheduler = LambdaLR(
        trainer.create_optimizer(),
        lambda step: rate_at(min(step, steps - 1), steps=steps, warmup=warmup, schedule=config.schedule),
    )


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
