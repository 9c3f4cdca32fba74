"""Two runs side by side: their rounds compared on the problems that both were scored on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tpt.audit.import_samples import ImportedDir
from tpt.config import AlarmConfig, RunConfig, load_config
from tpt.errors import RunError
from tpt.evidence.alarms import Alarm, alarms_between, observed_of
from tpt.evidence.best_round import HeldoutSplit, best_round_of, heldout_split_of
from tpt.evidence.cards import Comparison
from tpt.evidence.paired import LENIENT, STRICT, Sample, compare_pairs, sample_of
from tpt.evidence.scored import diversity_rows, scored_counts
from tpt.records import Estimate, Problem, ProblemDiversity, Trace, Verdict
from tpt.run.directory import RunDir
from tpt.run.manifest import require_unchanged_run
from tpt.scoring.diversity import diversity_of
from tpt.scoring.score import Counts, by_problem, clusters_of, read_counts, voted_answer
from tpt.seeds import seed_for
from tpt.system.jsonl import read_records


@dataclass(frozen=True, slots=True)
class Side:
    """One run's round, scored on the shared problems."""

    round: int
    strict: Estimate
    lenient: Estimate


@dataclass(frozen=True, slots=True)
class Pair:
    """A round of the second run less one of the first."""

    first: Side
    second: Side
    comparison: Comparison | None
    """None where a single shared problem leaves nothing to pair."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """Two runs on the held-out problems that they share."""

    first: str
    second: str
    shared: int
    only_first: int
    """Held-out problems of the first run that the second one lacks."""
    only_second: int
    level: float
    rounds: list[Pair]
    """Round by round, as far as both runs go; Holm over them."""
    best: Pair
    """The two runs' best rounds."""
    best_problems: int
    independent: bool
    """Whether the best rounds are compared on problems that chose neither of them, or nothing was chosen."""
    chosen: bool
    """Whether either side had rounds to choose from."""
    alarms: list[Alarm]
    """Of the second side's best round against the first's, on the shared problems."""


class _Run(NamedTuple):
    """A run as far as it is scored."""

    rounds: list[int]
    counts: list[Counts]
    problems: dict[str, tuple[str, str]]
    """Id to question and answer."""
    best: int
    """Its index among the rounds."""
    parts: HeldoutSplit
    diversity: Callable[[int], list[ProblemDiversity]]
    """Of the traces of one of its rounds."""

    @property
    def chosen(self) -> bool:
        """Whether there were rounds to choose from."""
        return len(self.rounds) > 1


def compare_runs(first: RunDir, second: RunDir) -> RunComparison:
    """Compare two runs on the problems that both are scored on.

    Raises:
        RunError: one of them has no finished round, or they share no problem.
    """
    settings = load_config(first.config) if first.exists() else RunConfig()
    one, other = _opened(first), _opened(second)
    # Generated problems of two runs may bear the same name and be different ones.
    shared = sorted(dict(one.problems.items() & other.problems.items()))
    if not shared:
        raise RunError(
            f"{first.path} and {second.path} share no held-out problem ({len(one.problems)} and {len(other.problems)}, "
            f"such as {min(one.problems)} and {min(other.problems)}). Runs are compared problem by problem: give them the "
            "same problems.heldout"
        )
    # A side of one round had nothing to choose, so all its problems are as good as new.
    unseen = sorted(set(shared).intersection(*(side.parts.claiming for side in (one, other) if side.chosen)))
    split = all(side.parts.independent or not side.chosen for side in (one, other))
    independent = split and len(unseen) >= min(2, len(shared))
    seed, level = seed_for(settings.seed, "compare runs"), settings.stop.alpha
    common = [index for index in one.rounds if index in other.rounds]
    best = (one.rounds[one.best], other.rounds[other.best])
    return RunComparison(
        first=str(first.path),
        second=str(second.path),
        shared=len(shared),
        only_first=len(one.problems) - len(shared),
        only_second=len(other.problems) - len(shared),
        level=level,
        rounds=_pairs(one, other, [(index, index) for index in common], shared, seed=seed, level=level),
        best=_pairs(one, other, [best], unseen if independent else shared, seed=seed, level=level)[0],
        best_problems=len(unseen if independent else shared),
        independent=independent,
        chosen=one.chosen or other.chosen,
        alarms=_alarms(one, other, shared, settings.alarms),
    )


def _alarms(one: _Run, other: _Run, shared: Sequence[str], config: AlarmConfig) -> list[Alarm]:
    before, after = (
        observed_of(side.rounds[side.best], side.counts[side.best].of(shared), side.diversity(side.rounds[side.best]))
        for side in (one, other)
    )
    k = min(before.k, after.k)
    return alarms_between(before._replace(k=k), after._replace(k=k), config)


def _opened(run: RunDir) -> _Run:
    if (imported := ImportedDir(run.path)).exists():
        return _imported(imported)
    run.require()
    require_unchanged_run(run)
    config = load_config(run.config)
    rounds = [each.index for each in run.rounds() if each.record.exists()]
    if not rounds:
        raise RunError(
            f"{run.path}: no round is finished yet, so there is nothing to compare. Go on with: tpt run {run.path}"
        )
    counts = scored_counts(run, rounds)
    problems = {each.id: (each.question, each.answer) for each in read_records(run.heldout, Problem)}
    return _Run(
        rounds,
        counts,
        {problem_id: problems[problem_id] for problem_id in counts[0].problem_ids if problem_id in problems},
        rounds.index(best_round_of(run, config, rounds).best),
        heldout_split_of(counts[0], config),
        lambda index: diversity_rows(run, index),
    )


def _imported(folder: ImportedDir) -> _Run:
    """Imported samples are a run of one round, which nothing chose."""
    counts = read_counts(folder.verdicts)
    problems = {each.id: (each.question, each.answer) for each in read_records(folder.problems, Problem)}
    counts = counts._replace(clusters=clusters_of(read_records(folder.problems, Problem), counts.problem_ids))
    problem_ids = list(counts.problem_ids)

    def diversity(_index: int) -> list[ProblemDiversity]:
        verdicts = by_problem(read_records(folder.verdicts, Verdict))
        return diversity_of(read_records(folder.traces, Trace), verdicts, voted_answer).problems

    return _Run([0], [counts], problems, 0, HeldoutSplit(problem_ids, problem_ids, independent=True), diversity)


def _pairs(
    one: _Run, other: _Run, rounds: Sequence[tuple[int, int]], problem_ids: Sequence[str], *, seed: int, level: float
) -> list[Pair]:
    counts = [one.counts[one.rounds.index(index)] for index, _ in rounds]
    counts += [other.counts[other.rounds.index(index)] for _, index in rounds]
    sample = sample_of([index for pair in zip(*rounds, strict=True) for index in pair], counts, problem_ids, seed=seed)
    columns = [(column + len(rounds), column) for column in range(len(rounds))]
    found: Sequence[Comparison | None] = compare_pairs(sample, columns, level=level) or [None] * len(rounds)
    return [
        Pair(_side(sample, before), _side(sample, after), comparison)
        for (after, before), comparison in zip(columns, found, strict=True)
    ]


def _side(sample: Sample, column: int) -> Side:
    return Side(sample.rounds[column], sample.estimate(column, STRICT), sample.estimate(column, LENIENT))
