"""The gate in a run: after the first samples of the base model's score, and of every round's thinking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from tpt.config import EvaluateConfig, ThinkConfig
from tpt.errors import GateError
from tpt.evidence.best_round import split_problems, units_of
from tpt.gate.early_look import EarlyLook
from tpt.gate.early_samples import EarlySamples
from tpt.gate.report import GateReport, gate_report
from tpt.gate.text import gate_text, stop_text, verdict_line
from tpt.prune import is_keepable
from tpt.records import Problem, Trace, Verdict
from tpt.run.directory import log_event
from tpt.run.journal import Pair
from tpt.run.stage import StageContext
from tpt.system.jsonl import iterate_lines, read_records

EARLY_PROBLEMS = 40
"""Problems looked at: none of so many with anything to keep means fewer than one in ten (95 % confidence)."""
EARLY_SAMPLES = 200
"""Samples looked at, at least, where there are so many."""
MOST_SAMPLES = 5
"""Of one problem, while a model is scored: more problems tell more than more samples of them."""
MOST_TRIES = 10
"""Of one problem, while it is thought about."""


def early_problems(order: Sequence[str], samples: int) -> list[str]:
    """Return the first problems of an order, as many as the gate looks at with so many samples of each."""
    return list(order[: max(EARLY_PROBLEMS, -(-EARLY_SAMPLES // samples))])


def watch_evaluation(context: StageContext, problems: dict[str, Problem]) -> EarlyLook | None:
    """Return the look at the base model's first held-out samples; None where there is to be none."""
    config = context.config
    if context.round_dir.index or config.stop.gate == "off":
        return None
    samples = min(config.evaluate.samples, MOST_SAMPLES)

    def decide(pairs: list[Pair], pace: float | None) -> None:
        seen = seen_of(context, problems, pairs, pace, config.evaluate)
        report = gate_report(seen, warnings=[])
        # How many tests a program passes is not found out while scoring.
        _act(context, report, "held-out problems", stops=report.stops and not config.prune.min_tests_passed)

    return EarlyLook(early_problems(sorted(problems), samples), samples, decide)


def watch_thinking(context: StageContext, problems: dict[str, Problem], order: Sequence[str]) -> EarlyLook | None:
    """Return the look at a round's first training problems; it is over with the first sample to keep.

    The problems are sampled in ``order``.
    """
    config = context.config
    if config.stop.gate == "off" or len(order) < EARLY_PROBLEMS:
        return None

    def decide(pairs: list[Pair], pace: float | None) -> None:
        seen = seen_of(context, problems, pairs, pace, config.think)
        report = gate_report(seen, warnings=[])
        _act(context, report, "training problems", stops=report.stops)

    tries = min(config.think.samples, MOST_TRIES)
    return EarlyLook(order[:EARLY_PROBLEMS], tries, decide, until=keepable_by(context, problems))


def keepable_by(context: StageContext, problems: dict[str, Problem]) -> Callable[[Trace, Verdict], bool]:
    """Return whether a sample may be trained on, by the config's policy."""
    config = context.config
    return lambda trace, verdict: is_keepable(trace, verdict, problems[trace.problem_id], config.prune, config.verify)


def seen_of(
    context: StageContext,
    problems: dict[str, Problem],
    pairs: list[Pair],
    pace: float | None,
    asked: ThinkConfig | EvaluateConfig,
) -> EarlySamples:
    """Return samples of some problems with what the gate must know besides; ``asked`` says how they were sampled."""
    run, config = context.run, context.config
    heldout = read_records(run.heldout, Problem)
    claiming = split_problems(heldout, config).claiming
    return EarlySamples(
        config=config,
        pairs=pairs,
        problems=problems,
        keepable=keepable_by(context, problems),
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        train_problems=sum(1 for _ in iterate_lines(run.problems, Problem)),
        claiming=len(claiming),
        claiming_units=units_of(heldout, set(claiming)),
        clustered=any(problem.cluster for problem in heldout),
        seconds_per_sample=pace,
    )


def _act(context: StageContext, report: GateReport, sampled: str, *, stops: bool) -> None:
    """Say what was found, and end a run that can keep nothing.

    Raises:
        GateError: it can, and ``stop.gate`` says "stop".
    """
    index = context.round_dir.index
    log_event(context.run, "gate", round=index, verdict=report.verdict, samples=report.samples, stops=stops)
    if stops and context.config.stop.gate == "stop":
        raise GateError(stop_text(report, sampled))
    if context.progress:
        is_fine = report.verdict == "good" and not report.keys
        print(verdict_line(report) if is_fine else gate_text(report), file=sys.stderr, flush=True)
