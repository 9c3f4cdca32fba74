"""What `until_full` saves over "N samples of every problem", and whether the training sets are the same in distribution.

    python benchmarks/think_tokens.py [--verdicts RUN/round-1/verdicts.jsonl --samples 10 --size 200]

Replays recorded verdicts through the real samplers, `collect` and `prune` on the scripted engine: the k-th sample of a
problem is the k-th of its recorded ones in a random order, and comes after a random number of steps, whatever is in it. With
--delay length it takes a step for every eight of its tokens: short ones, which are right more often, then come first, as
where a model decodes them. "every slot" is until_full with as many problems open as there are slots, whatever is likely to be
needed. Without --verdicts: a table sampled from the embedded model, one of
Qwen2.5-Math on MATH where TPT_DATA has it, the samples published with the paper where --published has a clone of
github.com/soheilzi/TPT, one made to the paper's pass@1 and pass@10, and one for a small set of hard problems in many slots,
where samples come by length. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from tpt.config import PruneConfig
from tpt.engines import Request, RequestId, Sampling
from tpt.engines.scripted import ScriptedEngine
from tpt.prune import select
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.run.problem_order import problem_order
from tpt.sampling.collect import Collected, SamplingJob, collect
from tpt.sampling.samplers import Fixed, Sampler
from tpt.sampling.until_full import UntilFull
from tpt.system.jsonl import read_records
from tpt.verifiers.judge import judge_one

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("TPT_DATA", "data"))
Arm = Literal["fixed", "every slot", "until_full", "first to finish"]
Delay = Literal["random", "length"]
DELAYS: dict[Delay, str] = {"random": "chance", "length": "length"}
PERMUTATIONS = 2000
TOKENS_A_STEP = 8
WRONG_LENGTH = 1.3
"""How many times as long as right ones the wrong samples published with the paper are, in the mean (773 characters to 594)."""


class Table(NamedTuple):
    """Recorded samples: problem id to (tokens, keepable) of each."""

    name: str
    unit: str
    """What the lengths count."""
    recorded: dict[str, list[tuple[int, bool]]]


@dataclass(frozen=True, slots=True)
class Setting:
    samples: int
    """N, at most as many as are recorded of every problem."""
    size: int
    """M."""
    slots: int
    delay: Delay
    """What the engine's delay of a sample goes by."""


class Drawn(NamedTuple):
    """One training set: what it cost and what is in it."""

    samples: int
    tokens: int
    collected: Collected
    steps: int
    """Of the engine."""
    chosen: list[tuple[str, int]]
    """(problem, recorded sample) of every example."""


class EverySlot(UntilFull):
    """A problem in every slot, one try of each at a time, and none is given up: what the opening policy is held against."""

    def next_requests(self, room: int) -> list[RequestId]:
        chosen: list[RequestId] = []
        while len(chosen) < room and (key := self._sure()):
            chosen.append(key)
        return chosen

    def needless(self) -> set[RequestId]:
        super().needless()
        return set()


class FirstToFinish(EverySlot):
    """A wrong sampler, to show that the tests can tell: it takes the first M traces that come in."""

    def __init__(self, order: list[str], *, samples: int, size: int | None, per_problem: int) -> None:
        super().__init__(order, samples=samples, size=size, per_problem=per_problem)
        self.first: list[RequestId] = []

    def record(self, key: RequestId, mark: int | None) -> None:
        super().record(key, mark)
        if mark is not None and len(self.first) < self.target:
            self.first.append(key)

    def finished(self) -> bool:
        return len(self.first) >= self.target or super().finished()

    def belongs(self, key: RequestId) -> bool:
        return key in self.first


