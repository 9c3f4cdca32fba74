"""What happened in training, step by step: kept in memory for the manifest, and in a file that can be watched."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.sft.rows import Row

Progress = Callable[[int, int, float], None]
"""Called after each optimizer step with (step, steps, loss)."""
Precision = Literal["float32", "bfloat16"]


@dataclass(slots=True)
class FitLog:
    """What happened in training, one entry a step."""

    steps: int
    precision: Precision
    packed: bool = False
    """Whether micro-batches held their rows end to end instead of padded."""
    resumed_at: int = 0
    """The step that training went on from after a crash; 0: it ran through."""
    losses: list[float] = field(default_factory=list)
    """Mean loss of the step's target tokens, before its update."""
    grad_norms: list[float] = field(default_factory=list)
    """Before clipping."""
    learning_rates: list[float] = field(default_factory=list)
    step_targets: list[int] = field(default_factory=list)
    step_tokens: list[int] = field(default_factory=list)
    """Tokens read in a step, padding left out."""
    padding_tokens: int = 0

    @property
    def target_tokens(self) -> int:
        """Tokens trained in all steps; every epoch counts."""
        return sum(self.step_targets)

    @property
    def total_tokens(self) -> int:
        """Tokens read in all steps, padding left out."""
        return sum(self.step_tokens)


def planned(
    rows: Sequence[Row], order: list[int], config: TrainConfig, *, precision: Precision, packed: bool
) -> FitLog:
    """Return a log without losses, with the token counts, which follow from the order alone."""
    log = FitLog(math.ceil(len(order) / config.batch_size), precision, packed)
    for at in range(0, len(order), config.batch_size):
        step = [rows[i] for i in order[at : at + config.batch_size]]
        log.step_targets.append(sum(row.targets for row in step))
        log.step_tokens.append(sum(len(row.input_ids) for row in step))
        if not packed:
            log.padding_tokens += _padding([len(row.input_ids) for row in step], config.micro_batch_size)
    return log


def _padding(lengths: list[int], micro_batch_size: int) -> int:
    parts = [lengths[at : at + micro_batch_size] for at in range(0, len(lengths), micro_batch_size)]
    return sum(max(part) * len(part) - sum(part) for part in parts)


class Recorder(TrainerCallback):
    """Fills the log, writes it to a file as JSON lines, and tells the caller how far training is."""

    def __init__(self, log: FitLog, path: Path | None, progress: Progress | None) -> None:
        self._log = log
        self._path = path
        self._progress = progress
        self._began = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **unused: Any
    ) -> None:
        """Take over the steps before a crash, as far as the checkpoint goes on from them."""
        self._log.resumed_at = state.global_step
        if self._path is not None:
            self._path.write_text("", encoding="utf-8")
        for entry in state.log_history:
            if "loss" in entry:
                self._note(int(entry["step"]), entry, tokens_per_s=None)
        self._began = time.monotonic()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **unused: Any
    ) -> None:
        """Start the step's clock."""
        self._began = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **unused: Any,
    ) -> None:
        """Record a step; one without a finite loss ends training."""
        if logs is None or "loss" not in logs:
            return
        step, loss = state.global_step, logs["loss"]
        if not (math.isfinite(loss) and math.isfinite(logs["grad_norm"])):
            raise TrainError(
                f"step {step} of {self._log.steps}: the loss is {loss} and the gradient's norm {logs['grad_norm']}. "
                'Nothing was saved; lower train.learning_rate, or set train.precision = "float32"'
            )
        seconds = max(time.monotonic() - self._began, 1e-9)
        self._note(step, logs, tokens_per_s=round(self._log.step_tokens[step - 1] / seconds, 1))
        if self._progress is not None:
            self._progress(step, self._log.steps, loss)

    def _note(self, step: int, entry: dict[str, float], *, tokens_per_s: float | None) -> None:
        """Add a step; its time is not known for those of an earlier process."""
        log = self._log
        log.losses.append(round(entry["loss"], 5))
        log.grad_norms.append(round(entry["grad_norm"], 5))
        log.learning_rates.append(float(f"{entry['learning_rate']:.6g}"))
        if self._path is None:
            return
        line = {
            "step": step,
            "loss": log.losses[-1],
            "learning_rate": log.learning_rates[-1],
            "grad_norm": log.grad_norms[-1],
            "target_tokens": log.step_targets[step - 1],
            "tokens": log.step_tokens[step - 1],
            "tokens_per_s": tokens_per_s,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
