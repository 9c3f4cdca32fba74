"""Think: sample traces of the training problems, judge each as it comes in, and stop when the training set is full.

Reads the problems and the model that the round samples from; leaves traces.jsonl, verdicts.jsonl and think.json. Traces
may also be taken from elsewhere: human solutions, or another model's file.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tpt.config import RunConfig
from tpt.config.engine_section import sampling_settings
from tpt.config.own_code_keys import own_code_settings
from tpt.config.stage_sections import data_needed_to_think, pruning_needed_to_think
from tpt.errors import ConfigError
from tpt.gate import watch_thinking
from tpt.mix import human_part, own_size, require_solutions
from tpt.prune import distinct_by, is_keepable
from tpt.records import Outcome, Problem, Trace, Verdict, well_formed
from tpt.run.journal import JUDGED_AT_ONCE, Journal
from tpt.run.manifest import digest_of, read_manifest, write_manifest
from tpt.run.outputs import fingerprint
from tpt.run.problem_order import walked_order
from tpt.run.stage import StageContext, problems_by_id, verification_settings
from tpt.sampling.open import open_judge, sampling_of
from tpt.sampling.sample import Pass, sample
from tpt.sampling.samplers import Fixed, Sampler, UntilFull
from tpt.scoring.diversity import training_diversity
from tpt.start_model import StartModel, require_weights, sampled_model_of
from tpt.system.external_sort import sorted_rows
from tpt.system.jsonl import iterate_records, replace_lines, replace_records, to_line, to_table
from tpt.verifiers.gold import human_trace


def think_stage(context: StageContext) -> dict[str, Any]:
    """Sample (or take from elsewhere) this round's traces and judge them."""
    config, round_dir, run = context.config, context.round_dir, context.run
    model = sampled_model_of(context.run, context.round_dir, context.config)
    settings = {
        "seed": config.seed,
        "data": config.data.model_dump(include=set(data_needed_to_think(config.data))),
        "prompt": config.asked_prompt.model_dump(),
        "engine": sampling_settings(config.engine, config.engine.weights),
        "think": config.think.model_dump(),
        # Until-full sampling stops at what the pruning policy can use.
        "prune": pruning_needed_to_think(config.prune, config.think),
        **verification_settings(config, run.problems),
        **own_code_settings(config, "engine.name", "think.order", "think.hint_by", "prune.keep"),
    }
    inputs = {"problems": fingerprint(run.problems), "model": model.digest, "settings": digest_of(settings)}
    if config.data.source == "file":
        inputs["file"] = _file_digest(config.data.file)
    if done := read_manifest(round_dir, "think", inputs):
        return done
    require_weights(model)
    started = time.monotonic()
    problems = problems_by_id(run.problems)
    counts = (
        think_with_model(context, model, problems) if config.data.source == "self" else take_traces(context, problems)
    )
    journal = Journal(round_dir.traces, round_dir.verdicts)
    found = Counter((verdict.outcome, trace.finish_reason) for trace, verdict in journal)
    outcomes = {str(outcome): sum(found[key] for key in found if key[0] is outcome) for outcome in Outcome}
    counts |= {"outcomes": outcomes, "wall_s": round(time.monotonic() - started, 3)}
    counts["truncated"] = sum(found[outcome, "length"] for outcome in Outcome)
    counts["variety"] = training_diversity(journal)
    return write_manifest(
        round_dir,
        "think",
        inputs=inputs,
        outputs={"traces": round_dir.traces, "verdicts": round_dir.verdicts},
        settings=settings,
        counts=counts,
    )


def think_with_model(context: StageContext, model: StartModel, problems: dict[str, Problem]) -> dict[str, Any]:
    """Sample the training problems, and return what the manifest says of it."""
    config, round_dir = context.config, context.round_dir
    closed = human_part(problems, config, round_dir.index).closed
    order = [each for each in walked_order(context, problems) if each not in closed]
    sampler: Sampler
    if config.think.sampler == "fixed":
        order = sorted(order)
        sampler, unit = Fixed(order, config.think.samples), "samples"
    else:
        size = own_size(config, round_dir.index)
        most = config.prune.per_problem
        assert most != "all", "which the config refuses"
        sampler, unit = UntilFull(order, samples=config.think.samples, size=size, per_problem=most), "solved"
    with context.display(f"think ({unit})", total=sampler.target) as display:
        (collected,), described = sample(
            context,
            model,
            problems,
            Pass(sampler, sampling_of(config.think), round_dir.path, watch_thinking(context, problems, order)),
            display=display,
            keepable=lambda trace, verdict: is_keepable(
                trace, verdict, problems[trace.problem_id], config.prune, config.verify
            ),
            mark=lambda trace: hash(distinct_by(trace, config.prune.dedupe)),
            every_test=_needs_every_test(config),
            hint_function=config.think.hint_by,
        )
        rate = collected.completion_tokens / max(collected.sampling_s, 1e-9)
        display.finish(f"{sampler.reached()} {unit}, {collected.traces} traces, {rate:,.0f} tokens/s")
    return {**to_table(collected), "engine": described}


def _needs_every_test(config: RunConfig) -> bool:
    """Return whether a program's tests go on after one failed, which only the share of tests passed needs."""
    return config.prune.min_tests_passed > 0


def take_traces(context: StageContext, problems: dict[str, Problem]) -> dict[str, Any]:
    """Take traces that the round's model did not sample: human solutions, or another model's file."""
    config, round_dir = context.config, context.round_dir
    require_solutions(problems, config)
    given = _given(config, problems)
    first = next(given, None)
    if first is None:
        raise ConfigError(f"{config.data.file}: no trace is of a problem of this run (data.file)")
    rows = ((each.problem_id, each.sample, to_line(each)) for each in chain([first], given))
    round_dir.path.mkdir(parents=True, exist_ok=True)
    replace_lines(round_dir.traces, (line for _, _, line in sorted_rows(rows, round_dir.path)))
    return {"traces": replace_records(round_dir.verdicts, _judged(round_dir.traces, problems, config))}


def _given(config: RunConfig, problems: dict[str, Problem]) -> Iterator[Trace]:
    if config.data.source == "file":
        traces = iterate_records(Path(config.data.file), Trace)
        given = (trace for trace in traces if trace.problem_id in problems)
        return (_of_this_model(trace) for trace in given)
    return (human_trace(problem) for problem in problems.values() if problem.solution)


def _of_this_model(trace: Trace) -> Trace:
    """Return another model's trace without its tokens, which may not be this model's."""
    return replace(trace, completion=well_formed(trace.completion), token_ids=None, token_digest="")


def _judged(path: Path, problems: dict[str, Problem], config: RunConfig) -> Iterator[Verdict]:
    traces = iterate_records(path, Trace)
    with open_judge(config, problems, every_test=_needs_every_test(config)) as judge:
        while batch := list(islice(traces, JUDGED_AT_ONCE)):
            yield from judge(batch, problems)


def _file_digest(path: str) -> str:
    if not Path(path).is_file():
        raise ConfigError(f"data.file = {path!r}: no such file")
    return fingerprint(Path(path))
