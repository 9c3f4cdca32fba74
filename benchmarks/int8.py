"""Whether a model that thinks in int8 finds other solutions or becomes another model, and how much faster it is.

    python benchmarks/int8.py runs CONFIG [--rounds 3] [--out DIR] [--set KEY=VALUE ...]
    python benchmarks/int8.py speed [--model SPEC] [--slots 256] [--dtype auto] [--steps 20]

``runs``: the config's run twice, thinking in full precision and in int8, with the same seed and the same number of samples
of every problem (``think.sampler = "fixed"``); scores are in full precision. It prints what the base model solves of the
training problems both ways, how varied and long its right traces are, and the held-out scores of every round. Runs that are
there already are gone on with. ``--rounds 0``: the base model alone, scored in full precision and in int8.

``speed``: decode steps with all slots busy, full and int8 in turn, one thread, by the time that the process had the
processor, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from think_arms import CHAT, SAMPLES, SMOLLM2, questions

from tpt.config import EngineConfig, PromptConfig
from tpt.engines import Request
from tpt.engines.hf.int8 import Int8Linear
from tpt.engines.hf.opening import open_hf
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer
from tpt.records import Problem, Trace, Verdict
from tpt.run.directory import RunDir
from tpt.scoring import stderr_over
from tpt.scoring.diversity import training_diversity
from tpt.scoring.score import clusters_of, read_counts
from tpt.system.jsonl import iterate_records, read_records

ARMS = ("full", "int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(required=True)
    runs = tasks.add_parser("runs")
    runs.add_argument("config")
    runs.add_argument("--rounds", type=int, default=3)
    runs.add_argument("--out", type=Path)
    runs.add_argument("--set", action="append", default=[], dest="sets")
    runs.set_defaults(act=compare_runs)
    speed = tasks.add_parser("speed")
    speed.add_argument("--model", default=SMOLLM2)
    speed.add_argument("--slots", type=int, default=256)
    speed.add_argument("--dtype", default="auto")
    speed.add_argument("--steps", type=int, default=20)
    speed.set_defaults(act=compare_speed)
    arguments = parser.parse_args()
    arguments.act(arguments)


def compare_runs(arguments: argparse.Namespace) -> None:
    rounds = range(1, arguments.rounds + 1)
    key = "engine.weights" if rounds else "evaluate.weights"
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary)
        arms = [RunDir(out / arm) for arm in ARMS]
        for arm, run in zip(ARMS, arms, strict=True):
            given = [f"rounds={arguments.rounds}", "think.sampler=fixed", "stop.patience=0", f"{key}={arm}"]
            command = [sys.executable, "-m", "tpt", "run", arguments.config, "--out", str(run.path)]
            subprocess.run(
                [*command, *(part for each in (*given, *arguments.sets) for part in ("--set", each))], check=True
            )
        report(arms, rounds)


def report(arms: list[RunDir], rounds: range) -> None:
    """Print what two finished runs show."""
    learnt, heldout = arms[0].problems, arms[0].heldout
    print("| measured | full | int8 | difference, 95 % interval |\n| --- | ---: | ---: | ---: |")
    found = [run.round(1) if rounds else run.round(0).scored for run in arms]
    kind, problems = ("training", learnt) if rounds else ("held-out", heldout)
    scored(f"base model, {kind} problems", [each.verdicts for each in found], problems)
    tables = [pairs(each.traces, each.verdicts) for each in found]
    for name, right in (("all", False), ("the right", True)):
        means = [float(np.mean([t.completion_tokens for t, v in table if v.strict or not right])) for table in tables]
        print(f"| tokens of a completion, {name} ones | {means[0]:.2f} | {means[1]:.2f} | |")
    told = [training_diversity(table) for table in tables]
    for name in sorted(told[0].keys() & told[1].keys()):
        print(f"| right traces: {name} | {told[0][name]:.4f} | {told[1][name]:.4f} | |")
    for index in rounds:
        each = [run.round(index) for run in arms]
        tokens = [sum(trace.completion_tokens for trace in iterate_records(at.traces, Trace)) for at in each]
        print(f"| round {index}: tokens sampled to think | {tokens[0]:,} | {tokens[1]:,} | |")
        scored(f"round {index}: held-out problems", [at.evaluate_verdicts for at in each], heldout)


def scored(name: str, verdicts: list[Path], problems: Path) -> None:
    """Print the strict pass@1 of both arms, and the difference paired by problem, clusters of problems counting as one."""
    counts = [read_counts(path) for path in verdicts]
    full, int8 = (each.shares[:, 0] for each in counts)
    clusters = clusters_of(read_records(problems, Problem), counts[0].problem_ids)
    off, half = float((int8 - full).mean()), 1.96 * stderr_over(int8 - full, clusters)
    cells = f"{full.mean():.1%} | {int8.mean():.1%} | {100 * off:+.1f} ± {100 * half:.1f} points, {len(full)} problems"
    print(f"| {name} | {cells} |")


def pairs(traces: Path, verdicts: Path) -> list[tuple[Trace, Verdict]]:
    return list(zip(iterate_records(traces, Trace), iterate_records(verdicts, Verdict), strict=True))


def compare_speed(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = load_tokenizer(arguments.model, cache=Path(folder))
        engines = {}
        for arm in ARMS:
            settings = EngineConfig(slots=arguments.slots, device="cpu", dtype=arguments.dtype, weights=arm)
            chat = Chat(tokenizer, PromptConfig())
            engines[arm] = open_hf(arguments.model, chat, settings, max_length=512, cache=Path(folder))
    started = {}
    for arm, engine in engines.items():
        for index, question in enumerate(questions(arguments.slots // SAMPLES)):
            turns = [{"role": "user", "content": question}]
            prompt = tuple(tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"])
            for sample in range(SAMPLES):
                engine.add(Request((str(index), sample), prompt, SAMPLES * index + sample, CHAT))
        started[arm] = timed(engine.step)
    products = {arm: matrix_products(engine.model, arguments.slots) for arm, engine in engines.items()}
    steps: dict[str, list[float]] = {arm: [] for arm in ARMS}
    bounds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(arguments.steps):
        for arm in ARMS:
            steps[arm].append(timed(engines[arm].step))
            bounds[arm].append(timed(products[arm]))
    described = engines["int8"].describe()
    print(
        f"{arguments.model}, {arguments.slots} slots, {described['dtype']}, {described['int8']}, {os.cpu_count()} cores"
    )
    print("| seconds of processor time | full | int8 | full / int8 |\n| --- | ---: | ---: | ---: |")
    for name, table in (("a step", steps), ("its matrix products alone", bounds)):
        full, int8 = (statistics.median(table[arm]) for arm in ARMS)
        print(f"| {name} | {full:.4f} | {int8:.4f} | {full / int8:.2f}x |")
    full, int8 = started["full"], started["int8"]
    print(f"| all prompts and the first step | {full:.2f} | {int8:.2f} | {full / int8:.2f}x |")


def timed(call) -> float:  # type: ignore[no-untyped-def]
    begun = time.process_time()
    call()
    return time.process_time() - begun


def matrix_products(model, rows: int):  # type: ignore[no-untyped-def]
    """Return a function that does all products of one decode step, in int8 with the rounding of what goes in."""
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear | Int8Linear)]
    inputs = {width: torch.randn(rows, width, dtype=model.dtype) for width in {layer.in_features for layer in layers}}

    def run() -> None:
        with torch.inference_mode():
            for layer in layers:
                layer(inputs[layer.in_features])

    run()
    return run


if __name__ == "__main__":
    main()
