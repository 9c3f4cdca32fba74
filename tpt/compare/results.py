"""What the arms came to: every number over seeds, and every arm against the reference arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpt.compare.arms import Arm, StudyPlan
from tpt.compare.bootstrap import Gain, gains, over_seeds
from tpt.compare.budget import minutes, sampled_completions, spent, spent_flops
from tpt.compare.measures import Measured, ballot, claiming_ids, measure, measure_vote, problem_keys
from tpt.compare.running import ArmRun, arm_run_of
from tpt.compare.search import Searched
from tpt.records import Estimate, RoundRecord
from tpt.rounds import Run, best_round

_SEED = 20_504
_SCORES = 3
"""Strict, lenient, greedy: the columns of what is measured."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One arm at one point of its runs; means over seeds with their standard errors (NaN: a single seed)."""

    rounds: list[int]
    """Of each seed."""
    problems: int
    """Of the first seed."""
    strict: Estimate
    lenient: Estimate
    greedy: Estimate | None
    """Lenient, of one greedy sample a problem; None: not taken."""
    pass_at_k: Estimate | None
    """At all samples taken; None for a vote."""
    maj_at_k: Estimate
    variety: Estimate | None
    strict_gain: Gain | None
    """Against the reference arm; None for that one itself."""
    lenient_gain: Gain | None
    greedy_gain: Gain | None
    per_flop: Estimate | None
    """Strict score above the base model's on the same problems, over the operations of all rounds; None: not known."""


@dataclass(frozen=True, slots=True)
class ArmCost:
    """What one arm cost in all its rounds, without the evaluations; means over seeds."""

    tokens_sampled: Estimate
    """To learn from: those of completions thrown away or broken off too; for a vote, of its answers beyond the first."""
    completions: Estimate
    tokens_trained: Estimate
    """Tokens of completions trained on, each pass counted."""
    examples: Estimate
    """Examples trained on, summed over the rounds."""
    minutes: Estimate
    flops: Estimate | None
    """To sample and to train, see ``budget.flops``; None: an earlier version did not count them."""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm over its seeds."""

    name: str
    preset: str
    k: int
    """Of pass@k and maj@k."""
    chosen: Scores
    """At the round that its choosing problems chose, on the problems that had no part in it."""
    last: Scores
    """At its last round, on all held-out problems."""
    cost: ArmCost
    curve: dict[int, Estimate]
    """Round to strict pass@1 on all held-out problems, for the rounds that every seed did."""
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Study:
    """All arms; the reference arm, without gains, comes first."""

    seeds: list[int]
    budget: str | int
    reference: str
    base: dict[int, Estimate]
    """Round 0 to the base model's strict pass@1."""
    arms: list[ArmResult]
    runs: list[dict[str, Any]]
    """What each arm really did and spent with each seed."""
    search: list[Searched]
    """What each arm's learning rate was chosen by; empty: none was searched for."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One run."""

    task: ArmRun
    records: list[RoundRecord]
    chosen: Measured
    last: Measured
    cost: dict[str, float]
    flops: float | None
    allowed: int
    """Votes that the budget allows."""


def compared(plan: StudyPlan, out: Path, search: Sequence[Searched] = ()) -> Study:
    """Compute the comparison from the finished runs below ``out``.

    Raises:
        RunError: files of a run are missing or damaged.
    """
    references = {seed: Run(arm_run_of(out, plan.reference, seed).run.path).records() for seed in plan.seeds}
    is_flops = plan.budget == "flops"
    seen = [
        [_seen(arm_run_of(out, arm, seed), references[seed], is_flops=is_flops) for seed in plan.seeds]
        for arm in plan.arms
    ]
    found = {at: _all_gains(seen, at) for at in ("chosen", "last")}
    arms = [
        _result(arm, rows, {at: each[index] for at, each in found.items()})
        for index, (arm, rows) in enumerate(zip(plan.arms, seen, strict=True))
    ]
    base = {0: _estimate([references[seed][0].evaluate.pass_at_k[1].mean for seed in plan.seeds])}
    return Study(
        seeds=plan.seeds,
        budget=plan.budget,
        reference=plan.reference.name,
        base=base,
        arms=arms,
        runs=[_told(each) for rows in seen for each in rows],
        search=list(search),
    )


def _seen(task: ArmRun, reference: list[RoundRecord], *, is_flops: bool) -> _Seen:
    records = Run(task.run.path).records()
    ids, claiming = sorted(problem_keys(task)), claiming_ids(task)
    if task.arm.votes:
        once = ballot(task, reference, is_flops=is_flops)
        chosen, last = (measure_vote(task, once.allowed, each) for each in (claiming, ids))
        further = last.k - 1
        cost = {"tokens_sampled": further * once.tokens, "completions": further * float(len(ids))}
        flops = None if once.flops is None else further * once.flops
        return _Seen(task, records, chosen, last, {**dict.fromkeys(_PARTS, 0.0), **cost}, flops, once.allowed)
    best = best_round(task.run, records).index
    chosen, last = measure(task, best, claiming), measure(task, records[-1].index, ids)
    return _Seen(task, records, chosen, last, _cost(records), spent_flops(records), allowed=0)


