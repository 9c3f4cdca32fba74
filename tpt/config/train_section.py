"""How a round fine-tunes the model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tpt.config.section import Count, Fraction, Section


class TrainConfig(Section):
    """Supervised fine-tuning on the kept traces."""

    start_from: Literal["last", "base"] = Field("last", description="weights a round starts from")
    learning_rate: float = Field(1e-6, gt=0, description="peak learning rate")
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

    loss: Literal["cross_entropy", "focal", "clipped_confidence"] = Field(
        "cross_entropy",
        description="what is minimised; the other two keep the model from growing ever surer of what it knows already",
    )
    focal_gamma: float = Field(2.0, ge=0, description='for loss = "focal": power of (1 - probability); 0: cross_entropy')
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
        return self
