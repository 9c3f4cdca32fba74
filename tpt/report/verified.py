"""Whether a run is still what its stages left: every file is read, and every number is computed from its records again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from tpt.config import RunConfig, load_config
from tpt.errors import EstimateError, RunError
from tpt.records import EvalReport, Example, Problem, RoundRecord, Verdict
from tpt.rounds import best_round, is_finished, read_record
from tpt.run.directory import RoundDir, RunDir
from tpt.run.manifest import changed_files, checkpoint_is_here, finished_stages, require_frozen
from tpt.run.outputs import FileChange
from tpt.sampling.score_passes import score_at
from tpt.system.jsonl import from_table, iterate_records, read_json, to_table

_UNREADABLE = (RunError, EstimateError, OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading files raises that somebody has edited."""
_MOST = 20
"""Numbers of a stage that are told."""


@dataclass(frozen=True, slots=True)
class VerifiedStage:
    """A finished stage, looked at in full."""

    round: int
    stage: str
    changed: list[str]
    """Files that are not what it left, or read of the frozen problems: path within the run, and how."""
    contradictions: list[str]
    """Numbers of its manifest that its records contradict."""
    note: str = ""
    """What could not be looked at."""

    @property
    def ok(self) -> bool:
        """Whether it is what it was."""
        return not (self.changed or self.contradictions)


@dataclass(slots=True)
class VerifiedRun:
    """A run, looked at in full."""

    stages: list[VerifiedStage] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    """What is wrong with files that belong to no stage, such as round.json."""

    @property
    def ok(self) -> bool:
        """Whether everything is what it was."""
        return not self.records and all(stage.ok for stage in self.stages)

    @property
    def changed(self) -> list[str]:
        """Every file that was changed, once."""
        return list(dict.fromkeys(each for stage in self.stages for each in stage.changed))


def verify_run(run: RunDir) -> VerifiedRun:
    """Read all files of a run's finished stages, and compute their numbers again.

    Raises:
        RunError: there is no run.
    """
    run.require()
    config, found = load_config(run.config), VerifiedRun()
    for round_dir in run.rounds():
        for stage in finished_stages(round_dir):
            found.stages.append(_verified(run, round_dir, stage, config))
    found.records = list(_records(run))
    return found


def verified_text(found: VerifiedRun) -> str:
    """Return a line for every stage, and after them what was changed."""
    lines = []
    for stage in found.stages:
        wrong = [*stage.changed, *stage.contradictions]
        said = f"NOT what it was: {'; '.join(wrong)}" if wrong else "as it was written"
        lines.append(f"round {stage.round} {stage.stage}: {said}{f' ({stage.note})' * bool(stage.note)}")
    lines += [] if found.stages else ["no stage is finished yet"]
    lines += found.records
    if found.changed:
        lines += ["", "changed files:", *(f"  {each}" for each in found.changed)]
    return "\n".join(lines)


def _verified(run: RunDir, round_dir: RoundDir, stage: str, config: RunConfig) -> VerifiedStage:
    changed, contradictions = [], list[str]()
    try:
        changed = changed_files(round_dir, stage, full=True)
    except RunError:
        changed = [FileChange(round_dir.manifest(stage), "damaged")]
    try:
        # Of a manifest that was changed, the numbers are what is to be looked at.
        manifest = read_json(round_dir.manifest(stage))
        contradictions = list(_contradictions(run, round_dir, stage, manifest["counts"], config))
    except _UNREADABLE as error:
        if not changed:
            contradictions = [f"its records cannot be read: {error}"]
    gone = stage == "train" and not checkpoint_is_here(round_dir)
    return VerifiedStage(
        round_dir.index,
        stage,
        [f"{change.path.relative_to(run.path)} {change.how}" for change in changed],
        contradictions[:_MOST],
        "the checkpoint is not here" if gone else "",
    )


def _contradictions(
    run: RunDir, round_dir: RoundDir, stage: str, counts: dict[str, Any], config: RunConfig
) -> Iterator[str]:
    if stage == "think" and round_dir.verdicts.exists():
        found = Counter(str(verdict.outcome) for verdict in iterate_records(round_dir.verdicts, Verdict))
        told = counts.get("outcomes", {})
        yield from _differences("outcomes", told, {outcome: found[outcome] for outcome in told})
        yield from _differences("traces", counts.get("traces"), found.total())
    elif stage == "prune" and round_dir.examples.exists():
        examples = sum(1 for _ in iterate_records(round_dir.examples, Example))
        yield from _differences("examples", counts.get("examples"), examples)
    elif "report" in counts:
        yield from _report_differences(run, round_dir, stage, counts["report"], config)


def _report_differences(
    run: RunDir, round_dir: RoundDir, stage: str, told: dict[str, Any], config: RunConfig
) -> Iterator[str]:
    """Compute a stage's scores again; what the probe of the model measured is not told by any record."""
    held_out = stage == "evaluate"
    at, problems = (round_dir.scored, run.heldout) if held_out else (round_dir.also(stage), run.also(stage))
    # Of each problem's samples, k may be no more than there are: which k were asked for then, the report says.
    ks = [int(k) for k in told["pass_at_k"]]
    weights = config.evaluate.weights
    report = score_at(at, iterate_records(problems, Problem), ks=ks, seed=config.seed, weights=weights).report
    recorded = from_table(EvalReport, told)
    if recorded.greedy is None:
        report = replace(report, greedy=None, greedy_lenient=None)
    now = to_table(replace(report, probe=recorded.probe))
    # Versions differ in what they write; what both have must agree.
    yield from _differences("", told, {key: value for key, value in now.items() if key in told})


def _differences(name: str, told: Any, found: Any) -> Iterator[str]:
    """Yield where two plain values differ; what one of them lacks is told where the other has it."""
    if isinstance(told, dict) and isinstance(found, dict):
        for key in {**told, **found}:
            if key in told and key in found:
                yield from _differences(f"{name}.{key}".removeprefix("."), told[key], found[key])
    elif isinstance(told, int | float) and isinstance(found, int | float):
        if not math.isclose(told, found, rel_tol=1e-6, abs_tol=1e-9):
            yield f"{name} is {told:.6g}, and {found:.6g} by the records"
    elif told is not None and told != found:
        yield f"{name} is {told!r}, and {found!r} by the records"


def _records(run: RunDir) -> Iterator[str]:
    """Yield what is wrong with the files that belong to no stage, or to several."""
    try:
        require_frozen(run, full=True)
    except RunError as error:
        yield str(error)
    records: list[RoundRecord] = []
    finished = [each for each in run.rounds() if each.record.exists()]
    for round_dir in finished:
        if not is_finished(round_dir):
            yield f"{round_dir.record}: there, though not all stages of the round are finished"
        try:
            records.append(read_record(run, round_dir))
        except _UNREADABLE as error:
            yield f"{round_dir.record}: {error}" if str(round_dir.record) not in str(error) else str(error)
    if records and len(records) == len(finished) and run.best.exists():
        said = run.best.read_text(encoding="utf-8", errors="replace").strip()
        try:
            best = f"round-{best_round(run, records).index}"
        except _UNREADABLE as error:
            yield f"{run.best}: which round is the best cannot be told: {error}"
        else:
            if said != best:
                yield f"{run.best}: says {said!r}, and it is {best} by the verdicts"