_PARTS = ("tokens_sampled", "completions", "tokens_trained", "examples", "minutes")


def _cost(records: Sequence[RoundRecord]) -> dict[str, float]:
    trained = [each.train for each in records if each.train]
    return {
        "tokens_sampled": float(spent(records)),
        "completions": float(sum(map(sampled_completions, records))),
        "tokens_trained": float(sum(each["target_tokens"] for each in trained)),
        "examples": float(sum(each["examples"] for each in trained)),
        "minutes": minutes(records),
    }


def _all_gains(seen: list[list[_Seen]], at: str) -> list[tuple[Gain | None, ...]]:
    """Return the strict, lenient and greedy gain of every arm; none for the first, which is the reference."""
    families: list[Sequence[Gain | None]] = []
    for score in range(_SCORES):
        differences = [_differences(rows, seen[0], at, score) for rows in seen[1:]]
        taken = not any(math.isnan(value) for rows in differences for each in rows for value in each.values())
        families.append(gains(differences, seed=_SEED + score) if taken else [None] * len(differences))
    return [(None,) * _SCORES, *zip(*families, strict=True)]


def _differences(rows: list[_Seen], reference: list[_Seen], at: str, score: int) -> list[dict[str, float]]:
    found = []
    for one, other in zip(rows, reference, strict=True):
        here, there = (
            dict(zip(each.keys, each.scores[:, score].tolist(), strict=True)) for each in (_at(one, at), _at(other, at))
        )
        found.append({key: here[key] - there[key] for key in here if key in there})
    return found


def _at(seen: _Seen, at: str) -> Measured:
    return seen.chosen if at == "chosen" else seen.last


def _result(arm: Arm, rows: list[_Seen], found: dict[str, tuple[Gain | None, ...]]) -> ArmResult:
    curves = [{record.index: record.evaluate.pass_at_k[1].mean for record in each.records} for each in rows]
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    flops = [each.flops for each in rows]
    return ArmResult(
        name=arm.name,
        preset=arm.preset,
        k=rows[0].last.k,
        chosen=_scores([each.chosen for each in rows], flops, *found["chosen"]),
        last=_scores([each.last for each in rows], flops, *found["last"]),
        cost=ArmCost(
            **{part: _estimate([each.cost[part] for each in rows]) for part in _PARTS}, flops=over_seeds(flops)
        ),
        curve={index: _estimate([curve[index] for curve in curves]) for index in shared},
        notes=_notes(rows),
    )


def _scores(
    measured: list[Measured],
    flops: list[float | None],
    strict_gain: Gain | None,
    lenient_gain: Gain | None,
    greedy_gain: Gain | None,
) -> Scores:
    return Scores(
        rounds=[each.round for each in measured],
        problems=len(measured[0].keys),
        strict=_estimate([each.strict for each in measured]),
        lenient=_estimate([each.lenient for each in measured]),
        greedy=over_seeds([each.greedy for each in measured]),
        pass_at_k=over_seeds([each.pass_at_k for each in measured]),
        maj_at_k=_estimate([each.maj_at_k for each in measured]),
        variety=over_seeds([each.variety for each in measured]),
        strict_gain=strict_gain,
        lenient_gain=lenient_gain,
        greedy_gain=greedy_gain,
        per_flop=over_seeds(
            [(each.strict - each.base) / cost if cost else None for each, cost in zip(measured, flops, strict=True)]
        ),
    )


def _estimate(values: Sequence[float]) -> Estimate:
    found = over_seeds(values)
    assert found is not None  # no value is None
    return found


def _notes(rows: list[_Seen]) -> list[str]:
    notes = []
    for each in rows:
        if each.task.arm.votes and each.allowed > each.last.k:
            notes.append(
                f"seed {each.task.seed}: {each.last.k} votes, though the budget allows {each.allowed}: only so many "
                "samples of each problem were taken (evaluate.samples)"
            )
        for record in each.records:
            wanted, kept = ((record.prune or {}).get(part) for part in ("size_wanted", "problems_kept"))
            if wanted and kept < wanted:
                notes.append(
                    f"seed {each.task.seed}, round {record.index}: {kept} problems had a keepable trace, {wanted} were wanted"
                )
    return notes


def _told(seen: _Seen) -> dict[str, Any]:
    return {
        "arm": seen.task.arm.name,
        "seed": seen.task.seed,
        "run": str(seen.task.run.path),
        "rounds": len(seen.records) - 1,
        "chosen round": seen.chosen.round,
        "votes": seen.last.k if seen.task.arm.votes else None,
        "strict": {record.index: record.evaluate.pass_at_k[1].mean for record in seen.records},
        "lenient": {record.index: record.evaluate.pass_at_k_lenient[1].mean for record in seen.records},
        "chosen, other problems": {
            "strict": seen.chosen.strict,
            "lenient": seen.chosen.lenient,
            "greedy": seen.chosen.greedy,
        },
        **seen.cost,
        "flops": seen.flops,
    }
