"""Checkpoints inside a training, so that a killed one goes on where it was, to the same weights.

The trainer writes weights, optimizer, schedule and random states into ``checkpoint-STEP``. A file written last says
that the folder is whole, what its files are, and which training it belongs to: same rows, settings, start weights,
libraries and threads. What lacks it, was changed since, or belongs to another training, is deleted. Older checkpoints go
as soon as a newer one is whole, so there are never more than two.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tpt.sft.distributed import barrier, broadcast, ranks
from tpt.system.folders import sync_folder
from tpt.system.jsonl import digest, write_json

AUTO_INTERVAL_S = 600.0
"""Time between checkpoints when the config names no number of steps."""
_AUTO_SHARE = 0.05
"""Share of the time that automatic checkpoints may take."""
_WHOLE = "whole.json"
_NONE = -1


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where the checkpoints of one training lie, and what tells it from others."""

    folder: Path
    key: str
    """Digest of everything that the trained weights follow from."""

    def find(self) -> Path | None:
        """Return the latest whole checkpoint of this training; all else in the folder is deleted."""
        found = sorted(self.folder.glob("checkpoint-*"), key=_step_of, reverse=True)
        ours = next((path for path in found if self._is_ours(path)), None)
        for path in self.folder.glob("*"):
            if path != ours:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return ours

    def find_together(self) -> Path | None:
        """Return the same from every process of a training, after the first has tidied up."""
        found = self.find() if ranks().is_first else None
        # The others may be on machines that see the folder a little later.
        step = broadcast(_NONE if found is None else _step_of(found))
        return None if step == _NONE else self.folder / f"checkpoint-{step}"

    def close(self, checkpoint: Path) -> None:
        """Mark a checkpoint as whole, and delete those before it."""
        sync_folder(checkpoint)
        write_json(checkpoint / _WHOLE, {"key": self.key, "files": _digests(checkpoint)})
        for path in self.folder.glob("checkpoint-*"):
            if path != checkpoint:
                shutil.rmtree(path)

    def remove(self) -> None:
        """Delete the folder: the training is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_ours(self, path: Path) -> bool:
        try:
            marked = json.loads((path / _WHOLE).read_text(encoding="utf-8"))
            # Marks of earlier versions say nothing of the files.
            return bool(marked["key"] == self.key and marked.get("files") in (None, _digests(path)))
        except (OSError, ValueError, KeyError, TypeError):
            return False


def _digests(checkpoint: Path) -> dict[str, str]:
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != _WHOLE)
    return {path.relative_to(checkpoint).as_posix(): digest(path) for path in files}


def _step_of(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else _NONE


class Saver(TrainerCallback):
    """Asks the trainer for checkpoints and closes them."""

    def __init__(self, point: ResumePoint, every_steps: int) -> None:
        self._point = point
        self._every = every_steps
        self._saved_at = time.monotonic()
        self._asked_at = 0.0
        self._interval_s = AUTO_INTERVAL_S

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **unused: Any) -> None:
        """Ask for a checkpoint where one is due; never at the last step, which ends in the final save."""
        now = time.monotonic()
        waited = now - self._saved_at >= self._interval_s
        # Clocks differ between processes, and all must save at the same step.
        due = state.global_step % self._every == 0 if self._every else bool(broadcast(waited))
        control.should_save = due and state.global_step < state.max_steps
        self._asked_at = now

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **unused: Any) -> None:
        """Close the checkpoint that the trainer has written, each process its part."""
        barrier()
        if ranks().is_first:
            self._point.close(self._point.folder / f"checkpoint-{state.global_step}")
        self._saved_at = time.monotonic()
        self._interval_s = max(AUTO_INTERVAL_S, (self._saved_at - self._asked_at) / _AUTO_SHARE)
