"""From held-out traces and verdicts to an EvalReport."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tpt.records import Estimate, EvalReport, Outcome, Problem, ProblemDiversity, Trace, Verdict
from tpt.scoring import FloatArray, IntArray, maj_at_k, mean_and_stderr, pass_at_k
from tpt.scoring.diversity import diversity_of
from tpt.seeds import seed_for
from tpt.system.jsonl import iterate_records
from tpt.verifiers.number.verify import canonical_answer

_GOLD = "\0gold"
"""Stands for the right answer among the votes; no answer read from a completion can be spelt so."""


class Counts(NamedTuple):
    """How many of each problem's samples are right; the arrays are in the order of the ids, which is sorted."""

    problem_ids: tuple[str, ...]
    samples: IntArray
    strict: IntArray
    """Right values in the asked format."""
    lenient: IntArray
    """Right values."""
    greedy: FloatArray | None = None
    """Whether the greedy sample of each problem is right, strictly and leniently: [problems, 2]; None: not taken."""
    clusters: IntArray | None = None
    """The cluster of each problem; None: each stands for itself."""

    def of(self, problem_ids: Sequence[str]) -> Counts:
        """Return the counts of some of the problems, in the order given."""
        row_of = {problem_id: index for index, problem_id in enumerate(self.problem_ids)}
        rows = np.array([row_of[problem_id] for problem_id in problem_ids], dtype=np.int64)
        columns = self.samples, self.strict, self.lenient, self.greedy, self.clusters
        return Counts(tuple(problem_ids), *(None if each is None else each[rows] for each in columns))  # type: ignore[arg-type]

    def pass_at_k(self, k: int, *, strict: bool) -> Estimate:
        """Return unbiased pass@k over problems, counting a sample as right strictly or leniently.

        Raises:
            EstimateError: some problem has fewer than k samples.
        """
        right = self.strict if strict else self.lenient
        return pass_at_k(right, self.samples, k, problem_ids=self.problem_ids, clusters=self.clusters)

    def greedy_score(self, *, strict: bool) -> Estimate | None:
        """Return the share of problems whose greedy sample is right."""
        if self.greedy is None:
            return None
        return mean_and_stderr(self.greedy[:, 0 if strict else 1], self.clusters)

    @property
    def shares(self) -> FloatArray:
        """The share of samples that are right, strictly and leniently: [problems, 2]."""
        return np.stack([self.strict, self.lenient], axis=1) / self.samples[:, None]


class Scored(NamedTuple):
    """What the held-out problems' traces say of one model."""

    report: EvalReport
    problems: list[ProblemDiversity]


def score(
    traces: Sequence[Trace],
    verdicts: Sequence[Verdict],
    *,
    ks: Sequence[int],
    seed: int,
    clusters: IntArray | None = None,
) -> Scored:
    """Compute the scores of one model; ``ks`` empty means 1, 2, 4, … up to the samples of a problem.

    Raises:
        EstimateError: a k is larger than the samples of some problem.
    """
    grouped = by_problem(verdicts)
    right = count_verdicts(verdicts)._replace(clusters=clusters)
    chosen = sorted({1, *ks}) if ks else default_ks(right)
    counts = Counter(str(verdict.outcome) for verdict in verdicts)
    answers = [[voted_answer(verdict) for verdict in group] for group in grouped.values()]
    correct = [[is_correct(verdict) for verdict in group] for group in grouped.values()]
    found = diversity_of(traces, grouped, voted_answer)
    voters, vote_seed = chosen[-1], seed_for(seed, "maj", chosen[-1]) % 2**32
    report = EvalReport(
        problems=len(grouped),
        samples=min(map(len, grouped.values())),
        outcomes={str(outcome): counts[str(outcome)] for outcome in Outcome},
        pass_at_k={k: right.pass_at_k(k, strict=True) for k in chosen},
        pass_at_k_lenient={k: right.pass_at_k(k, strict=False) for k in chosen},
        maj_at_k={voters: maj_at_k(answers, correct, voters, seed=vote_seed, clusters=clusters)},
        diversity=found.diversity,
        lengths=found.lengths,
        failed_requests=sum(trace.finish_reason == "error" for trace in traces),
    )
    return Scored(report, found.problems)


def clusters_of(problems: Iterable[Problem], problem_ids: Sequence[str]) -> IntArray | None:
    """Return the number of each problem's cluster; None where every problem stands for itself."""
    names = {problem.id: problem.cluster for problem in problems if problem.cluster}
    if not names:
        return None
    numbers: dict[tuple[str, str], int] = {}
    keys = [("cluster", names[each]) if each in names else ("problem", each) for each in problem_ids]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def by_problem(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    """Group verdicts by problem, in the order of the problem ids."""
    grouped: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        grouped[verdict.problem_id].append(verdict)
    return dict(sorted(grouped.items()))


def count_verdicts(verdicts: Iterable[Verdict]) -> Counts:
    """Count the right samples of every problem."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for verdict in verdicts:
        row = counts[verdict.problem_id]
        row[0] += 1
        row[1] += verdict.strict and is_correct(verdict)
        row[2] += is_correct(verdict)
    problem_ids = tuple(sorted(counts))
    table = np.array([counts[problem_id] for problem_id in problem_ids], dtype=np.int64).reshape(-1, 3)
    return Counts(problem_ids, table[:, 0], table[:, 1], table[:, 2])


def read_counts(path: Path) -> Counts:
    """Count the right samples of every problem in a verdict file; a file that has not changed is read once.

    Raises:
        RunError: the file is missing or damaged.
    """
    found = path.stat() if path.exists() else None
    return _read_counts(path, found and (found.st_mtime_ns, found.st_size))


@lru_cache(maxsize=32)
def _read_counts(path: Path, _version: tuple[int, int] | None) -> Counts:
    return count_verdicts(iterate_records(path, Verdict))


def default_ks(counts: Counts) -> list[int]:
    """Return 1, 2, 4, … and the number of samples that every problem has."""
    most = int(counts.samples.min())
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})


def is_correct(verdict: Verdict) -> bool:
    """Return whether the value is right, in whatever format."""
    return verdict.outcome is Outcome.CORRECT


def voted_answer(verdict: Verdict) -> str | None:
    """Right answers are one answer however they are spelt; what can't be read is none."""
    if is_correct(verdict):
        return _GOLD
    return canonical_answer(verdict.extracted) if verdict.outcome is Outcome.WRONG and verdict.extracted else None
