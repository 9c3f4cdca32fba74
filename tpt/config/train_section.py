"""How a round fine-tunes the model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tpt.config.section import Count, Fraction, NoOwnCode, OwnCode, Section

TRAIN_OPERATIONAL = ("where", "worker_cpus", "worker_gpus", "max_failures", "keep")
"""Keys that say where training is done and what is kept, not how: no finished stage depends on them."""


class TrainConfig(Section):
    """Supervised fine-tuning on the kept traces."""

    start_from: Literal["last", "base"] = Field("last", description="weights a round starts from")
    method: Literal["full", "lora", "dora", "qlora"] = Field(
        "full", description="train all weights, or a low-rank adapter on weights that stay; qlora keeps those in 4 bits"
    )
    learning_rate: float = Field(1e-6, gt=0, description="peak learning rate; an adapter wants 10 to 100 times as much")
    epochs: Count = Field(1, description="passes over the examples")
    batch_size: Count = Field(8, description="examples per optimizer step")
    micro_batch_size: Count = Field(2, description="examples per forward pass; divides batch_size")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps spent warming up")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after the warm-up")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_length: Count = Field(2048, description="longest example in tokens; longer ones are dropped and counted")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="compute precision; master weights are float32 always"
    )

    lora_rank: Count = Field(16, description="rank of the adapter's matrices")
    lora_alpha: Count = Field(32, description="the adapter's effect is scaled by lora_alpha / lora_rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs that are dropped")
    lora_targets: str = Field(
        "all-linear",
        description="layers that get an adapter: all-linear, which leaves the output projection out, or names with commas "
        "between them, such as q_proj,v_proj",
    )
    adapter: Literal["merge", "keep"] = Field(
        "merge",
        description="what a round saves: all weights with the adapter in them, or the adapter alone, which the next round "
        "goes on training",
    )
    devices: int = Field(
        0, ge=0, description="GPUs to train on, or processes where there is no GPU; batch_size is shared out; 0: one"
    )
    strategy: Literal["ddp", "fsdp2"] = Field(
        "ddp", description="on several devices: ddp holds the whole model on each, fsdp2 a share of it"
    )
    where: Literal["here", "ray"] = Field(
        "here",
        description="here: on the machine of the run; ray: in processes of the Ray cluster at engine.ray_address, as many as "
        "devices, on one node or several",
    )
    worker_cpus: Count = Field(1, description="ray: CPUs of a training process, and its threads")
    worker_gpus: Literal["auto", 0, 1] = Field(
        "auto", description="ray: GPUs of a training process; auto: 1 where the cluster has any, else 0"
    )
    max_failures: int = Field(
        3,
        ge=0,
        description="ray: so often training goes on from its last checkpoint after processes or nodes were lost",
    )

    trainer: NoOwnCode = Field(
        "", description="your own function that trains, instead of the keys above and below; empty: tpt's trainer"
    )
    loss: Literal["cross_entropy", "focal", "clipped_confidence"] | OwnCode = Field(
        "cross_entropy",
        description="what is minimised; the other two keep the model from growing ever surer of what it knows already; or your "
        "own function of tokens' log-probabilities",
    )
    focal_gamma: float = Field(
        2.0, ge=0, description='for loss = "focal": power of (1 - probability); 0: cross_entropy'
    )
    confidence_limit: Fraction = Field(
        0.9, description='for loss = "clipped_confidence": tokens likelier than this teach nothing; 1: cross_entropy'
    )
    interpolate: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of the base model in the saved checkpoint, the rest being the trained one's; 0: off. "
        "A next round that starts from the last starts from this mixture",
    )
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit"] = Field(
        "adamw", description="all but adamw need a CUDA device and bitsandbytes"
    )
    packing: bool = Field(
        True, description="put a micro-batch's examples end to end instead of padding them, where the model allows it"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations twice instead of keeping them: less memory, about a third more time"
    )
    liger: bool = Field(False, description="use the Triton kernels of liger-kernel; needs a CUDA device")
    keep: Literal["all", "best+last"] = Field(
        "all", description="checkpoints that stay on this machine's disk once a round is finished"
    )
    save_every_steps: int = Field(
        0, ge=0, description="steps between checkpoints to go on from after a crash; 0: about every ten minutes"
    )
    report_to: list[Literal["trackio", "wandb", "tensorboard", "mlflow"]] = Field(
        default_factory=list, description="trackers that get the metrics too; []: none, and nothing leaves the machine"
    )

    @model_validator(mode="after")
    def _micro_batches_fill_a_batch(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size = {self.batch_size} is no multiple of micro_batch_size = {self.micro_batch_size}"
            )
        micro = self.micro_batch_size * max(1, self.devices)
        if self.batch_size % micro:
            raise ValueError(
                f"batch_size = {self.batch_size} is no multiple of micro_batch_size x devices = "
                f"{self.micro_batch_size} x {self.devices} = {micro}; batch_size counts the examples of all devices"
            )
        return self

    @model_validator(mode="after")
    def _adapters_can_do_it(self) -> Self:
        if not self.lora_targets.strip(" ,"):
            raise ValueError('lora_targets is empty; name layers, or set it to "all-linear"')
        if self.method == "qlora" and self.devices > 1 and self.strategy == "fsdp2":
            raise ValueError('method = "qlora" cannot be sharded: set strategy = "ddp", or method = "lora"')
        if self.method == "dora" and self.adapter == "keep" and self.interpolate:
            raise ValueError('interpolate cannot be put into a DoRA adapter: set adapter = "merge", or interpolate = 0')
        return self
