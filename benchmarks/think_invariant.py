"""What batch invariance costs: the same requests in both modes of the hf engine, in turn.

    python benchmarks/think_invariant.py [--model embedded] [--slots 64] [--problems 32] [--tokens 64] [--rounds 3]

On one thread, by the processor's seconds: other work on the machine stretches the wall, not these. Requests are 4 samples of
each word problem; every row is counted from its prompt to its last token, and steps with every slot busy are timed
besides. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from think_arms import CHAT, Workload

from tpt.config import EngineConfig, PromptConfig
from tpt.engines import complete
from tpt.engines.hf.opening import open_hf
from tpt.model.chat import open_chat
from tpt.problems.procedural.word_problems import word_problems
from tpt.stage_process import ENVIRONMENT

MODES = {"batch-invariant": True, "the other": False}
STEPS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if not ENVIRONMENT.keys() <= os.environ.keys():
        # The settings of a stage's process, which take effect when one starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**ENVIRONMENT, **os.environ})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        arms = {name: opened(arguments, Path(folder), invariant) for name, invariant in MODES.items()}
        whole: dict[str, list[float]] = {name: [] for name in arms}
        for turn in range(1 + arguments.rounds):
            for name, arm in arms.items():
                taken = used_s(partial(exhaust, arm, turn))
                whole[name] += [taken] if turn else []  # the first compiles
        busy = busy_steps(arms)
    print(
        f"{arguments.model}, {arguments.dtype}, {arguments.slots} slots, {4 * arguments.problems} requests of at most ",
        end="",
    )
    print(f"{arguments.tokens} tokens, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}\n")
    print("| measured | batch-invariant | the other mode | speed of the first, of the second's |\n|---|---:|---:|---:|")
    for what, found, unit in (
        ("seconds for all requests, prompts included", whole, 1),
        ("a step with every slot busy, ms", busy, 1e3),
    ):
        first, second = (unit * statistics.median(each) for each in found.values())
        print(f"| {what} | {first:.2f} | {second:.2f} | {second / first:.2f}x |")


def opened(arguments: argparse.Namespace, cache: Path, batch_invariant: bool) -> Workload:
    chat = open_chat(PromptConfig(), arguments.model, cache)
    size = arguments.problems * (1 + arguments.rounds)
    prompts = [chat.prompt_ids(problem) for problem in word_problems(split="train", size=size)]
    config = EngineConfig(slots=arguments.slots, device="cpu", dtype=arguments.dtype, batch_invariant=batch_invariant)
    longest = max(map(len, prompts)) + arguments.tokens
    engine = open_hf(arguments.model, chat, config, max_length=longest, cache=cache)
    return Workload(engine, prompts, replace(CHAT, max_tokens=arguments.tokens), arguments.problems, arguments.model)


def exhaust(arm: Workload, part: int) -> None:
    for _ in complete(arm.engine, arm.requests(part=part)):
        pass


def busy_steps(arms: dict[str, Workload]) -> dict[str, list[float]]:
    """Return the seconds of steps with every slot busy."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for arm in arms.values():
        for request in arm.requests(repeat=1 + arm.engine.slots // len(arm.requests())):
            arm.engine.add(request)
        arm.engine.step()
    for _ in range(STEPS):
        for name, arm in arms.items():
            found[name].append(used_s(arm.engine.step))
    return found


def used_s(call: Callable[[], object]) -> float:
    """Return the seconds of the processor that a call takes."""
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    main()
