"""How fast the in-process engine samples on a CPU, against the engines that one would take instead.

    make yardsticks      # .venv-llama, .venv-openvino, .venv-ctranslate2, .venv-vllm, .venv-zentorch: one for each engine
    python benchmarks/yardsticks.py [--model smollm2] [--tokens 64] [--repeats 3] [--threads 2] [--only REGEX] [--cpu]

The same requests for all: 64 GSM8K test questions (TPT_DATA; else word problems), 4 samples of each, T = 0.7 and nothing
else, every sample ``--tokens`` long whatever is in it; other questions in every repeat, as engines keep the prompts they know.
Weights come from one GGUF file. Every arm is a process in the environment of its engine, loaded before the first is measured;
then all sample in turn, as often as ``--repeats`` says. Times include the prompts. The matrix products alone are what bounds
ours: of what the prompts do not share, and of every step for all requests. An engine whose environment is missing, or
that fails, is left out with a line that says so.

Measurements are kept in ``--cache``; the table has all of them with the same settings, so ``--only`` may measure it in parts
where memory does not hold all engines at once. ``--cpu``: ratios by processor time, for a machine with other work on it; with
``--threads 1``, as threads that wait for each other count too. ``--wait``: each repeat waits for a line on standard input.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import yardstick_models as models
from think_arms import PROBLEMS, SMOLLM2, questions
from yardstick_arms.serving import MARK

from tpt.model.number_format import has_bfloat16
from tpt.stage_process import ENVIRONMENT

ROOT = Path(__file__).parents[1]
MODELS = {
    "smollm2": SMOLLM2,
    "qwen": str(Path("~/.cache/tpt-models/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf").expanduser()),
}
WARM_UP = 2
"""Prompts at the front that nothing but the warm-up samples."""
AS_IT_IS = "the file as it is"
DTYPE = "bfloat16" if has_bfloat16() else "float32"
"""What a processor without instructions for bfloat16 is fast in is float32."""
FULL = "full"
OURS = {FULL: f"tpt, {DTYPE}", "8 bits": "tpt, int8"}


@dataclass
class Arm:
    """An engine with its settings, and what came of it."""

    name: str
    precision: str
    environment: str
    """Of ``.venv-ENVIRONMENT``; empty for ours."""
    script: str
    given: tuple[str, ...] = ()
    reads: str = ""
    """The model's other form, where it does not read the checkpoint."""
    variables: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    versions: str = ""
    failure: str = ""

    @property
    def interpreter(self) -> Path:
        if not self.environment:
            return Path(sys.executable)
        return ROOT / f".venv-{self.environment}" / "bin" / ("node" if self.script.endswith(".mjs") else "python")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="smollm2")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="arms whose name this regular expression finds")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "tpt-benchmark-cache")
    arguments = parser.parse_args()
    spec, cache = MODELS[arguments.model], arguments.cache / arguments.model
    cache.mkdir(parents=True, exist_ok=True)
    job = write_job(spec, cache, arguments)
    settings = [getattr(arguments, name) for name in ("problems", "samples", "tokens", "threads")]
    arms = arms_of()
    chosen = [arm for arm in arms if re.search(arguments.only, arm.name)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for arm in chosen:
            start(arm, job, spec, cache)
        for arm in chosen:
            await_start(arm)
        for _ in range(arguments.repeats):
            if arguments.wait and not sys.stdin.readline():
                break
            for arm in chosen:
                measure(arm, cache / "measured.jsonl", settings)
    finally:
        for arm in chosen:
            stop(arm)
    show(arms, cache / "measured.jsonl", settings, arguments)


def arms_of() -> list[Arm]:
    arms = [
        Arm(f"tpt, {DTYPE}", FULL, "", "ours.py", ("full",), variables=ENVIRONMENT),
        Arm("tpt, int8", "8 bits", "", "ours.py", ("int8",), variables=ENVIRONMENT),
        Arm(f"tpt's matrix products alone, {DTYPE}", FULL, "", "products.py", ("full",), variables=ENVIRONMENT),
        Arm("tpt's matrix products alone, int8", "8 bits", "", "products.py", ("int8",), variables=ENVIRONMENT),
        Arm(f"`generate`, {DTYPE}, 256 rows", FULL, "", "generate.py", ("256",)),
        Arm(f"`generate`, {DTYPE}, 128 rows", FULL, "", "generate.py", ("128",)),
        Arm(f"vLLM, {DTYPE}", FULL, "vllm", "vllm_cpu.py"),
        Arm(f"vLLM and zentorch, {DTYPE}", FULL, "zentorch", "vllm_cpu.py", ("zentorch",)),
    ]
    for kind, precision in (("bf16", FULL), ("f16", FULL), ("q8_0", "8 bits"), (AS_IT_IS, "4 bits")):
        arms.append(Arm(f"llama.cpp, {kind}", precision, "llama", "llama_cpp.mjs", reads=kind))
        if kind != "bf16":
            arms.append(Arm(f"OpenVINO, {kind}", precision, "openvino", "openvino_genai_cb.py", reads=kind))
    for kind, precision in (("float32", FULL if DTYPE == "float32" else "32 bits"), ("int8_float32", "8 bits")):
        name = f"CTranslate2, {kind}"
        arms.append(Arm(name, precision, "ctranslate2", "ctranslate2_arm.py", (kind,), reads="ctranslate2"))
    return arms


def file_for(arm: Arm, spec: str, cache: Path) -> list[str]:
    """Return what an arm reads besides the job, made where it is missing."""
    if arm.reads == "ctranslate2":
        return [str(models.for_ctranslate2(spec, cache, arm.interpreter))]
    if arm.reads == AS_IT_IS:
        return [str(models.resolve(spec).gguf_path)]
    return [str(models.rewritten(spec, cache, arm.reads))] if arm.reads else []


def write_job(spec: str, cache: Path, arguments: argparse.Namespace) -> Path:
    wanted = WARM_UP + arguments.problems * arguments.repeats
    prompts, pieces = models.prompts_of(spec, cache, questions(wanted))
    if len(prompts) < wanted:
        sys.exit(f"{wanted} questions are needed, and there are {len(prompts)}: lower --repeats or --problems")
    job = {
        "model": str(models.checkpoint(spec, cache)),
        "prompts": prompts,
        "warm_up": WARM_UP,
        "warm_up_tokens": 4,
        "pieces": pieces,
        "problems": arguments.problems,
        "samples": arguments.samples,
        "rows": arguments.problems * arguments.samples,
        "tokens": arguments.tokens,
        "temperature": 0.7,
        "dtype": DTYPE,
        "threads": arguments.threads,
        "max_length": max(map(len, prompts)) + arguments.tokens,
    }
    file = cache / "job.json"
    file.write_text(json.dumps(job), encoding="utf-8")
    return file


def start(arm: Arm, job: Path, spec: str, cache: Path) -> None:
    if not arm.interpreter.exists():
        arm.failure = f"no {arm.interpreter.relative_to(ROOT)}: make yardsticks"
        return
    threads = str(json.loads(job.read_text(encoding="utf-8"))["threads"])
    script = str(Path(__file__).with_name("yardstick_arms") / arm.script)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, **arm.variables}
    if arm.environment:
        environment.pop("PYTHONPATH", None)
    arm.process = subprocess.Popen(
        [str(arm.interpreter), script, str(job), *file_for(arm, spec, cache), *arm.given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(cache / f"{re.sub('[^a-z0-9]+', '-', arm.name.lower())}.log").open("w", encoding="utf-8"),
        text=True,
        env=environment,
        start_new_session=True,
    )


def await_start(arm: Arm) -> None:
    if arm.process is None:
        return
    found = answer(arm)
    if found is not None:
        arm.versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
        print(f"{arm.name}: ready ({arm.versions})", file=sys.stderr, flush=True)


def answer(arm: Arm) -> dict[str, Any] | None:
    """Return the next line that is an arm's answer; None where its process has ended."""
    assert arm.process is not None
    out: IO[str] = arm.process.stdout  # type: ignore[assignment]
    for line in out:
        if line.startswith(MARK):
            return json.loads(line.removeprefix(MARK))  # type: ignore[no-any-return]
    arm.failure = f"failed with exit code {arm.process.wait()}: see its log"
    print(f"{arm.name}: {arm.failure}", file=sys.stderr, flush=True)
    stop(arm)
    return None


def measure(arm: Arm, file: Path, settings: list[int]) -> None:
    """Have an arm sample all requests once, and write down how fast it was."""
    if arm.process is None:
        return
    session = arm.process.pid
    before = cpu_seconds(session)
    with contextlib.suppress(BrokenPipeError):
        print(file=arm.process.stdin, flush=True)
    found = answer(arm)
    if found is None:
        return
    rates = [found["tokens"] / seconds for seconds in (found["seconds"], cpu_seconds(session) - before)]
    with file.open("a", encoding="utf-8") as out:
        print(json.dumps({"arm": arm.name, "settings": settings, "versions": arm.versions, "rates": rates}), file=out)
    print(f"{arm.name}: {rates[0]:.0f} tok/s, {rates[1]:.0f} a processor second", file=sys.stderr, flush=True)


def cpu_seconds(session: int) -> float:
    """Return the processor time of all processes of a session."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def stop(arm: Arm) -> None:
    if arm.process is None:
        return
    with_children = arm.process.pid
    arm.process = None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(with_children, signal.SIGKILL)


def show(arms: list[Arm], file: Path, settings: list[int], arguments: argparse.Namespace) -> None:
    """Print the table of all that was measured with these settings, ratios first."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    measured = [each for each in map(json.loads, lines) if each["settings"] == settings]
    runs = {arm.name: [each["rates"] for each in measured if each["arm"] == arm.name] for arm in arms}
    clock, cpu = (
        {name: statistics.median(each[i] for each in found) for name, found in runs.items() if found} for i in (0, 1)
    )
    speed = cpu if arguments.cpu else clock
    own = {bits: speed.get(name) for bits, name in OURS.items()}
    best = max(filter(None, own.values()), default=None)
    problems, samples, tokens, threads = settings
    print(f"\n{arguments.model}, {problems} x {samples} requests of {tokens} tokens, {threads} threads, {machine()}")
    print(
        "\n| engine | weights | tpt over it, at that precision | best over it | tok/s | tok/s a processor second | runs |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for arm in arms:
        if arm.name not in speed:
            print(f"| {arm.name} | {arm.precision} | | | {arm.failure or 'not measured'} | | |")
            continue
        ratios = [f"{each / speed[arm.name]:.2f}x" if each else "" for each in (own.get(arm.precision), best)]
        found = [f"{clock[arm.name]:,.0f}", f"{cpu[arm.name]:,.0f}", str(len(runs[arm.name]))]
        print("| " + " | ".join([arm.name, arm.precision, *ratios, *found]) + " |")
    print("\n" + "\n".join(sorted({f"- {each['versions']}" for each in measured})))


def machine() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    known = [
        name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if name in found["flags"].split()
    ]
    return f"{os.cpu_count()} cores, {found['model name']}: {', '.join(known)}"


if __name__ == "__main__":
    main()
