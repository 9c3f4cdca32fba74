"""Everything that should be measured on a GPU, in one command: ``python benchmarks/gpu.py --model FILE --out FOLDER``.

    python benchmarks/gpu.py [--model Qwen2.5-Coder-0.5B.gguf] [--device cuda|cpu] [--out gpu] [--budget-s 600] [--small]

Takes what is on the machine: PyTorch, transformers, vLLM where it is installed, the model's file (else the embedded model),
gsm8k_train.jsonl and gsm8k_test.jsonl below TPT_DATA (else word problems). Nothing is fetched. Each part is a process of its
own with a limit, in order of what is most worth knowing: what one part meets with, even the end of its memory, is written down
and the next part begins. Writes gpu.json and gpu.md, anew after each part. ``--small``: a size for a CPU, to try the command.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("TPT_DATA", "data")) / "math"
BATCHES = (64, 128, 256)
Figures = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What a part is told."""

    model: str
    device: str
    out: Path
    small: bool

    @property
    def precision(self) -> str:
        return "bfloat16" if self.device == "cuda" else "float32"

    @property
    def cache(self) -> Path:
        return self.out / "cache"

    @property
    def on_gsm8k(self) -> bool:
        return all((DATA / f"gsm8k_{split}.jsonl").is_file() for split in ("train", "test"))


def machine(setting: Setting) -> Figures:
    """Say what is measured on, and how fast its memory is: a large copy reads and writes every byte once."""
    import torch
    import transformers

    size = 2**24 if setting.small else 2**30
    source = torch.ones(size, dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    seconds = min(timed(lambda: target.copy_(source), setting.device) for _ in range(10))
    on_gpu = setting.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or platform.machine(),
        "memory GB": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1) if on_gpu else None,
        "driver CUDA": torch.version.cuda if on_gpu else None,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "vllm": importlib.util.find_spec("vllm") is not None,
        "copy GB/s": round(2 * size / seconds / 1e9, 1),
    }


def timed(call: Callable[[], object], device: str) -> float:
    """Return the seconds that some work takes, to its end on the device."""
    import torch

    wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    wait()
    started = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - started


def thinking(setting: Setting) -> Figures:
    """Sample the same requests by the engine and by ``generate``; in steady state with CUDA graphs and without."""
    import torch
    from think_arms import generate_rate, rate

    from tpt.model.load import load_model

    work, engine = workload(setting)
    requests = work.requests()
    rate(engine, work.requests(part=2)[:8])
    found: Figures = {"requests": len(requests), "engine": engine.describe()}
    found["hf tokens/s"] = round(statistics.median(rate(engine, work.requests(part=part)) for part in range(2)))
    found["steady state"] = steady_state(setting, work)
    found["peak GB"] = round(engine.describe()["peak_memory_bytes"] / 1e9, 2)
    engine.close()
    gc.collect()
    model = load_model(setting.model, dtype=setting.precision, device=setting.device, cache=setting.cache)
    sizes = [size for size in BATCHES if size <= len(requests)] or [len(requests)]
    stops = found["engine"]["stop_ids"]
    rates: dict[int, float] = {}
    for size in sizes:
        try:
            rates[size] = generate_rate(model, requests[:size], stops)
        except torch.OutOfMemoryError:
            break
    found["generate tokens/s"] = {str(size): round(each) for size, each in rates.items()}
    if rates:
        found["hf / generate at its best batch"] = round(found["hf tokens/s"] / max(rates.values()), 2)
    return found


