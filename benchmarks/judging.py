"""What judging beside the engine saves, against judging between its steps, on an engine that computes elsewhere.

    python benchmarks/judging.py [--kind code|math] [--problems 100] [--samples 4] [--slots 256] [--step-ms 15] [--repeats 3]

The engine is a script that sleeps for each decode step, as a driver does while a GPU computes; the verifiers are the real
ones, on real problems from TPT_DATA: MBPP's own programs, or GSM8K's answers judged as mathematics. A token is four bytes.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace

from tpt.engines import Completion, Request, Sampling
from tpt.engines.scripted import ScriptedEngine, ids_of
from tpt.problems import load_problems
from tpt.records import Problem
from tpt.sampling.collect import SamplingJob, collect
from tpt.sampling.samplers import Fixed
from tpt.seeds import seed_for
from tpt.verifiers.gold import gold_completion
from tpt.verifiers.judge import judge

DATA = os.environ.get("TPT_DATA", "data")
SOURCES = {"code": f"mbpp:{DATA}/code/mbpp.jsonl", "math": f"gsm8k:{DATA}/math/gsm8k_test.jsonl"}


class Sleeping(ScriptedEngine):
    """A script whose every step takes as long as one on an accelerator."""

    step_s = 0.0

    def step(self) -> list[Completion]:
        time.sleep(self.step_s)
        return super().step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=list(SOURCES), default="code")
    for name, default in (("problems", 100), ("samples", 4), ("slots", 256), ("step-ms", 15), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    found = load_problems(SOURCES[given.kind], limit=given.problems)
    problems = {each.id: each if each.kind == "code" else replace(each, kind="math") for each in found}
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(given.repeats):
        for apart, seconds in times.items():
            seconds.append(timed(problems, given, apart=apart))
    for apart, seconds in times.items():
        told = ", ".join(f"{each:.1f}" for each in seconds)
        print(
            f"judged {'beside the engine' if apart else 'between its steps'}: {statistics.median(seconds):.1f} s ({told})"
        )
    ratios = [before / after for before, after in zip(times[False], times[True], strict=True)]
    print(f"as fast: {statistics.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")


def timed(problems: dict[str, Problem], given: argparse.Namespace, *, apart: bool) -> float:
    """Return the seconds that sampling all takes."""
    engine = Sleeping(lambda request: written(problems[request.id[0]], request), slots=given.slots, tokens_a_step=4)
    engine.step_s = given.step_ms / 1000
    job = SamplingJob(
        problems=problems,
        prompt_ids={key: ids_of("?") for key in problems},
        engine=engine,
        sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=4096),
        seed_of=lambda key: seed_for(0, *key),
        judge=judge,
        keepable=lambda trace, verdict: False,
        judges_apart=apart,
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = {f"{name}_path": Path(folder) / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")}
        started = time.perf_counter()
        collect(Fixed(sorted(problems), given.samples), job, **paths)
        return time.perf_counter() - started


def written(problem: Problem, request: Request) -> str:
    """Return the problem's own solution behind as much thought as models differ by."""
    chance = random.Random(request.seed)
    text = gold_completion(problem)
    assert text is not None
    return "Let me think. " * chance.randint(1, 20) + "\n" + text


if __name__ == "__main__":
    main()
