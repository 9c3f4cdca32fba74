"""The stages of a round on a run directory: what each reads, does and leaves behind.

A stage reads files, writes files, and writes its manifest last. It is done when the manifest is there and was made
from the inputs that are there now; a done stage returns at once.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from tpt.config import RunConfig, load_config
from tpt.config.engine_section import OPERATIONAL
from tpt.config.stage_sections import VERIFY_OPERATIONAL
from tpt.desk import open_chat, prompt_template, sampling_of, use_threads
from tpt.errors import ConfigError, RunError
from tpt.evaluate import score
from tpt.gather import Work, sample, take_traces, think_with_model
from tpt.journal import Journal
from tpt.jsonl import iterate_records, read_records, replace_records, to_table
from tpt.lineage import base_model, model_after, model_before, output_of
from tpt.probe import base_traces, probe_round
from tpt.prune import Pruning
from tpt.ray_session import RaySettings
from tpt.records import Example, Outcome, Problem, Trace, Verdict
from tpt.run_dir import RunDir, digest_of, fingerprint, log_event, read_manifest, write_manifest
from tpt.seeds import seed_for
from tpt.think import Fixed
from tpt.train import NO_EFFECT_ON_WEIGHTS, Start, train
from tpt.variety import training_variety
from tpt.verifiers.kinds import formats_of


def do_stage(run_path: str | Path, stage: str, round_index: int, *, progress: bool = False) -> dict[str, Any]:
    """Do one stage of one round, unless it is done, and return its manifest.

    Raises:
        StaleStageError: the stage was done with other inputs than those there now.
        RunError: an earlier stage that this one needs is not done.
    """
    run = RunDir(run_path)
    run.require()
    if stage != "evaluate" and round_index < 1:
        raise RunError(f"round {round_index} has no {stage} stage; rounds with one count from 1")
    work = Work(run, run.round(round_index), load_config(run.config), progress)
    use_threads(work.config)
    log_event(run, "begin", stage=stage, round=round_index)
    manifest = _STAGES[stage](work)
    log_event(run, "end", stage=stage, round=round_index)
    return manifest


def think_stage(work: Work) -> dict[str, Any]:
    """Sample (or take from elsewhere) this round's traces and judge them."""
    config, place, run = work.config, work.place, work.run
    model = model_before(work.run, work.place, work.config)
    settings = {
        "seed": config.seed,
        "data": config.data.model_dump(include={"source", "file"}),
        "prompt": config.prompt.model_dump(),
        "engine": config.engine.model_dump(exclude=set(OPERATIONAL)),
        "think": config.think.model_dump(),
        # Until-full sampling stops at what the pruning policy can use.
        "prune": config.prune.model_dump(include={*_KEEPABLE, "size", "growth"}),
        **_verifying(config, run.problems),
    }
    inputs = {"problems": fingerprint(run.problems), "model": model.digest, "settings": digest_of(settings)}
    if config.data.source == "file":
        inputs["file"] = _file_digest(config.data.file)
    if done := read_manifest(place, "think", inputs):
        return done
    started = time.monotonic()
    problems = _by_id(run.problems)
    counts = think_with_model(work, model, problems) if config.data.source == "self" else take_traces(work, problems)
    journal = Journal(place.traces, place.verdicts)
    found = Counter((verdict.outcome, trace.finish_reason) for trace, verdict in journal)
    outcomes = {str(outcome): found[outcome, "stop"] + found[outcome, "length"] for outcome in Outcome}
    counts |= {"outcomes": outcomes, "wall_s": round(time.monotonic() - started, 3)}
    counts["truncated"] = sum(found[outcome, "length"] for outcome in Outcome)
    counts["variety"] = training_variety(journal)
    return write_manifest(
        place,
        "think",
        inputs=inputs,
        outputs={"traces": place.traces, "verdicts": place.verdicts},
        settings=settings,
        counts=counts,
    )