def workload(setting: Setting) -> tuple[Any, Any]:
    """Return the requests and the engine."""
    from think_arms import CHAT, PROBLEMS, Workload, questions

    from tpt.config import EngineConfig, PromptConfig
    from tpt.engines.hf.opening import open_hf
    from tpt.model.chat import open_chat
    from tpt.records import Problem

    chat = open_chat(PromptConfig(), setting.model, setting.cache)
    config = EngineConfig(device=setting.device, dtype=setting.precision, slots=16 if setting.small else 256)
    count = 4 if setting.small else PROBLEMS
    texts = questions(3 * count)
    prompts = [chat.prompt_ids(Problem(id=f"{at}", question=text, answer="")) for at, text in enumerate(texts)]
    sampling = replace(CHAT, max_tokens=8) if setting.small else CHAT
    longest = max(map(len, prompts)) + sampling.max_tokens
    engine = open_hf(setting.model, chat, config, max_length=longest, cache=setting.cache)
    return Workload(engine, prompts, sampling, count, setting.model), engine


def steady_state(setting: Setting, work: Any) -> Figures:
    """Time steps with every slot busy, with graphs and without in turn, and hold them against the memory's speed.

    A step reads every weight once, and the keys and values of its window; what it writes is little.
    """
    engine = work.engine
    decoder, requests = engine._decoder, work.requests(repeat=2)
    graphs = getattr(decoder, "graphs", None)
    arms = {"without CUDA graphs": None, **({"with CUDA graphs": graphs} if graphs is not None else {})}
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for request in requests:
        engine.add(request)
    for _ in range(1 if setting.small else 3):
        for name, taking in arms.items():
            decoder.graphs = taking
            for _ in range(2):
                engine.step()  # what a step sets up when it is first taken
            taken[name] += [timed(engine.step, setting.device) for _ in range(1 if setting.small else 8)]
    decoder.graphs = graphs
    rows = int(engine.describe()["slots"])
    weights = sum(each.numel() * each.element_size() for each in engine.model.parameters())
    engine.cancel({request.id for request in requests})
    found: Figures = {"rows": rows, "weight bytes": weights}
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        found[name] = {
            "ms a step": round(1e3 * median, 3),
            "tokens/s": round(rows / median),
            "GB/s of weights and half-full cache": round((weights + decoder.nbytes / 2) / median / 1e9, 1),
        }
    return found


def served_by_vllm(setting: Setting) -> Figures:
    """Sample the same requests by vLLM, if it is installed."""
    if importlib.util.find_spec("vllm") is None:
        return {"vLLM": "not installed"}
    from think_arms import vllm_rate

    work, engine = workload(setting)
    # vLLM takes the memory for itself.
    engine.close()
    return {"vLLM tokens/s": round(vllm_rate(Path(sys.executable), work, setting.cache))}


def training(setting: Setting) -> Figures:
    """Train a few steps on random rows: tokens a second, and the peak of the memory against its estimate."""
    from memory import measure

    sizes = {"micro_batch_size": 1, "length": 64} if setting.small else {"micro_batch_size": 8, "length": 512}
    shape = {"model": setting.model, "precision": setting.precision, **sizes}
    found = measure(shape, device=setting.device, cache=setting.cache)
    return {
        **sizes,
        "tokens/s": round(found["tokens"] / found["seconds"]),
        "estimated GB": round(found["estimated"] / 1e9, 3),
        "measured GB": round(found["measured"] / 1e9, 3),
        "measured / estimated": round(found["measured"] / found["estimated"], 2),
    }


def embedded_loop(setting: Setting) -> Figures:
    """Run two rounds with the embedded model."""
    sets = ["rounds=2", "engine.batch_invariant=false"]
    if setting.small:
        sets = ["rounds=1", "problems.max_train=40", "problems.max_heldout=20", "prune.size=10", "evaluate.samples=2"]
        sets += ["evaluate.ks=[1]", "stop.gate=off"]
    return loop(setting, "embedded", "quickstart.toml", sets)


