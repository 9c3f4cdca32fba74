"""What one run's verdict files say of one of its rounds, problem by problem."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from tpt.compare.budget import operations, spent, spent_flops
from tpt.compare.running import ArmRun
from tpt.evidence.best_round import split_heldout
from tpt.evidence.scored import scored_counts
from tpt.records import Problem, ProblemDiversity, RoundRecord, Trace, Verdict
from tpt.run.directory import RoundDir
from tpt.run.manifest import load_manifest
from tpt.scoring import FloatArray, maj_at_k, pass_at_k_values
from tpt.scoring.score import Counts, by_problem, is_correct, read_counts, voted_answer
from tpt.seeds import seed_for
from tpt.system.jsonl import read_records


@dataclass(frozen=True, slots=True)
class Measured:
    """One model on some held-out problems."""

    round: int
    keys: list[str]
    """Digest of each problem's id and question: with a procedural source each seed has problems of its own."""
    base: float
    """The base model's strict score on these problems."""
    scores: FloatArray
    """[problems, strict, lenient and greedy]: the share of samples that are right, or whether the vote is; and whether the
    greedy sample's value is, NaN where none was taken."""
    k: int
    pass_at_k: float | None
    """Strict, at all samples taken; None for a vote."""
    maj_at_k: float
    variety: float | None
    """Different chains of equations among 4 correct traces, over the problems that have so many; None: none has."""

    @property
    def strict(self) -> float:
        """The strict score."""
        return float(self.scores[:, 0].mean())

    @property
    def lenient(self) -> float:
        """The lenient score."""
        return float(self.scores[:, 1].mean())

    @property
    def greedy(self) -> float | None:
        """The lenient score of one greedy sample a problem; None: not taken."""
        found = float(self.scores[:, 2].mean())
        return None if math.isnan(found) else found


def problem_keys(task: ArmRun) -> dict[str, str]:
    """Return problem id to the digest of the problem."""
    problems = read_records(task.run.heldout, Problem)
    return {each.id: hashlib.sha256(f"{each.id}\0{each.question}".encode()).hexdigest()[:24] for each in problems}


def claiming_ids(task: ArmRun) -> list[str]:
    """Return the held-out problems that have no part in choosing the best round."""
    config = task.arm.config(task.seed)
    ids = read_counts(task.run.round(0).evaluate_verdicts).problem_ids
    return split_heldout(ids, share=config.evaluate.choose_share, seed=config.seed).claiming


def measure(task: ArmRun, index: int, problem_ids: list[str]) -> Measured:
    """Score a round's model on some of the held-out problems, in the order given.

    Raises:
        RunError: the round's files are missing or damaged.
    """
    round_dir = task.run.round(index)
    counts, base = (each.of(problem_ids) for each in scored_counts(task.run, [index, 0]))
    k = int(counts.samples.min())
    keys = problem_keys(task)
    return Measured(
        round=index,
        keys=[keys[problem_id] for problem_id in problem_ids],
        base=float(base.shares[:, 0].mean()),
        scores=_with_greedy(counts.shares, counts),
        k=k,
        pass_at_k=float(pass_at_k_values(counts.strict, counts.samples, k).mean()),
        maj_at_k=float(votes(round_dir, problem_ids, k, seed=task.seed)[:, 1].mean()),
        variety=_diversity(round_dir, problem_ids),
    )


@dataclass(frozen=True, slots=True)
class Ballot:
    """What one answer of the base model to every held-out problem costs, and how many the budget allows."""

    tokens: float
    flops: float | None
    """None: an earlier version did not count what the reference arm spent."""
    allowed: int


def ballot(task: ArmRun, reference: list[RoundRecord], *, is_flops: bool) -> Ballot:
    """Return how often a vote may be cast: once, and as often again as what the reference arm spent pays for.

    ``reference`` are the rounds of the reference arm: their operations are spent (``is_flops``), or else the tokens
    that they sampled to learn from.
    """
    manifest = task.run.round(0).manifest("evaluate")
    evaluated = load_manifest(manifest)["counts"] if manifest.exists() else {}
    counts = read_counts(task.run.round(0).evaluate_verdicts)
    traces = read_records(task.run.round(0).evaluate_traces, Trace)
    share = len(counts.problem_ids) / max(1, int(counts.samples.sum()))
    tokens = share * sum(trace.completion_tokens for trace in traces)
    weights = reference[-1].train.get("parameters") if reference[-1].train else None
    prompts = evaluated.get("prompt_tokens")
    flops = None if weights is None or prompts is None else operations(weights, read=tokens + share * prompts)
    budget, once = (spent_flops(reference) or 0.0, flops or 0.0) if is_flops else (float(spent(reference)), tokens)
    return Ballot(tokens, flops, 1 + int(budget // max(1.0, once)))


def measure_vote(task: ArmRun, allowed: int, problem_ids: list[str]) -> Measured:
    """Score the base model's majority vote, of as many answers as are allowed, but not more than were taken."""
    round_dir = task.run.round(0)
    k = min(int(read_counts(round_dir.evaluate_verdicts).samples.min()), allowed)
    (base,) = (each.of(problem_ids) for each in scored_counts(task.run, [0]))
    keys, scores = problem_keys(task), _with_greedy(votes(round_dir, problem_ids, k, seed=task.seed), base)
    return Measured(
        round=0,
        keys=[keys[problem_id] for problem_id in problem_ids],
        base=float(base.shares[:, 0].mean()),
        scores=scores,
        k=k,
        pass_at_k=None,
        maj_at_k=float(scores[:, 1].mean()),
        variety=None,
    )


def _with_greedy(scores: FloatArray, counts: Counts) -> FloatArray:
    greedy = np.full(len(scores), np.nan) if counts.greedy is None else counts.greedy[:, 1]
    return np.column_stack([scores, greedy])


def votes(round_dir: RoundDir, problem_ids: list[str], k: int, *, seed: int) -> FloatArray:
    """Return the expected score of the most frequent of k answers to each problem: [problems, strict and lenient]."""
    grouped = by_problem(read_records(round_dir.evaluate_verdicts, Verdict))
    rows = []
    for problem_id in problem_ids:
        group = grouped[problem_id]
        answers = [[voted_answer(verdict) for verdict in group]]
        drawn = seed_for(seed, "maj", k, problem_id) % 2**32
        rows.append(
            [
                maj_at_k(answers, [[bool(is_right(verdict)) for verdict in group]], k, seed=drawn).mean
                for is_right in (_is_strict, is_correct)
            ]
        )
    return np.array(rows, dtype=np.float64)


def _is_strict(verdict: Verdict) -> bool:
    return verdict.strict and is_correct(verdict)


def _diversity(round_dir: RoundDir, problem_ids: list[str]) -> float | None:
    wanted = set(problem_ids)
    found = [
        each.chains
        for each in read_records(round_dir.evaluate_diversity, ProblemDiversity)
        if each.problem_id in wanted and each.chains is not None
    ]
    return float(np.mean(found)) if found else None