def prune_stage(work: Work) -> dict[str, Any]:
    """Choose this round's training examples from its traces and verdicts."""
    config, place, run = work.config, work.place, work.run
    settings = {"seed": config.seed, "prune": config.prune.model_dump(), "data": config.data.model_dump()}
    inputs = {
        "problems": fingerprint(run.problems),
        "traces": output_of(place, "think", "traces", place.traces),
        "verdicts": output_of(place, "think", "verdicts", place.verdicts),
        "settings": digest_of(settings),
    }
    earlier: Path | None = None
    if config.data.mode == "accumulate" and place.index > 1:
        before = run.round(place.index - 1)
        inputs["earlier examples"] = output_of(before, "prune", "examples", before.examples)
        earlier = before.examples
    if done := read_manifest(place, "prune", inputs):
        return done
    started = time.monotonic()
    journal = Journal(place.traces, place.verdicts)
    pruning = Pruning(_by_id(run.problems), config.prune, config.seed, place.index)
    found, chosen = pruning.survey(journal.problems())
    _check_yield(work, found.problems_kept, found.size_wanted)
    chat = open_chat(config, model_before(work.run, work.place, work.config).spec, run.path / "cache")
    examples = pruning.examples(journal.problems(), chosen, chat.messages)
    kept = sum(1 for _ in iterate_records(earlier, Example)) if earlier else 0
    total = replace_records(place.examples, chain(iterate_records(earlier, Example) if earlier else (), examples))
    counts = to_table(found) | {
        "examples": total,
        "new_examples": total - kept,
        "wall_s": round(time.monotonic() - started, 3),
    }
    outputs = {"examples": place.examples}
    return write_manifest(place, "prune", inputs=inputs, outputs=outputs, settings=settings, counts=counts)


def train_stage(work: Work) -> dict[str, Any]:
    """Fine-tune the round's start model on its examples."""
    config, place, run = work.config, work.place, work.run
    model = (
        base_model(run, config)
        if config.train.start_from == "base"
        else model_before(work.run, work.place, work.config)
    )
    trained_by = config.train.model_dump(exclude=set(NO_EFFECT_ON_WEIGHTS))
    settings = {"seed": config.seed, "train": trained_by, "prompt": config.prompt.model_dump()}
    inputs = {
        "examples": output_of(place, "prune", "examples", place.examples),
        "model": model.digest,
        "settings": digest_of(settings),
    }
    base = base_model(run, config)
    if config.train.interpolate:
        inputs["base model"] = base.digest
    if done := read_manifest(place, "train", inputs):
        return done
    started = time.monotonic()
    examples = read_records(place.examples, Example)
    with work.display("train", total=1) as display:
        counts = train(
            examples,
            _by_id(run.problems),
            config=config.train,
            prompt=prompt_template(config),
            start=Start(
                model.spec,
                model.digest,
                base=None if model.digest == base.digest else base.spec,
                cache=run.path / "cache",
            ),
            out=place.checkpoint,
            seed=seed_for(config.seed, "train", place.index),
            progress=lambda step, steps, loss: display.update(step, total=steps, note=f"loss {loss:.3f}"),
            ray=RaySettings(config.engine.ray_address, config.engine.timeout_s),
        )
        display.finish(f"{len(examples)} examples, loss {counts['loss_first']:.3f} to {counts['loss_last']:.3f}")
    counts |= {"start_round": model.round, "wall_s": round(time.monotonic() - started, 3)}
    outputs = {"checkpoint": place.checkpoint}
    return write_manifest(place, "train", inputs=inputs, outputs=outputs, settings=settings, counts=counts)