def model_loop(setting: Setting) -> Figures:
    """Run two rounds with the model's file on GSM8K."""
    if setting.model == "embedded" or not setting.on_gsm8k:
        return {"left out": "needs --model and GSM8K below TPT_DATA"}
    files = [f"problems.train={DATA / 'gsm8k_train.jsonl'}", f"problems.heldout={DATA / 'gsm8k_test.jsonl'}"]
    sets = [
        *files,
        f"model={setting.model}",
        "threads=0",
        "rounds=2",
        "problems.max_train=1500",
        "problems.max_heldout=300",
    ]
    return loop(setting, "model", "qwen_gsm8k.toml", [*sets, "prune.size=300", "stop.gate=off"])


def loop(setting: Setting, name: str, example: str, sets: list[str]) -> Figures:
    """Run an example as a user would, and return what its rounds came to; those that were done when time ran out."""
    out = setting.out / f"run-{name}"
    command = [sys.executable, "-m", "tpt", "run", str(ROOT / "examples" / example), "--out", str(out)]
    for each in [*sets, f"engine.device={setting.device}"]:
        command += ["--set", each]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    rounds = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("round-*/round.json"))]
    found: Figures = {
        str(each["index"]): {
            "pass@1": round(each["evaluate"]["pass_at_k"]["1"]["mean"], 4),
            "seconds": round(each["wall_s"], 1),
            "stages": {
                stage: round(json.loads(path.read_text(encoding="utf-8"))["counts"]["wall_s"], 1)
                for stage in ("think", "train", "evaluate")
                if (path := out / f"round-{each['index']}" / f"{stage}.json").exists()
            },
        }
        for each in rounds
    }
    if ended.returncode:
        found["ended"] = ended.stderr.strip()[-500:]
    return found


PARTS: dict[str, Callable[[Setting], Figures]] = {
    "machine": machine,
    "thinking": thinking,
    "training": training,
    "embedded loop": embedded_loop,
    "vLLM": served_by_vllm,
    "model's loop": model_loop,
}
SHARES = {"machine": 0.1, "thinking": 0.3, "training": 0.15, "embedded loop": 0.25, "vLLM": 0.3, "model's loop": 1.0}
"""Of the whole time, at most; the last takes what is left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="a folder or a .gguf file")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--budget-s", type=float, default=600)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--part", choices=PARTS, help="one part in this process; used for the process of each")
    arguments = parser.parse_args()
    setting = Setting(arguments.model, arguments.device, arguments.out.absolute(), arguments.small)
    if arguments.part:
        print("\nRESULT " + json.dumps(PARTS[arguments.part](setting)), flush=True)
        return
    setting.out.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + arguments.budget_s
    found: Figures = {}
    for part in PARTS:
        limit_s = min(SHARES[part] * arguments.budget_s, until - time.monotonic())
        found[part] = apart(part, limit_s, arguments.device) if limit_s > 0 else {"left out": "no time is left"}
        (setting.out / "gpu.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        (setting.out / "gpu.md").write_text(table(found), encoding="utf-8")
        print(f"{part}: {json.dumps(found[part])}", file=sys.stderr, flush=True)
    print(table(found))


def apart(part: str, limit_s: float, device: str) -> Figures:
    """Do a part in a process of its own, and return what it found or how it ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    started = time.monotonic()
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"ended": f"not done after {limit_s:.0f} s"}
    results = [line.removeprefix("RESULT ") for line in said.splitlines() if line.startswith("RESULT ")]
    if process.returncode or not results:
        return {"ended": f"exit code {process.returncode}: {said.strip()[-500:]}"}
    return {**json.loads(results[-1]), "wall s": round(time.monotonic() - started, 1)}


def table(found: Figures) -> str:
    """Return everything as a Markdown table, a row for each figure."""
    rows = [f"| {part} | {name} | {value} |" for part, figures in found.items() for name, value in flat(figures)]
    return "\n".join(["| part | what | value |", "|---|---|---:|", *rows]) + "\n"


def flat(figures: Figures, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield every figure with its path."""
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from flat(value, f"{before}{name}: ")
        else:
            yield before + name, str(value).replace("\n", " ").replace("|", "/")


if __name__ == "__main__":
    main()
