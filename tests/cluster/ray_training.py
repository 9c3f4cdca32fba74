"""Trains the embedded model for a moment, on a Ray cluster or here; as a program it kills itself after a step.

python ray_training.py ADDRESS OUT STEP
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpt.config import EngineConfig, PromptConfig, TrainConfig
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer
from tpt.problems.procedural.word_problems import word_problems
from tpt.records import Example
from tpt.train import Start, train

# 21 examples and 8 a step: the last step has 5, so one of two processes gets a micro-batch less in it.
SETTINGS = {"learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 2, "epochs": 2, "devices": 2}
LONG = {"strategy": "fsdp2", "epochs": 8, "save_every_steps": 2}
"""Steps enough that something can happen to a training, and shards of every checkpoint on every node."""


def do_train(
    out: Path,
    ray: EngineConfig,
    progress: Callable[[int, int, float], None] | None = None,
    *,
    start: str = "embedded",
    **settings: Any,
) -> dict[str, Any]:
    chat = Chat(load_tokenizer("embedded"), PromptConfig())
    problems = {problem.id: problem for problem in word_problems(split="train", size=24)}
    examples = [
        Example(p.id, 0, [*chat.messages(p), {"role": "assistant", "content": p.solution or ""}])
        for p in problems.values()
    ]
    return train(
        examples[:21],
        problems,
        config=TrainConfig(**{**SETTINGS, **settings}),
        prompt=chat.prompt,
        start=Start(start),
        out=out,
        seed=2,
        progress=progress,
        ray=ray,
    )


def main() -> None:
    address, out, last = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

    def die(step: int, steps: int, loss: float) -> None:
        if step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    do_train(out, EngineConfig(ray_address=address), die, where="ray", **LONG)


if __name__ == "__main__":
    main()
