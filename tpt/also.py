"""Also: score the round's model on further problems (``evaluate.also``), so that what it has forgotten is seen.

Every set is a stage of its own, named after its settings: one that is added or changed later is scored anew, and what
is there stays.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from tpt.config import PromptConfig, RunConfig
from tpt.config.also_section import AlsoSource
from tpt.config.answer_format import OWN_FORMAT, PROGRAM_REQUEST, REQUESTS, format_of
from tpt.errors import RunError
from tpt.run.manifest import read_manifest, write_manifest
from tpt.run.outputs import fingerprint
from tpt.run.sealed import digest_of
from tpt.run.stage import StageContext, problems_by_id
from tpt.sampling.sample import sample
from tpt.sampling.score_passes import score_at, score_line, score_passes, scoring_settings
from tpt.start_model import base_model, require_weights, trained_model_of
from tpt.system.jsonl import to_table


def also_stage(context: StageContext, stage: str) -> dict[str, Any]:
    """Sample one further set of problems from the round's model, judge them, and compute the scores.

    Raises:
        RunError: no set of that name is asked for, or its problems are gone.
    """
    run, round_dir = context.run, context.round_dir
    source, path = _source(context.config, stage), run.also(stage)
    if not path.exists():
        raise RunError(f"{path}: missing. Have it made again: tpt run {run.path}")
    model = base_model(run, context.config) if round_dir.index == 0 else trained_model_of(round_dir)
    problems = problems_by_id(path)
    heldout = {problem.kind for problem in problems_by_id(run.heldout).values()}
    config = also_config(context.config, source, {problem.kind for problem in problems.values()}, heldout)
    settings = scoring_settings(config, path, unused=["probe"])
    inputs = {"problems": fingerprint(path), "model": model.digest, "settings": digest_of(settings)}
    if done := read_manifest(round_dir, stage, inputs):
        return done
    require_weights(model)
    title = f"also {source.label}"
    spent_s = context.spent_s(title)
    started = time.monotonic() - spent_s
    at = round_dir.also(stage)
    passes = score_passes(config.evaluate, sorted(problems), at)
    with context.display(title, total=sum(each.sampler.target for each in passes), spent_s=spent_s) as display:
        collected, described = sample(
            replace(context, config=config.for_scoring), model, problems, *passes, display=display
        )
        report = score_at(at, problems.values(), ks=[], seed=config.seed, weights=config.evaluate.weights).report
        display.finish(score_line(report))
    counts = {**to_table(collected[0]), "report": to_table(report)}
    counts |= {"greedy_tokens": sum(each.completion_tokens for each in collected[1:])}
    counts |= {"wall_s": round(time.monotonic() - started, 3)}
    outputs = {name: file for name, file in at.files.items() if file.exists()}
    settings |= {"engine": described, "source": source.source}
    return write_manifest(round_dir, stage, inputs=inputs, outputs=outputs, settings=settings, counts=counts)


def prompt_for(config: RunConfig, source: AlsoSource, kinds: Collection[str], heldout: Collection[str]) -> PromptConfig:
    """Return what is asked of a further set's problems.

    The run's own prompt, where the set's answers are written as those of the held-out problems are, so that nothing but
    the problems differs. Else its worked examples would show the wrong form: then its system text, the question, and a
    request for the answer format.

    The set's own template goes first; ``kinds`` are those of its problems, ``heldout`` those of the held-out ones.
    """
    plain = PromptConfig(system=config.prompt.system)
    if source.template:
        return plain.model_copy(update={"template": source.template})
    formats = _formats(kinds, config)
    written_alike = len(formats) == 1 and formats <= _formats(heldout, config) and set(kinds) <= OWN_FORMAT.keys()
    if set(kinds) <= set(heldout) or written_alike:
        return config.prompt
    request = PROGRAM_REQUEST if set(kinds) == {"code"} else REQUESTS.get(min(formats)) if len(formats) == 1 else None
    return plain if request is None else plain.model_copy(update={"template": f"{plain.template}\n\n{request}"})


def _formats(kinds: Collection[str], config: RunConfig) -> set[str]:
    return {format_of(kind, config.verify.answer_format) for kind in kinds}


def _source(config: RunConfig, stage: str) -> AlsoSource:
    for each in config.evaluate.also:
        if each.stage == stage:
            return each
    there = ", ".join(each.stage for each in config.evaluate.also) or "none"
    raise RunError(f"no stage {stage}: evaluate.also asks for {there}")


def also_config(config: RunConfig, source: AlsoSource, kinds: Collection[str], heldout: Collection[str]) -> RunConfig:
    """Return the run's config with the set's own prompt, samples and limit."""
    own = {"samples": source.samples, "max_tokens": source.max_tokens}
    section = config.evaluate.model_copy(update={"ks": [], **{key: value for key, value in own.items() if value}})
    return config.model_copy(update={"prompt": prompt_for(config, source, kinds, heldout), "evaluate": section})
