"""How a round fine-tunes the model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tpt.config.section import Count, Section


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

    @model_validator(mode="after")
    def _micro_batches_fill_a_batch(self) -> Self:
        if self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size = {self.batch_size} is no multiple of micro_batch_size = {self.micro_batch_size}"
            )
        return self
