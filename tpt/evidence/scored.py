"""What a run's rounds scored on the held-out problems, read from their verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from tpt.config import load_config
from tpt.errors import RunError
from tpt.records import Problem, ProblemDiversity
from tpt.run.directory import RunDir, ScoredDir
from tpt.scoring import FloatArray
from tpt.scoring.score import Counts, clusters_of, read_counts
from tpt.system.jsonl import read_records


def scored_counts(run: RunDir, rounds: Sequence[int]) -> list[Counts]:
    """Return what some rounds scored on the held-out problems, the greedy samples and the problems' clusters with it.

    Raises:
        RunError: verdicts are missing, damaged, or of other problems than the first of the rounds was scored on.
    """
    counts = [read_counts(run.round(index).evaluate_verdicts) for index in rounds]
    for index, each in zip(rounds, counts, strict=True):
        if not each.problem_ids or each.problem_ids != counts[0].problem_ids:
            round_dir = run.round(index)
            raise RunError(
                f"{round_dir.evaluate_verdicts}: verdicts of {len(each.problem_ids)} problems, which are not the "
                f"{len(counts[0].problem_ids)} that round {rounds[0]} was scored on. Delete {round_dir.manifest('evaluate')} "
                f"to have round {index} scored again"
            )
    if not counts:
        return []
    clusters = clusters_of(read_records(run.heldout, Problem), counts[0].problem_ids) if run.heldout.exists() else None
    return [
        each._replace(greedy=_greedy(run, run.round(index).scored, each), clusters=clusters)
        for index, each in zip(rounds, counts, strict=True)
    ]


def diversity_rows(run: RunDir, index: int) -> list[ProblemDiversity]:
    """Return what a round's traces of each held-out problem are like; [] of rounds that earlier versions evaluated."""
    path = run.round(index).evaluate_diversity
    return read_records(path, ProblemDiversity) if path.exists() else []


def also_counts(run: RunDir, stage: str, rounds: Sequence[int]) -> dict[int, Counts]:
    """Return what those of some rounds that are scored on a further set of problems scored on it, by round.

    Raises:
        RunError: verdicts are missing, damaged, or of other problems than the set's.
    """
    places = {index: run.round(index).also(stage) for index in rounds if run.round(index).manifest(stage).exists()}
    problems = read_records(run.also(stage), Problem) if places else []
    ids = tuple(sorted(problem.id for problem in problems))
    found = {}
    for index, place in places.items():
        counts = read_counts(place.verdicts)
        if counts.problem_ids != ids:
            raise RunError(
                f"{place.verdicts}: verdicts of {len(counts.problem_ids)} problems, which are not the {len(ids)} of "
                f"{run.also(stage)}. Delete {run.round(index).manifest(stage)} to have them made again"
            )
        found[index] = counts._replace(greedy=_greedy(run, place, counts), clusters=clusters_of(problems, ids))
    return found


def _greedy(run: RunDir, place: ScoredDir, counts: Counts) -> FloatArray | None:
    """Return what the greedy samples scored; None where they were not taken or are of other problems."""
    if run.exists() and load_config(run.config).evaluate.temperature == 0:
        return counts.shares
    if not place.greedy_verdicts.exists():
        return None
    greedy = read_counts(place.greedy_verdicts)
    return greedy.shares if greedy.problem_ids == counts.problem_ids else None