def draw(table: Table, setting: Setting, arm: Arm, *, seed: int, folder: Path) -> Drawn:
    """Sample and prune one training set."""
    source = random.Random(seed)
    replay = {key: source.sample(range(len(rows)), setting.samples) for key, rows in table.recorded.items()}
    problems = {key: Problem(id=key, question="", answer="") for key in replay}
    order = problem_order(list(problems), seed, 1)
    sampler: Sampler
    if arm == "fixed":
        sampler = Fixed(sorted(problems), setting.samples)
    else:
        kinds = {"every slot": EverySlot, "until_full": UntilFull, "first to finish": FirstToFinish}
        sampler = kinds[arm](order, samples=setting.samples, size=setting.size, per_problem=1)

    def script(request: Request) -> str:
        problem, sample = request.id
        index = replay[problem][sample]
        tokens, keepable = table.recorded[problem][index]
        return f"{index}:{int(keepable)}".ljust(tokens - 1, ".")

    steps: list[None] = []
    longest = max(tokens for rows in table.recorded.values() for tokens, _ in rows)
    job = SamplingJob(
        problems=problems,
        prompt_ids=dict.fromkeys(problems, (0,)),
        engine=ScriptedEngine(
            script,
            slots=setting.slots,
            order_seed=seed,
            tokens_a_step=TOKENS_A_STEP if setting.delay == "length" else 0,
        ),
        sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=longest + 8),
        seed_of=lambda key: 0,
        judge=lambda traces, problems: [_verdict(trace) for trace in traces],
        keepable=lambda trace, verdict: verdict.outcome is Outcome.CORRECT,
        on_progress=lambda progress: steps.append(None),
    )
    paths = [folder / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")]
    for path in paths:
        path.unlink(missing_ok=True)
    collected = collect(sampler, job, traces_path=paths[0], verdicts_path=paths[1], surplus_path=paths[2])
    pruned = select(
        read_records(paths[0], Trace),
        read_records(paths[1], Verdict),
        problems,
        policy=PruneConfig(size=setting.size, dedupe="none"),
        messages=lambda problem: [],
        seed=seed,
        round_index=1,
    )
    chosen = [(each.problem_id, int(each.messages[-1]["content"].split(":")[0])) for each in pruned.examples]
    return Drawn(
        samples=collected.traces + collected.surplus_traces + collected.cancelled_requests,
        tokens=collected.completion_tokens + collected.surplus_tokens + collected.cancelled_tokens,
        collected=collected,
        steps=len(steps),
        chosen=chosen,
    )


def _verdict(trace: Trace) -> Verdict:
    right = trace.completion.split(":")[1][:1] == "1"
    return Verdict(trace.problem_id, trace.sample, Outcome.CORRECT if right else Outcome.WRONG, right, None)


def p_values(table: Table, one: Sequence[Drawn], other: Sequence[Drawn], *, seed: int) -> dict[str, float]:
    """Permutation tests of whether two arms' training sets have one distribution; exact, as whole sets are exchanged.

    Tested are: which problems are chosen, which recorded trace of each (both: chi-square of the counts over the
    replicates), the mean solve rate of the chosen problems and the mean length of the chosen traces.
    """
    sets = [drawn.chosen for drawn in (*one, *other)]
    rate = {key: float(np.mean([good for _, good in rows])) for key, rows in table.recorded.items()}
    means = np.array(
        [
            [np.mean([rate[p] for p, _ in chosen]), np.mean([table.recorded[p][i][0] for p, i in chosen])]
            for chosen in sets
        ]
    )
    counts = [_indicators([[p for p, _ in chosen] for chosen in sets]), _indicators(sets)]
    labels = np.arange(len(sets)) < len(one)
    source = np.random.default_rng(seed)
    found = _statistics(labels, counts, means)
    shuffled = np.array([_statistics(source.permutation(labels), counts, means) for _ in range(PERMUTATIONS)])
    above = (shuffled >= found - 1e-12).sum(axis=0) + 1
    names = ("problems", "traces", "solve rate", "length")
    return dict(zip(names, (above / (PERMUTATIONS + 1)).tolist(), strict=True))


def _indicators(sets: Sequence[Sequence[object]]) -> np.ndarray:
    """Return [set, thing]: how often each thing is in each set."""
    columns = {thing: column for column, thing in enumerate(sorted({thing for each in sets for thing in each}))}
    table = np.zeros((len(sets), len(columns)), dtype=np.float32)
    for row, things in enumerate(sets):
        np.add.at(table[row], [columns[thing] for thing in things], 1)
    return table


def _statistics(labels: np.ndarray, counts: list[np.ndarray], means: np.ndarray) -> np.ndarray:
    found = []
    for table in counts:
        total = table.sum(axis=0)
        one = labels.astype(np.float32) @ table
        found.append(float((((2 * one - total) ** 2) / total).sum()))
    difference = means[labels].mean(axis=0) - means[~labels].mean(axis=0)
    return np.array([*found, *np.abs(difference)])


def verdict_table(path: Path, name: str = "") -> Table:
    """Read a verdicts.jsonl; lengths come from the traces.jsonl beside it, and without one every sample counts 1."""
    lengths: dict[RequestId, int] = {}
    beside = path.with_name("traces.jsonl")
    if beside.exists():
        lengths = {(t.problem_id, t.sample): t.completion_tokens for t in read_records(beside, Trace)}
    recorded: dict[str, list[tuple[int, bool]]] = {}
    for verdict in read_records(path, Verdict):
        tokens = max(8, lengths.get((verdict.problem_id, verdict.sample), 8))
        good = verdict.outcome is Outcome.CORRECT and verdict.strict
        recorded.setdefault(verdict.problem_id, []).append((tokens, good))
    return Table(name or str(path), "tokens" if lengths else "samples x 8", recorded)


def qwen_table(path: Path) -> Table:
    """Qwen2.5-Math's published samples on MATH; no tokenizer of its own is at hand, so lengths are characters."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    recorded = {
        str(row["idx"]): [(len(text), bool(good)) for text, good in zip(row["code"], row["score"], strict=True)]
        for row in rows
    }
    return Table("Qwen2.5-Math on MATH", "characters", recorded)


def published_table(checkout: Path) -> Table:
    """The base model's samples published with the paper, right by its own rule; lengths are characters."""
    golds = {row["idt"]: row["solnum"] for row in _json(checkout / "data" / "test500.json")}
    recorded: dict[str, list[tuple[int, bool]]] = {}
    for path in sorted((checkout / "samples" / "math_eval" / "2b").glob("e*.json")):
        for row in _json(path):
            problem = Problem("", "", golds[row["qnum"]], kind="paper")
            good = judge_one(problem, row["solution"]).strict
            recorded.setdefault(str(row["qnum"]), []).append((max(8, len(row["solution"])), good))
    return Table("Gemma-2-2B on GSM8K, published with the paper", "characters", recorded)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def paper_table(*, problems: int, samples: int, pass_1: float, pass_n: float, seed: int) -> Table:
    """Solve rates from the Beta distribution with the given pass@1 and pass@N; wrong samples are longer."""
    low, high = 1e-3, 1e3
    for _ in range(200):
        total = (low * high) ** 0.5
        a, b = pass_1 * total, (1 - pass_1) * total
        missed = np.exp(lgamma(b + samples) + lgamma(a + b) - lgamma(b) - lgamma(a + b + samples))
        low, high = (total, high) if 1 - missed < pass_n else (low, total)
    source = np.random.default_rng(seed)
    rates = source.beta(a, b, problems)
    good = source.random((problems, samples)) < rates[:, None]
    drawn = source.lognormal(np.log(150), 0.4, (problems, samples)) * np.where(good, 1.0, WRONG_LENGTH)
    lengths = np.clip(drawn.astype(int), 20, 1500)
    recorded = {
        f"p{number:05}": list(zip(lengths[number].tolist(), good[number].tolist(), strict=True))
        for number in range(problems)
    }
    return Table(f"Beta({a:.2f}, {b:.2f})", "tokens, made up", recorded)


def embedded_table(folder: Path) -> Table:
    """Sample 20 times each of the quickstart's 800 problems with the embedded model."""
    path = folder / "embedded"
    sets = ["think.sampler=fixed", "think.samples=20", "rounds=1", "evaluate.samples=1", "evaluate.ks=[1]"]
    command = [sys.executable, "-m", "tpt", "run", str(ROOT / "examples" / "quickstart.toml"), "--out", str(path)]
    for each in sets:
        command += ["--set", each]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return verdict_table(path / "round-1" / "verdicts.jsonl", "embedded model")


def report(table: Table, setting: Setting, *, replicates: int, seed: int = 0) -> None:
    """Print what both samplers cost, and whether what they give has one distribution."""
    rows = list(table.recorded.values())
    fewest = min(map(len, rows))
    if fewest < setting.samples:
        sys.exit(
            f"{table.name}: {setting.samples} samples are asked for, and some problem has {fewest}; lower --samples"
        )
    arms: dict[Arm, list[Drawn]] = {"fixed": [], "until_full": [], "first to finish": [], "every slot": []}
    with tempfile.TemporaryDirectory(prefix="tpt-tokens-") as folder:
        for replicate in range(replicates):
            for at, (arm, drawn) in enumerate(arms.items()):
                # Each arm has its own draws, as the tests compare independent sets.
                replicate_seed = seed + len(arms) * replicate + at
                drawn.append(draw(table, setting, arm, seed=replicate_seed, folder=Path(folder)))
    pass_1 = np.mean([np.mean([good for _, good in each]) for each in rows])
    covered = np.mean([any(good for _, good in each) for each in rows])
    print(
        f"\n### {table.name}\n\n{len(rows):,} problems, {fewest} recorded samples each (pass@1 {pass_1:.3f}, "
        f"pass@{fewest} {covered:.3f}); N = {setting.samples}, M = {setting.size}, {setting.slots} in flight; delays by "
        f"{DELAYS[setting.delay]}; means over {replicates} replicates; lengths in {table.unit}.\n"
    )
    print("| sampler | samples | of them surplus | cancelled | tokens | surplus and cancelled | steps | examples |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for arm in ("fixed", "every slot", "until_full"):
        drawn, spent = arms[arm], [each.collected for each in arms[arm]]
        tokens = [each.tokens for each in drawn]
        unused = sum(each.surplus_tokens + each.cancelled_tokens for each in spent)
        cells = [
            _mean([each.samples for each in drawn]),
            _mean([each.surplus_traces for each in spent]),
            _mean([each.cancelled_requests for each in spent]),
            _mean(tokens),
            f"{unused / sum(tokens):.1%}",
            _mean([each.steps for each in drawn]),
            _mean([len(each.chosen) for each in drawn]),
        ]
        print(f"| {arm} | " + " | ".join(cells) + " |")
    ratios = [
        np.mean([getattr(each, what) for each in arms["fixed"]])
        / np.mean([getattr(each, what) for each in arms["until_full"]])
        for what in ("samples", "tokens")
    ]
    print(f"\n**{ratios[0]:.2f}x fewer samples, {ratios[1]:.2f}x fewer tokens.**")
    if replicates >= 20:
        print("\n| fixed against | problems | traces | solve rate | length |")
        print("|---|---:|---:|---:|---:|")
        for arm in ("until_full", "first to finish"):
            found = p_values(table, arms["fixed"], arms[arm], seed=seed)
            print(f"| {arm} | " + " | ".join(f"p = {p:.4f}" for p in found.values()) + " |")


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=Path, help="a verdicts.jsonl; default: the three tables named above")
    parser.add_argument("--published", type=Path, help="a clone of github.com/soheilzi/TPT")
    parser.add_argument("--samples", type=int, default=10, help="N")
    parser.add_argument("--size", type=int, default=200, help="M")
    parser.add_argument("--slots", type=int, default=64, help="samples in flight")
    parser.add_argument(
        "--delay", choices=DELAYS, default="random", help="of a sample in the engine: by chance or length"
    )
    parser.add_argument("--replicates", type=int, default=100)
    arguments = parser.parse_args()
    setting = Setting(arguments.samples, arguments.size, arguments.slots, arguments.delay)
    if arguments.verdicts:
        report(verdict_table(arguments.verdicts), setting, replicates=arguments.replicates)
        return
    with tempfile.TemporaryDirectory(prefix="tpt-tokens-") as folder:
        report(embedded_table(Path(folder)), setting, replicates=arguments.replicates)
    qwen = DATA / "model_outputs" / "qwen_math_cot_100x8.jsonl"
    if qwen.exists():
        report(qwen_table(qwen), Setting(8, 30, 8, arguments.delay), replicates=10 * arguments.replicates)
    if arguments.published:
        # 2,000 of 7,473 problems is 134 of 500.
        report(
            published_table(arguments.published), Setting(10, 134, 17, arguments.delay), replicates=arguments.replicates
        )
    paper = paper_table(problems=7473, samples=10, pass_1=0.446, pass_n=0.7598, seed=0)
    report(paper, Setting(10, 2000, 256, arguments.delay), replicates=max(3, arguments.replicates // 20))
    small = paper_table(problems=300, samples=10, pass_1=0.2, pass_n=0.55, seed=0)
    report(small, Setting(10, 24, 288, "length"), replicates=arguments.replicates)


if __name__ == "__main__":
    main()
