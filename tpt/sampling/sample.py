"""Sample problems of a run on the config's engine, each trace judged as it comes in."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tpt.engines import Sampling
from tpt.model.chat import open_chat
from tpt.records import Problem, Trace, Verdict
from tpt.run.stage import StageContext
from tpt.sampling.collect import Collected, Progress, SamplingJob, Watch, collect
from tpt.sampling.open import open_engine, open_judge
from tpt.sampling.prompt_file import PromptFile
from tpt.sampling.samplers import Sampler
from tpt.seeds import seed_for
from tpt.start_model import StartModel
from tpt.system.progress import Display


def sample(
    context: StageContext,
    model: StartModel,
    problems: dict[str, Problem],
    *,
    sampler: Sampler,
    sampling: Sampling,
    display: Display,
    at: Path,
    keepable: Callable[[Trace, Verdict], bool] = lambda trace, verdict: False,
    every_test: bool = False,
    watch: Watch | None = None,
) -> tuple[Collected, dict[str, Any]]:
    """Run the sampler on an engine; traces, verdicts and surplus go into the folder ``at``.

    Args:
        context: the stage that samples.
        model: what samples.
        problems: id to problem.
        sampler: which samples are taken.
        sampling: temperature and the like.
        display: where progress is shown.
        at: the folder for the files.
        keepable: whether a trace may be trained on; a sampler that stops early asks.
        every_test: see ``tpt.verifiers.judge.judge``.
        watch: looks on, and may end the sampling.
    """
    config, index = context.config, context.round_dir.index
    stage = "think" if at == context.round_dir.path else "evaluate"
    chat = open_chat(config, model.spec, context.run.path / "cache")
    at.mkdir(parents=True, exist_ok=True)
    asked = ((problem_id, chat.prompt_ids(problem)) for problem_id, problem in problems.items())
    with PromptFile(asked, at) as prompt_ids, open_judge(config, problems, every_test=every_test) as judge:
        longest = prompt_ids.longest + sampling.max_tokens
        engine = open_engine(config, model.spec, cache=context.run.path / "cache", longest=longest, chat=chat)
        try:
            job = SamplingJob(
                problems=problems,
                prompt_ids=prompt_ids,
                engine=engine,
                sampling=sampling,
                seed_of=lambda key: seed_for(config.seed, stage, index, *key),
                judge=judge,
                keepable=keepable,
                on_progress=_shown_on(display),
                watch=watch,
            )
            collected = collect(
                sampler,
                job,
                traces_path=at / "traces.jsonl",
                verdicts_path=at / "verdicts.jsonl",
                surplus_path=at / "surplus.jsonl",
            )
            return collected, {**engine.describe(), "guarantee": engine.guarantee, "prompt": chat.fingerprint()}
        finally:
            engine.close()


def _shown_on(display: Display) -> Callable[[Progress], None]:
    started = time.monotonic()

    def show(progress: Progress) -> None:
        rate = progress.tokens / max(time.monotonic() - started, 1e-9)
        display.update(progress.reached, note=f"{progress.correct} correct, {rate:,.0f} tokens/s")

    return show
