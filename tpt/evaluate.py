"""Evaluate: sample the held-out problems, judge the traces, and score the round's model.

Evaluation is thinking and verifying on held-out problems: the traces come from the same code as those for training.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from tpt.config import RunConfig
from tpt.gate import watch_evaluation
from tpt.model.chat import open_chat
from tpt.records import Message, Problem, Trace, Verdict
from tpt.run.directory import RunDir
from tpt.run.manifest import read_manifest, write_manifest
from tpt.run.outputs import fingerprint
from tpt.run.sealed import digest_of
from tpt.run.stage import StageContext, problems_by_id
from tpt.sampling.sample import sample
from tpt.sampling.score_passes import score_at, score_line, score_passes, scoring_settings
from tpt.scoring.drift import LabelledIds, probe, probe_room, probe_traces
from tpt.start_model import StartModel, base_model, output_of, require_weights, trained_model_of
from tpt.system.jsonl import read_records, replace_records, to_table
from tpt.verifiers.gold import human_trace


def evaluate_stage(context: StageContext) -> dict[str, Any]:
    """Sample the held-out problems from the round's model, judge them, and compute the scores."""
    config, round_dir, run = context.config, context.round_dir, context.run
    model = base_model(run, config) if round_dir.index == 0 else trained_model_of(round_dir)
    settings = scoring_settings(config, run.heldout)
    inputs = {"heldout problems": fingerprint(run.heldout), "model": model.digest, "settings": digest_of(settings)}
    if round_dir.index and config.evaluate.probe:
        inputs |= base_traces(run)
    if done := read_manifest(round_dir, "evaluate", inputs):
        return done
    require_weights(model)
    title = "base model's score" if round_dir.index == 0 else "evaluate"
    spent_s = context.spent_s(title)
    started = time.monotonic() - spent_s
    problems = problems_by_id(run.heldout)
    watch = watch_evaluation(context, problems)
    first = watch.first if watch else (0, 0)
    passes = score_passes(config.evaluate, sorted(problems), round_dir.scored, watch=watch, first=first)
    scoring = dataclasses.replace(context, config=config.for_scoring)
    total = sum(each.sampler.target for each in passes)
    with context.display(title, total=total, spent_s=spent_s) as display:
        collected, described = sample(scoring, model, problems, *passes, display=display)
        asked = config.evaluate
        scored = score_at(round_dir.scored, problems.values(), ks=asked.ks, seed=config.seed, weights=asked.weights)
        replace_records(round_dir.outputs("evaluate")["diversity"], scored.problems)
        sampled = time.monotonic()
        measured = probe_round(run, config, model, problems, lambda said: display.update(total, note=said))
        report = replace(scored.report, probe=measured)
        display.finish(score_line(report))
    now = time.monotonic()
    counts = {**to_table(collected[0]), "report": to_table(report), "probe": report.probe}
    counts |= {"greedy_tokens": sum(each.completion_tokens for each in collected[1:])}
    counts |= {"probe_s": round(now - sampled, 3), "wall_s": round(now - started, 3)}
    outputs = {
        "traces": round_dir.evaluate_traces,
        "verdicts": round_dir.evaluate_verdicts,
        "diversity": round_dir.outputs("evaluate")["diversity"],
    }
    if len(passes) > 1:
        outputs |= {"greedy_traces": round_dir.greedy_traces, "greedy_verdicts": round_dir.greedy_verdicts}
    return write_manifest(
        round_dir, "evaluate", inputs=inputs, outputs=outputs, settings={**settings, "engine": described}, counts=counts
    )


def base_traces(run: RunDir) -> dict[str, str]:
    """Return the digests of what a later round's probe reads of round 0.

    Raises:
        RunError: the base model is not scored yet, or its traces are gone or changed.
    """
    base = run.round(0)
    return {
        "base model's traces": output_of(base, "evaluate", "traces", base.evaluate_traces),
        "base model's verdicts": output_of(base, "evaluate", "verdicts", base.evaluate_verdicts),
    }


def probe_round(
    run: RunDir, config: RunConfig, model: StartModel, problems: Mapping[str, Problem], show: Callable[[str], None]
) -> dict[str, float]:
    """Hold a round's model against the base model on ``evaluate.probe`` held-out traces and solutions at most; see ``probe``.

    How many are read follows from the tokens of the base model's evaluation, so that every round reads the same ones.
    """
    count, cache = config.evaluate.probe, run.path / "cache"
    if not count:
        return {}
    from tpt.model.load import load_model

    spec, first = base_model(run, config).spec, run.round(0)
    base_evaluation = read_records(first.evaluate_traces, Trace)
    own = probe_traces(base_evaluation, read_records(first.evaluate_verdicts, Verdict), count)
    room = probe_room(sum(trace.completion_tokens for trace in base_evaluation))
    human = [human_trace(problem) for _, problem in sorted(problems.items()) if problem.solution]
    load = partial(load_model, dtype=config.engine.dtype, device=config.engine.device, cache=cache)
    chat, base = open_chat(config.asked_prompt, spec, cache), load(spec)

    def trained(trace: Trace) -> LabelledIds:
        spoken: Message = {"role": "assistant", "content": trace.completion}
        return chat.training_ids([*chat.messages(problems[trace.problem_id]), spoken], trace.token_ids)

    weights = base if model.round == 0 else load(model.spec)
    own_texts, human_texts = [*map(trained, own)], [*map(trained, human[:count])]
    return probe(weights, base, traces=own_texts, solutions=human_texts, room=room, show=show)
