"""Gather a stage's traces on its run directory: sampled by the round's model, written by people, or from a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tpt.check import human_trace
from tpt.config import RunConfig
from tpt.desk import open_chat, open_engine, open_judge, sampling_of
from tpt.engines import Sampling
from tpt.errors import ConfigError
from tpt.jsonl import iterate_records, replace_lines, replace_records, to_line, to_table
from tpt.lineage import Model
from tpt.progress import Display
from tpt.prompt_file import PromptFile
from tpt.prune import is_keepable, problem_order, wanted_size
from tpt.records import Problem, Trace, Verdict
from tpt.run_dir import RoundDir, RunDir
from tpt.seeds import seed_for
from tpt.sorting import sorted_rows
from tpt.think import Collected, Desk, Fixed, Progress, Sampler, UntilFull, collect

_BATCH = 1000
"""Traces that are judged together, so that every worker has some."""


@dataclass(frozen=True, slots=True)
class Work:
    """One stage of one round, and what it needs to know."""

    run: RunDir
    place: RoundDir
    config: RunConfig
    progress: bool

    def display(self, stage: str, total: int) -> Display:
        """Return the stage's progress display."""
        return Display(f"round {self.place.index} {stage}", total=total, enabled=self.progress)


def think_with_model(work: Work, model: Model, problems: dict[str, Problem]) -> dict[str, Any]:
    """Sample the training problems, and return what the manifest says of it."""
    config, place = work.config, work.place
    sampler: Sampler
    if config.think.sampler == "fixed":
        sampler, unit = Fixed(sorted(problems), config.think.samples), "samples"
    else:
        order = problem_order(list(problems), config.seed, place.index)
        size = wanted_size(config.prune, place.index)
        sampler, unit = UntilFull(order, samples=config.think.samples, size=size), "solved"
    with work.display(f"think ({unit})", total=sampler.target) as display:
        collected, described = sample(
            work, model, problems, sampler=sampler, sampling=sampling_of(config.think), display=display, at=place.path
        )
        rate = collected.completion_tokens / max(collected.sampling_s, 1e-9)
        display.finish(f"{sampler.reached()} {unit}, {collected.traces} traces, {rate:,.0f} tokens/s")
    return {**to_table(collected), "engine": described}


def sample(
    work: Work,
    model: Model,
    problems: dict[str, Problem],
    *,
    sampler: Sampler,
    sampling: Sampling,
    display: Display,
    at: Path,
) -> tuple[Collected, dict[str, Any]]:
    """Run the sampler on an engine; traces, verdicts and surplus go into the folder ``at``."""
    config, index = work.config, work.place.index
    stage = "think" if at == work.place.path else "evaluate"
    chat = open_chat(config, model.spec, work.run.path / "cache")
    at.mkdir(parents=True, exist_ok=True)
    asked = ((problem_id, chat.prompt_ids(problem)) for problem_id, problem in problems.items())
    every_test = stage == "think" and _needs_every_test(config)
    with PromptFile(asked, at) as prompt_ids, open_judge(config, problems, every_test=every_test) as judge:
        longest = prompt_ids.longest + sampling.max_tokens
        engine = open_engine(config, model.spec, cache=work.run.path / "cache", longest=longest)
        started = time.monotonic()

        def show(progress: Progress) -> None:
            rate = progress.tokens / max(time.monotonic() - started, 1e-9)
            display.update(progress.reached, note=f"{progress.correct} correct, {rate:,.0f} tokens/s")

        try:
            desk = Desk(
                problems=problems,
                prompt_ids=prompt_ids,
                engine=engine,
                sampling=sampling,
                seed_of=lambda key: seed_for(config.seed, stage, index, *key),
                judge=judge,
                keepable=lambda trace, verdict: is_keepable(trace, verdict, problems[trace.problem_id], config.prune),
                on_progress=show,
            )
            collected = collect(
                sampler,
                desk,
                traces_path=at / "traces.jsonl",
                verdicts_path=at / "verdicts.jsonl",
                surplus_path=at / "surplus.jsonl",
            )
            return collected, {**engine.describe(), "guarantee": engine.guarantee, "prompt": chat.fingerprint()}
        finally:
            engine.close()


def take_traces(work: Work, problems: dict[str, Problem]) -> dict[str, Any]:
    """Take traces that the round's model did not sample: human solutions, or another model's file."""
    config, place = work.config, work.place
    given = _given(config, problems)
    first = next(given, None)
    if first is None:
        if config.data.source == "file":
            raise ConfigError(f"{config.data.file}: no trace is of a problem of this run (data.file)")
        raise ConfigError('data.source = "human", but no training problem has a solution; map the column "solution"')
    rows = ((each.problem_id, each.sample, f"{to_line(each)}\n".encode()) for each in chain([first], given))
    place.path.mkdir(parents=True, exist_ok=True)
    replace_lines(place.traces, (line for _, _, line in sorted_rows(rows, place.path)))
    return {"traces": replace_records(place.verdicts, _judged(place.traces, problems, config))}


def _given(config: RunConfig, problems: dict[str, Problem]) -> Iterator[Trace]:
    if config.data.source == "file":
        traces = iterate_records(Path(config.data.file), Trace)
        return (trace for trace in traces if trace.problem_id in problems)
    return (human_trace(problem) for problem in problems.values() if problem.solution)


def _judged(path: Path, problems: dict[str, Problem], config: RunConfig) -> Iterator[Verdict]:
    traces = iterate_records(path, Trace)
    with open_judge(config, problems, every_test=_needs_every_test(config)) as judge:
        while batch := list(islice(traces, _BATCH)):
            yield from judge(batch, problems)


def _needs_every_test(config: RunConfig) -> bool:
    """Return whether a program's tests go on after one failed, which only the share of tests passed needs."""
    return config.prune.min_tests_passed > 0
