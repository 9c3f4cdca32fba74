"""Sample problems of a run on the config's engine, each trace judged as it comes in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tpt.engines import Sampling
from tpt.model.chat import open_chat
from tpt.records import Problem, Trace, Verdict
from tpt.run.stage import StageContext
from tpt.sampling.collect import Collected, Progress, SamplingJob, Watch, collect
from tpt.sampling.hints import Hints
from tpt.sampling.open import open_engine, open_judge
from tpt.sampling.prompt_file import PromptFile
from tpt.sampling.samplers import Sampler
from tpt.seeds import seed_for
from tpt.start_model import StartModel
from tpt.system.progress import Display
from tpt.verifiers import AT_ONCE

_LONG_S = 10.0
"""From here on it is said how long a completion has been under way."""


class Pass(NamedTuple):
    """Samples that are taken alike, after another pass's, by the same engine."""

    sampler: Sampler
    """Which samples are taken."""
    sampling: Sampling
    """Temperature and the like."""
    at: Path
    """The folder for the files."""
    watch: Watch | None = None
    """Looks on, and may end the sampling."""


def sample(
    context: StageContext,
    model: StartModel,
    problems: dict[str, Problem],
    *passes: Pass,
    display: Display,
    keepable: Callable[[Trace, Verdict], bool] = lambda trace, verdict: False,
    mark: Callable[[Trace], int] = lambda trace: trace.sample,
    every_test: bool = False,
    hint_function: str = "",
) -> tuple[list[Collected], dict[str, Any]]:
    """Run the passes on an engine; traces, verdicts and surplus of each go into its folder.

    ``keepable`` says whether a trace may be trained on; a sampler that stops early asks. ``mark`` is equal for the
    traces of a problem that count as one. ``every_test``: see ``tpt.verifiers.judge.judge``; ``hint_function`` names
    what adds to the questions, see ``Hints``.
    """
    config, index, cache = context.config, context.round_dir.index, context.run.path / "cache"
    stage = "think" if passes[0].at == context.round_dir.path else "evaluate"
    chat = open_chat(config.asked_prompt, model.spec, cache)
    for each in passes:
        each.at.mkdir(parents=True, exist_ok=True)
    apart = config.verify.where == "ray" or any(problem.kind not in AT_ONCE for problem in problems.values())
    hints = Hints(hint_function, problems, config.think.samples)
    with (
        PromptFile(hints.prompts(chat), passes[0].at) as prompt_ids,
        open_judge(config, problems, every_test=every_test) as judge,
    ):
        longest = prompt_ids.longest + max(each.sampling.max_tokens for each in passes)
        engine = open_engine(config, model.spec, cache=cache, longest=longest, chat=chat)
        try:
            show = _shown_on(display)
            collected = []
            for each in passes:
                job = SamplingJob(
                    problems=problems,
                    prompt_ids=prompt_ids,
                    engine=engine,
                    sampling=each.sampling,
                    seed_of=lambda key: seed_for(config.seed, stage, index, *key),
                    judge=judge,
                    keepable=keepable,
                    mark=mark,
                    on_progress=show,
                    watch=each.watch,
                    chat=chat,
                    hints=hints,
                    judges_apart=apart,
                )
                collected.append(collect(each.sampler, job, **_files(each.at)))
            return collected, {**engine.describe(), "guarantee": engine.guarantee, "prompt": chat.fingerprint()}
        finally:
            engine.close()


def _files(folder: Path) -> dict[str, Path]:
    return {f"{name}_path": folder / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")}


def _shown_on(display: Display) -> Callable[[Progress], None]:
    """Return what shows the passes' progress as one."""
    started, last, before = time.monotonic(), Progress(0), Progress(0)

    def show(progress: Progress) -> None:
        nonlocal last, before
        if progress is not last:
            # A pass has begun: what the one before reached stays.
            before, last = _sum(before, last), progress
        now = _sum(before, progress)
        sampled = now.tokens + progress.under_way
        note = f"{now.correct} correct, {sampled / max(time.monotonic() - started, 1e-9):,.0f} tokens/s"
        if progress.longest_s >= _LONG_S:
            note += f", {progress.under_way:,} tokens under way, the longest for {progress.longest_s:.0f} s"
        if progress.undecided:
            note += f", {progress.undecided} earlier problems to decide"
        display.update(now.reached, note=note)

    return show


def _sum(one: Progress, other: Progress) -> Progress:
    return Progress(
        target=0,
        reached=one.reached + other.reached,
        correct=one.correct + other.correct,
        tokens=one.tokens + other.tokens,
    )