def evaluate_stage(work: Work) -> dict[str, Any]:
    """Sample the held-out problems from the round's model, judge them, and compute the scores."""
    config, place, run = work.config, work.place, work.run
    model = base_model(run, config) if place.index == 0 else model_after(place)
    settings = {
        "seed": config.seed,
        "prompt": config.prompt.model_dump(),
        "engine": config.engine.model_dump(exclude=set(OPERATIONAL)),
        # Which problems choose the best round does not change how any is scored.
        "evaluate": config.evaluate.model_dump(exclude={"choose_share"}),
        **_verifying(config, run.heldout),
    }
    inputs = {"heldout problems": fingerprint(run.heldout), "model": model.digest, "settings": digest_of(settings)}
    if place.index and config.evaluate.probe:
        inputs |= base_traces(run)
    if done := read_manifest(place, "evaluate", inputs):
        return done
    started = time.monotonic()
    problems = _by_id(run.heldout)
    sampler = Fixed(sorted(problems), config.evaluate.samples)
    title = "base model's score" if place.index == 0 else "evaluate"
    with work.display(title, total=sampler.target) as display:
        collected, described = sample(
            work,
            model,
            problems,
            sampler=sampler,
            sampling=sampling_of(config.evaluate),
            display=display,
            at=place.evaluate,
        )
        verdicts = read_records(place.evaluate_verdicts, Verdict)
        scored = score(read_records(place.evaluate_traces, Trace), verdicts, ks=config.evaluate.ks, seed=config.seed)
        replace_records(place.evaluate_variety, scored.problems)
        sampled = time.monotonic()
        report = replace(scored.report, probe=probe_round(run, config, model, problems))
        strict, lenient = report.pass_at_k[1], report.pass_at_k_lenient[1]
        display.finish(f"pass@1 {strict.mean:.1%} strict, {lenient.mean:.1%} lenient, ± {strict.stderr:.1%}")
    now = time.monotonic()
    counts = {**to_table(collected), "report": to_table(report), "probe": report.probe}
    counts |= {"probe_s": round(now - sampled, 3), "wall_s": round(now - started, 3)}
    return write_manifest(
        place,
        "evaluate",
        inputs=inputs,
        outputs={
            "traces": place.evaluate_traces,
            "verdicts": place.evaluate_verdicts,
            "variety": place.evaluate_variety,
        },
        settings={**settings, "engine": described},
        counts=counts,
    )


_KEEPABLE = ("correct_only", "wrong_only", "require_format", "require_true_steps", "min_tests_passed")
"""The settings of pruning that say whether a trace is keepable."""

_STAGES: dict[str, Callable[[Work], dict[str, Any]]] = {
    "think": think_stage,
    "prune": prune_stage,
    "train": train_stage,
    "evaluate": evaluate_stage,
}


def _verifying(config: RunConfig, problems: Path) -> dict[str, Any]:
    """Return the settings that verdicts depend on."""
    kinds = {problem.kind for problem in iterate_records(problems, Problem)}
    return {"formats": formats_of(kinds), "verify": config.verify.model_dump(exclude=set(VERIFY_OPERATIONAL))}


def _check_yield(work: Work, kept: int, wanted: int | None) -> None:
    """Say plainly when fewer problems were solved than the training set was to hold."""
    if kept >= (1 if wanted is None else wanted):
        return
    said = (
        f"round {work.place.index} prune: {kept} problems have a keepable trace, {wanted or 'all solved'} were wanted "
        "(prune.size). Raise think.samples, add problems, or lower prune.size"
    )
    if kept == 0:
        raise RunError(
            f"{said}. Nothing is left to train on: look at the traces with: tpt show {work.run.path} --round {work.place.index}"
        )
    if work.config.prune.if_short == "stop":
        raise RunError(f'{said}; prune.if_short = "stop" ends the run here')
    if work.progress:
        print(f"{said}; going on with {kept}", file=sys.stderr)


def _by_id(path: Path) -> dict[str, Problem]:
    return {problem.id: problem for problem in iterate_records(path, Problem)}


def _file_digest(path: str) -> str:
    if not Path(path).is_file():
        raise ConfigError(f"data.file = {path!r}: no such file")
    return fingerprint(Path(path))
