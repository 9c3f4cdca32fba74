"""Measures the driver alone at a million problems: no model, a script writes the completions.

    python benchmarks/scale.py [--problems 1000000] [--samples 8] [--folder FOLDER] [--only think prune …]

Each part is a process of its own, so that its peak of memory is its own. Times are CPU seconds of one core, and the
engine's are taken off, so that a busy machine does not change them much.

- ``think``: ``collect`` with the ``number`` verifier; the first process is killed with SIGKILL half way, the second goes
  on from the files and finishes them.
- ``variety``: what the think stage says of its traces in the manifest.
- ``prune``: one trace of each solved problem, from the two files to the examples.
- ``report``: right samples of every problem, pass@k, and one problem looked up.
- ``replicas``: the real driver and sampler on a simulated clock, in front of 1 to 64 replicas of an engine.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tpt.config import PruneConfig
from tpt.engines import Completion, Guarantee, Request, RequestId, Sampling
from tpt.engines.scripted import STOP_ID, ScriptedEngine, ids_of
from tpt.prune import Pruning, is_keepable
from tpt.records import Problem, Trace
from tpt.run.journal import Journal
from tpt.run.problem_order import problem_order
from tpt.sampling.collect import Progress, SamplingJob, collect
from tpt.sampling.prompt_file import PromptFile
from tpt.sampling.samplers import Fixed, Sampler
from tpt.sampling.until_full import UntilFull
from tpt.scoring import pass_at_k_curve
from tpt.scoring.diversity import training_diversity
from tpt.scoring.score import read_counts
from tpt.seeds import seed_for
from tpt.system.jsonl import iterate_records, replace_records
from tpt.verifiers.judge import judge

PARTS = ("think", "variety", "prune", "report", "replicas")
WORDS = "Natalia sold clips to some of her friends in April and then half as many again in May for 12 dollars"
SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=512)
POLICY = PruneConfig(size="all")
SLOTS = 256
SHARES = 10
"""Memory is looked at when each tenth of the traces is there."""


class Speed(NamedTuple):
    """One replica of an engine."""

    name: str
    tokens_s: float
    slots: int


SPEEDS = (
    Speed("SmolLM2-135M, hf on 2 CPU cores (measured)", 1_000, 16),
    Speed("embedded model, hf on 2 CPU cores (measured)", 20_000, 64),
    Speed("2B model, vLLM on an H100 (assumed)", 20_000, 256),
    Speed("as fast as ten of these (assumed)", 200_000, 256),
)
REPLICAS = (1, 4, 16, 64)
MEAN_TOKENS = 150
LENGTH_SIGMA = 0.4


def make_problems(path: Path, count: int) -> None:
    """Write problems with questions of about 200 characters."""
    source = random.Random(0)
    rows = (
        Problem(f"made/train/{i:07}", " ".join(source.choices(WORDS.split(), k=42)) + "?", str(source.randrange(1000)))
        for i in range(count)
    )
    replace_records(path, rows)


def load_problems(folder: Path) -> dict[str, Problem]:
    return {problem.id: problem for problem in iterate_records(folder / "problems.jsonl", Problem)}


def written(seed: int, answer: int) -> str:
    """Return a solution of four steps, right four times in ten; one in five is not in the asked format."""
    steps = "\n".join(
        f"Step {n}: {answer + n} + {(seed >> n) % 50} is what goes into the next part of it." for n in range(4)
    )
    final = answer if seed % 10 < 4 else answer + 1
    return f"{steps}\nThe answer is {final}." if seed % 5 == 0 else f"{steps}\n#### {final}"


class TimedEngine(ScriptedEngine):
    """A scripted engine that counts the CPU seconds of its own steps."""

    seconds = 0.0

    def step(self) -> list[Completion]:
        began = time.process_time()
        finished = super().step()
        self.seconds += time.process_time() - began
        return finished


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def job_for(problems: dict[str, Problem], prompts: Any, engine: Any, on_progress: Any) -> SamplingJob:
    return SamplingJob(
        problems=problems,
        prompt_ids=prompts,
        engine=engine,
        sampling=SAMPLING,
        seed_of=lambda key: seed_for(0, "think", 1, *key),
        judge=judge,
        keepable=lambda trace, verdict: is_keepable(trace, verdict, problems[trace.problem_id], POLICY),
        on_progress=on_progress,
    )


def think(folder: Path, samples: int, sampler_name: str) -> dict[str, Any]:
    """Go on with sampling in the folder, and finish it."""
    problems = load_problems(folder)
    sampler: Sampler
    if sampler_name == "fixed":
        sampler = Fixed(sorted(problems), samples)
    else:
        sampler = UntilFull(problem_order(list(problems), 0, 1), samples=samples, size=None, per_problem=1)
    engine = TimedEngine(lambda request: written(request.seed, int(problems[request.id[0]].answer)), slots=SLOTS)
    memory: dict[int, float] = {}
    sampling: list[tuple[float, float, int]] = []
    most = len(problems) * samples

    def on_progress(progress: Progress) -> None:
        memory.setdefault(SHARES * progress.traces // most, round(resident_mb()))
        # The first step's mark stays: sampling began there.
        sampling[1:] = [(time.process_time(), engine.seconds, progress.traces)]

    loaded = time.process_time()
    with PromptFile(((key, ids_of(problem.question)) for key, problem in problems.items()), folder) as prompts:
        prompted = time.process_time()
        job = job_for(problems, prompts, engine, on_progress)
        done = collect(
            sampler,
            job,
            traces_path=folder / "traces.jsonl",
            verdicts_path=folder / "verdicts.jsonl",
            surplus_path=folder / "surplus.jsonl",
        )
    ended = time.process_time()
    # Without a single step everything was there already.
    sampling = sampling or [(ended, 0.0, done.resumed_traces)]
    (began, engine_before, found), (last, engine_after, traces) = sampling[0], sampling[-1]
    sampled = max(1, traces - found)
    whole = max(1e-6, last - began)
    seconds = max(1e-6, whole - (engine_after - engine_before))
    return {
        "traces": done.traces,
        "found on disk": done.resumed_traces,
        "sampled here": sampled,
        "driver_us_per_trace": round(1e6 * seconds / sampled, 2),
        "driver_traces_per_s": round(sampled / seconds),
        "with_the_scripted_engine_traces_per_s": round(sampled / whole),
        "load_problems_s": round(loaded, 1),
        "write_prompts_s": round(prompted - loaded, 1),
        "recover_s": round(began - prompted, 1),
        "sort_and_finish_s": round(ended - last, 1),
        "resident_mb_at_each_tenth": memory,
    }


def variety(folder: Path) -> dict[str, Any]:
    """Do what the think stage does after sampling."""
    journal = Journal(folder / "traces.jsonl", folder / "verdicts.jsonl")
    began = time.process_time()
    outcomes = Counter(str(verdict.outcome) for _, verdict in journal)
    counted = time.process_time()
    found = training_diversity(journal)
    return {
        "outcomes": dict(outcomes),
        "outcomes_s": round(counted - began, 1),
        "variety_s": round(time.process_time() - counted, 1),
        "variety": found,
    }


def prune(folder: Path) -> dict[str, Any]:
    """Prune as the stage does, to examples.jsonl."""
    problems = load_problems(folder)
    journal = Journal(folder / "traces.jsonl", folder / "verdicts.jsonl")
    pruning = Pruning(problems, POLICY, 0, 1, problem_order(list(problems), 0, 1))
    began = time.process_time()
    found, chosen = pruning.survey(journal.problems())
    surveyed = time.process_time()
    examples = pruning.examples(
        journal.problems(), chosen, lambda problem: [{"role": "user", "content": problem.question}]
    )
    count = replace_records(folder / "examples.jsonl", examples)
    return {
        "survey_s": round(surveyed - began, 1),
        "write_examples_s": round(time.process_time() - surveyed, 1),
        "examples": count,
        "keepable": found.keepable_traces,
    }


def report(folder: Path) -> dict[str, Any]:
    """Count the right samples of every problem and compute the curve of pass@k."""
    began = time.process_time()
    counts = read_counts(folder / "verdicts.jsonl")
    counted = time.process_time()
    curve = pass_at_k_curve(counts.strict, counts.samples)
    scored = time.process_time()
    wanted = counts.problem_ids[len(counts.problem_ids) // 2]
    shown = sum(trace.problem_id == wanted for trace in iterate_records(folder / "traces.jsonl", Trace))
    return {
        "count_verdicts_s": round(counted - began, 1),
        "pass_at_k_s": round(scored - counted, 2),
        "find_one_problem_s": round(time.process_time() - scored, 1),
        "pass@1": round(curve[1].mean, 4),
        "traces of the problem": shown,
    }


class SimulatedReplicas:
    """Replicas with so many slots each, on a simulated clock.

    The clock goes on by the CPU time that the driver really took since the last step; when nothing is finished by then,
    it jumps to the next completion.
    """

    guarantee: Guarantee = "batch-invariant"

    def __init__(self, speed: Speed, replicas: int) -> None:
        self.slots = speed.slots * replicas
        self.now = 0.0
        self.driver_s = 0.0
        self._token_s = speed.slots / speed.tokens_s
        self._source = random.Random(0)
        self._ends: list[tuple[float, int, RequestId, int]] = []
        self._added = 0
        self._left = time.process_time()
        self._ids = (*ids_of("x" * 4 * MEAN_TOKENS), STOP_ID)
        self.finished_at: list[float] = []

    def add(self, request: Request) -> None:
        tokens = max(1, round(MEAN_TOKENS * self._source.lognormvariate(-(LENGTH_SIGMA**2) / 2, LENGTH_SIGMA)))
        self._added += 1
        heapq.heappush(self._ends, (self.now + tokens * self._token_s, self._added, request.id, request.seed))

    def step(self) -> list[Completion]:
        driver = time.process_time() - self._left
        self.driver_s += driver
        self.now += driver
        if self._ends:
            self.now = max(self.now, self._ends[0][0])
        done: deque[Completion] = deque()
        while self._ends and self._ends[0][0] <= self.now:
            _, _, key, seed = heapq.heappop(self._ends)
            done.append(Completion(key, self._ids[: MEAN_TOKENS + 1], written(seed, 7), "stop"))
        self.finished_at.extend([self.now] * len(done))
        self._left = time.process_time()
        return list(done)

    def cancel(self, ids: set[RequestId]) -> int:
        return 0

    def under_way(self) -> int:
        return 0

    def describe(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        self._ends.clear()


def replicas(folder: Path) -> dict[str, Any]:
    """Return traces per simulated second, in the middle of the run, for each engine and number of replicas."""
    rows = {}
    for speed in SPEEDS:
        for count in REPLICAS:
            rows[f"{speed.name} x {count}"] = simulated(folder / "simulated", speed, count)
    return rows


def simulated(folder: Path, speed: Speed, count: int) -> dict[str, float]:
    shutil.rmtree(folder, ignore_errors=True)
    engine = SimulatedReplicas(speed, count)
    problems = {f"p{i:06}": Problem(f"p{i:06}", "?", "7") for i in range(max(8_000, 12 * engine.slots) // 4)}
    prompts = dict.fromkeys(problems, tuple(range(100)))
    sampler = Fixed(sorted(problems), 4)
    paths = {f"{name}_path": folder / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")}
    collect(sampler, job_for(problems, prompts, engine, lambda progress: None), **paths)
    times = engine.finished_at
    first, last = len(times) // 4, 3 * len(times) // 4
    ideal = count * speed.tokens_s / MEAN_TOKENS
    rate = (last - first) / max(1e-9, times[last] - times[first])
    return {
        "ideal_traces_s": round(ideal, 1),
        "traces_s": round(rate, 1),
        "of_ideal": round(rate / ideal, 3),
        "driver_us": round(1e6 * engine.driver_s / len(times), 1),
    }


def child(part: str, folder: Path, args: argparse.Namespace) -> Iterator[str]:
    yield from [sys.executable, __file__, "--child", part, "--folder", str(folder)]
    yield from ["--samples", str(args.samples), "--sampler", args.sampler]


def kill_half_way(command: list[str], folder: Path, size: float) -> float:
    """Start the process, kill it when the traces have that size, if it is still there, and return its CPU seconds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    traces = folder / "traces.jsonl"
    while process.poll() is None and not (traces.exists() and traces.stat().st_size >= size):
        time.sleep(0.2)
    process.kill()
    process.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(part: str, folder: Path, args: argparse.Namespace) -> None:
    done = subprocess.run(list(child(part, folder, args)), stdout=subprocess.PIPE, check=True, text=True)
    print(f"{part}: {json.dumps(json.loads(done.stdout), indent=2)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--sampler", choices=("fixed", "until_full"), default="fixed")
    parser.add_argument("--folder", type=Path, help="a new folder on a disk with room; default: a temporary one")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        call = {
            "think": lambda: think(args.folder, args.samples, args.sampler),
            "variety": lambda: variety(args.folder),
        }
        call |= {"prune": lambda: prune(args.folder), "report": lambda: report(args.folder)}
        call |= {"replicas": lambda: replicas(args.folder)}
        found = call[args.child]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "cpu_s": round(time.process_time(), 1), "peak_mb": round(peak)}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "problems.jsonl").exists():
            make_problems(folder / "problems.jsonl", args.problems)
        for part in args.only:
            if part == "think" and not (folder / "traces.jsonl").exists():
                size = 0.5 * 380 * args.problems * (args.samples if args.sampler == "fixed" else 2)
                seconds = kill_half_way(list(child(part, folder, args)), folder, size)
                print(f"killed, or finished, after {seconds:.1f} CPU seconds", flush=True)
            measured(part, folder, args)


if __name__ == "__main__":
    main()
