"""What a run's finished stages tell of the ones to come: solve rates, lengths, tokens, seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpt.config import RunConfig
from tpt.errors import RunError
from tpt.plan.sampling import Lengths
from tpt.prune import is_keepable
from tpt.records import Problem, Trace, Verdict
from tpt.run.directory import RoundDir, RunDir
from tpt.run.manifest import load_manifest, require_unchanged_run
from tpt.scoring.solve_rates import Rates, fit_rates, shifted
from tpt.system.jsonl import read_records


@dataclass(frozen=True, slots=True)
class Done:
    """A finished stage, in the units of a plan."""

    round: int
    stage: str
    samples: int
    """Completions, or examples."""
    tokens: int
    """Sampled, those not needed included; or trained on, all epochs."""
    wall_s: float
    device: str
    """As the driver names it, or "cpu"; empty: not recorded."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a stage's traces show."""

    rates: Rates
    lengths: Lengths


@dataclass(frozen=True, slots=True)
class Belief:
    """What a round is expected to sample."""

    rates: Rates
    think: Lengths
    evaluate: Lengths


@dataclass(frozen=True, slots=True)
class History:
    """A run's finished stages."""

    done: tuple[Done, ...]
    thought: dict[int, Seen]
    """By round."""
    evaluated: dict[int, Seen]

    def belief(self, round_index: int, guess: Belief) -> Belief:
        """Return what is to be expected of a round: what the last rounds before it showed, else the guess.

        Held-out problems tell of every model, the training problems only of those that sampled them. So the training
        problems' rates are those of the last round that sampled them, moved as far as the held-out ones' have moved since.
        """
        evaluated = [index for index in self.evaluated if index < round_index]
        thought = [index for index in self.thought if index < round_index]
        if not evaluated:
            return guess
        newest = self.evaluated[max(evaluated)]
        if not thought:
            return Belief(newest.rates, newest.lengths, newest.lengths)
        last = max(thought)
        seen = self.thought[last]
        then = self.evaluated.get(last - 1, newest).rates.mean
        rates = shifted(seen.rates, seen=then, now=newest.rates.mean)
        return Belief(rates, seen.lengths, newest.lengths)

    def find(self, round_index: int, stage: str) -> Done | None:
        """Return a finished stage."""
        return next((each for each in self.done if (each.round, each.stage) == (round_index, stage)), None)


def read_history(run: RunDir, config: RunConfig) -> History:
    """Read what is finished; an empty history where there is no run.

    Raises:
        RunError: a manifest or a file of traces is damaged or changed.
    """
    require_unchanged_run(run)
    done: list[Done] = []
    thought: dict[int, Seen] = {}
    evaluated: dict[int, Seen] = {}
    problems = {
        problem.id: problem
        for path in (run.problems, run.heldout)
        if path.exists()
        for problem in read_records(path, Problem)
    }
    for round_dir in run.rounds():
        for stage in (*round_dir.stages, *(each.stage for each in config.evaluate.also)):
            path = round_dir.manifest(stage)
            if not path.exists():
                continue
            try:
                one = _done(round_dir, stage, load_manifest(path))
            except (KeyError, TypeError) as error:
                raise RunError(
                    f"{path}: damaged: {error} is not as a stage writes it. Delete it to have it made again"
                ) from None
            if one is not None:
                done.append(one)
            if stage == "think" and config.data.source_of(round_dir.index) == "self":
                thought[round_dir.index] = shown_by(round_dir.traces, round_dir.verdicts, problems, config)
            if stage == "evaluate":
                scored = round_dir.evaluate_traces, round_dir.evaluate_verdicts
                evaluated[round_dir.index] = shown_by(*scored, problems, config)
    return History(tuple(done), thought, evaluated)


def _done(round_dir: RoundDir, stage: str, manifest: dict[str, Any]) -> Done | None:
    counts = manifest["counts"]
    if stage == "train":
        device = "cpu" if counts["device"] == "cpu" else ""
        return Done(round_dir.index, stage, counts["examples"], counts["total_tokens"], counts["wall_s"], device)
    if stage == "prune" or "completion_tokens" not in counts:
        return None
    samples = counts["traces"] + counts["surplus_traces"] + counts["cancelled_requests"]
    tokens = counts["completion_tokens"] + counts["surplus_tokens"] + counts["cancelled_tokens"]
    tokens += counts.get("greedy_tokens", 0)
    described = counts.get("engine") or manifest["settings"].get("engine") or {}
    return Done(round_dir.index, stage, samples, tokens, counts["wall_s"], str(described.get("device_name", "")))


def shown_by(traces: Path, verdicts: Path, problems: Mapping[str, Problem], config: RunConfig) -> Seen:
    """Return what the samples of a finished stage show.

    Raises:
        RunError: a trace is of no problem of the run, or has no verdict.
    """
    judged = {(verdict.problem_id, verdict.sample): verdict for verdict in read_records(verdicts, Verdict)}
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    lengths: tuple[list[int], list[int]] = ([], [])
    for trace in read_records(traces, Trace):
        problem, verdict = problems.get(trace.problem_id), judged.get((trace.problem_id, trace.sample))
        if problem is None or verdict is None:
            raise RunError(
                f"{traces}: problem {trace.problem_id!r}, sample {trace.sample}: not a problem of this run, or without a "
                "verdict; the run's files do not belong together"
            )
        keepable = is_keepable(trace, verdict, problem, config.prune, config.verify)
        counts[trace.problem_id][0] += keepable
        counts[trace.problem_id][1] += 1
        lengths[not keepable].append(trace.completion_tokens)
    every = tuple(sorted(lengths[0] + lengths[1]))
    kept, others = (tuple(sorted(each)) or every for each in lengths)
    return Seen(fit_rates([(solved, tried) for solved, tried in counts.values()]), Lengths(kept, others))
