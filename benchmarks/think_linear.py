"""think.collect on the embedded model; run by think.py, each number of problems in a process of its own.

    python benchmarks/think_linear.py PROBLEMS [--threads 2]

Prints one line of JSON: the rate while no slot was empty, and the peak memory early and late.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from think_arms import CHAT

from tpt.config import EngineConfig, PromptConfig
from tpt.engines.hf.opening import open_hf
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer
from tpt.problems.procedural.word_problems import word_problems
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.sampling.collect import Progress, SamplingJob, collect
from tpt.sampling.samplers import Fixed
from tpt.system.memory import peak_bytes

SLOTS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=int)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tries = [collect_embedded(arguments.problems) for _ in range(max(1, 1500 // arguments.problems))]
    print(json.dumps({name: statistics.median(found[name] for found in tries) for name in tries[0]}))


def collect_embedded(count: int) -> dict[str, float]:
    """Return the rate while no slot was empty, and the peak memory early and late, for a process that does only this."""
    chat, settings = Chat(load_tokenizer("embedded"), PromptConfig()), EngineConfig(slots=SLOTS, device="cpu")
    engine = open_hf("embedded", chat, settings, max_length=256, cache=None)
    problems = {problem.id: problem for problem in word_problems(split="train", size=count)}
    prompts = {problem.id: engine.chat.prompt_ids(problem) for problem in problems.values()}
    order = {problem_id: index for index, problem_id in enumerate(problems)}
    ends: list[float] = []
    memory: list[float] = []

    def note(progress: Progress) -> None:
        if progress.traces <= count - SLOTS:
            ends.append(time.perf_counter())
        if progress.traces * 5 >= count and (not memory or progress.traces == count):
            memory.append(peak_bytes(torch.device("cpu")) / 2**20)

    job = SamplingJob(problems, prompts, engine, CHAT, lambda key: order[key[0]], judge, lambda *_: True, note)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")]
        collect(Fixed(list(problems), 1), job, traces_path=paths[0], verdicts_path=paths[1], surplus_path=paths[2])
    # Each of these steps made a token in every slot.
    half = len(ends) // 2
    rates = [SLOTS * (len(part) - 1) / (part[-1] - part[0]) for part in (ends, ends[:half], ends[half:])]
    return {"rate": rates[0], "drift": rates[2] / rates[1], "early_mb": memory[0], "late_mb": memory[-1]}


def judge(traces: Sequence[Trace], problems: Mapping[str, Problem]) -> list[Verdict]:
    return [Verdict(trace.problem_id, trace.sample, Outcome.WRONG, strict=False, extracted=None) for trace in traces]


if __name__ == "__main__":
    main()
