"""Trains the embedded model and kills itself, as often as it is told, in one process after another.

    python killed_training.py OUT KILL_AT... [-- OUT KILL_AT...]

Each KILL_AT is ``step:N``, after the update of step N, or ``save:N``, in the middle of writing a training's Nth
checkpoint, or ``none``. Prints, for each process, the step it went on from.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from tpt.config import PromptConfig, TrainConfig
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer
from tpt.problems.procedural.word_problems import word_problems
from tpt.records import Example
from tpt.train import Start, train

CONFIG = TrainConfig(
    learning_rate=1e-3, batch_size=4, micro_batch_size=2, epochs=2, save_every_steps=2, loss="focal", interpolate=0.25
)


def main() -> None:
    import tpt.sft  # noqa: F401  (once for all of them)

    for words in " ".join(sys.argv[1:]).split(" -- "):
        out, *kill_at = words.split()
        train_and_kill(Path(out), kill_at)


def train_and_kill(out: Path, all_kills: list[str]) -> None:
    for kill_at in all_kills:
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            counts = do_train(out, kill_at)
            print("went on from", counts["resumed_at"], flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) == (kill_at != "none"), (kill_at, status)
        state = out.with_name(out.name + ".state")
        kept = sorted(path.name for path in state.iterdir()) if state.exists() else []
        print(kill_at, out.exists(), *kept, flush=True)


def do_train(out: Path, kill_at: str) -> dict[str, Any]:
    event, _, number = kill_at.partition(":")
    if event == "save":
        die_while_saving(int(number))
    chat = Chat(load_tokenizer("embedded"), PromptConfig())
    problems = {problem.id: problem for problem in word_problems(split="train", size=12)}
    examples = [
        Example(p.id, 0, [*chat.messages(p), {"role": "assistant", "content": p.solution or ""}])
        for p in problems.values()
    ]

    def progress(step: int, steps: int, loss: float) -> None:
        if event == "step" and step == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    return train(
        examples,
        problems,
        config=CONFIG,
        prompt=chat.prompt,
        start=Start("embedded"),
        out=out,
        seed=3,
        progress=progress,
    )


def die_while_saving(number: int) -> None:
    """Have the write of the optimizer's state end half-way, with the weights written before it."""
    write, calls = torch.save, []

    def save(value: Any, path: Any) -> None:
        calls.append(str(path))
        if sum(call.endswith("optimizer.pt") for call in calls) == number:
            Path(path).write_bytes(b"PK half")
            os.kill(os.getpid(), signal.SIGKILL)
        write(value, path)

    torch.save = save


if __name__ == "__main__":
    main()
