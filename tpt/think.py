"""Think: sample traces of the training problems, judge each as it comes in, and stop when the training set is full.

Reads the problems and the model that the round samples from; leaves traces.jsonl, verdicts.jsonl and think.json. Traces
may also be taken from elsewhere: human solutions, or another model's file.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tpt.audit.given_traces import given_file, given_traces, lineage
from tpt.config import RunConfig
from tpt.config.engine_section import sampling_settings
from tpt.config.own_code_keys import own_code_settings
from tpt.config.stage_sections import data_needed_to_think, pruning_needed_to_think
from tpt.gate import watch_thinking
from tpt.mix import human_part, own_size, require_solutions
from tpt.plan.history import shown_by
from tpt.prune import distinct_by, is_keepable
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.run.journal import JUDGED_AT_ONCE, Journal
from tpt.run.manifest import read_manifest, write_manifest
from tpt.run.outputs import fingerprint
from tpt.run.problem_order import walked_order
from tpt.run.sealed import digest_of
from tpt.run.stage import StageContext, problems_by_id, verification_settings
from tpt.sampling.open import open_judge, sampling_of
from tpt.sampling.sample import Pass, sample
from tpt.sampling.samplers import Fixed, Sampler
from tpt.sampling.until_full import UntilFull
from tpt.scoring.diversity import training_diversity
from tpt.scoring.solve_rates import SOLVE_RATE, Rates
from tpt.start_model import StartModel, require_weights, sampled_model_of
from tpt.system.external_sort import sorted_rows
from tpt.system.jsonl import iterate_records, replace_lines, replace_records, to_line, to_table


def think_stage(context: StageContext) -> dict[str, Any]:
    """Sample (or take from elsewhere) this round's traces and judge them."""
    config, round_dir, run = context.config, context.round_dir, context.run
    model = sampled_model_of(context.run, context.round_dir, context.config)
    settings = {
        "seed": config.seed,
        "data": data_needed_to_think(config.data, round_dir.index),
        "prompt": config.asked_prompt.model_dump(),
        "engine": sampling_settings(config.engine, config.engine.weights),
        "think": config.think.model_dump(),
        # Until-full sampling stops at what the pruning policy can use.
        "prune": pruning_needed_to_think(config.prune, config.think),
        **verification_settings(config, run.problems),
        **own_code_settings(config, "think.order", "think.hint_by", "prune.keep"),
    }
    inputs = {"problems": fingerprint(run.problems), "model": model.digest, "settings": digest_of(settings)}
    source = config.data.source_of(round_dir.index)
    if source == "file":
        inputs["file"] = fingerprint(given_file(config))
    if done := read_manifest(round_dir, "think", inputs):
        return done
    require_weights(model)
    spent_s = context.spent_s("think")
    started = time.monotonic() - spent_s
    problems = problems_by_id(run.problems)
    thinks = source == "self"
    counts = think_with_model(context, model, problems, spent_s) if thinks else take_traces(context, problems)
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


def think_with_model(
    context: StageContext, model: StartModel, problems: dict[str, Problem], spent_s: float
) -> dict[str, Any]:
    """Sample the training problems, and return what the manifest says of it; ``spent_s`` as of ``StageContext``."""
    config, round_dir = context.config, context.round_dir
    closed = human_part(problems, config, round_dir.index).closed
    order = [each for each in walked_order(context, problems) if each not in closed]
    watch = watch_thinking(context, problems, order if config.think.sampler == "until_full" else sorted(order))
    first = watch.first if watch else (0, 0)
    sampler: Sampler
    if config.think.sampler == "fixed":
        sampler, unit = Fixed(sorted(order), config.think.samples, first=first), "samples"
    else:
        size = own_size(config, round_dir.index)
        most = config.prune.per_problem
        assert most != "all", "which the config refuses"
        tries, expected = config.think.samples, _expected(context, model)
        sampler = UntilFull(order, samples=tries, size=size, per_problem=most, expected=expected, first=first)
        unit = "solved"
    with context.display(f"think ({unit})", total=sampler.target, spent_s=spent_s) as display:
        (collected,), described = sample(
            context,
            model,
            problems,
            Pass(sampler, sampling_of(config.think), round_dir.path, watch),
            display=display,
            keepable=lambda trace, verdict: is_keepable(
                trace, verdict, problems[trace.problem_id], config.prune, config.verify
            ),
            mark=_mark_by(config),
            every_test=_needs_every_test(config),
            hint_function=config.think.hint_by,
        )
        rate = collected.completion_tokens / max(spent_s + collected.sampling_s, 1e-9)
        display.finish(f"{sampler.reached()} {unit}, {collected.traces} traces, {rate:,.0f} tokens/s")
    return {**to_table(collected), "engine": described}


def _mark_by(config: RunConfig) -> Callable[[Trace], int]:
    """Return by what a sampler tells keepable traces apart: one of a problem is enough for most, and costs nothing."""
    if config.think.sampler == "fixed" or config.prune.per_problem == 1:
        return lambda trace: 0
    return lambda trace: hash(distinct_by(trace, config.prune.dedupe))


def _expected(context: StageContext, model: StartModel) -> Rates:
    """Return what the round's model solves: as its own score says, or else that of the last model scored before it."""
    run = context.run
    for scored in map(run.round, range(model.round, -1, -1)):
        if scored.manifest("evaluate").exists():
            files = scored.evaluate_traces, scored.evaluate_verdicts
            return shown_by(*files, problems_by_id(run.heldout), context.config).rates
    return Rates.of_mean(SOLVE_RATE)


def _needs_every_test(config: RunConfig) -> bool:
    """Return whether a program's tests go on after one failed, which only the share of tests passed needs."""
    return config.prune.min_tests_passed > 0


def take_traces(context: StageContext, problems: dict[str, Problem]) -> dict[str, Any]:
    """Take traces that the round's model did not sample: human solutions, or another model's file."""
    config, round_dir = context.config, context.round_dir
    require_solutions(problems, config)
    rows = ((each.problem_id, each.sample, to_line(each)) for each in given_traces(problems, config))
    round_dir.path.mkdir(parents=True, exist_ok=True)
    replace_lines(round_dir.traces, (line for _, _, line in sorted_rows(rows, round_dir.path)))
    taken = replace_records(round_dir.verdicts, _judged(round_dir.traces, problems, config))
    return {"traces": taken, **lineage(config.data.file)}


def _judged(path: Path, problems: dict[str, Problem], config: RunConfig) -> Iterator[Verdict]:
    traces = iterate_records(path, Trace)
    with open_judge(config, problems, every_test=_needs_every_test(config)) as judge:
        while batch := list(islice(traces, JUDGED_AT_ONCE)):
            yield from judge(batch, problems)
