"""Problems looked at by themselves: further sets that were scored, and the held-out problems of each level."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from tpt.config import RunConfig
from tpt.evidence.alarms import Alarm
from tpt.evidence.cards import Group, GroupRound
from tpt.evidence.paired import LENIENT, STRICT, Sample, compare_pairs, sample_of
from tpt.evidence.scored import also_counts
from tpt.records import Problem
from tpt.run.directory import RunDir
from tpt.scoring.score import Counts
from tpt.seeds import seed_for
from tpt.system.jsonl import iterate_records

MOST_LEVELS = 20
"""More values than that are no levels but numbers of their own."""


def also_groups(run: RunDir, config: RunConfig, rounds: Sequence[int]) -> list[Group]:
    """Return the further sets of problems that the base model was scored on, with the other rounds that were.

    Raises:
        RunError: verdicts are missing, damaged, or of other problems.
    """
    found = {each.label: also_counts(run, each.stage, rounds) for each in config.evaluate.also}
    return [
        _group(label, counts, seed=seed_for(config.seed, "also", label), level=config.stop.alpha)
        for label, counts in found.items()
        if 0 in counts
    ]


def level_groups(run: RunDir, everything: Sample, *, level: float) -> list[Group]:
    """Return the held-out problems by their level, those of number levels in the order of the numbers."""
    by_level: dict[str, list[str]] = defaultdict(list)
    scored = set(everything.counts[0].problem_ids)
    for problem in iterate_records(run.heldout, Problem) if run.heldout.exists() else ():
        if problem.level and problem.id in scored:
            by_level[problem.level].append(problem.id)
    if not 2 <= len(by_level) <= MOST_LEVELS:
        return []
    counts = dict(zip(everything.rounds, everything.counts, strict=True))
    return [
        _group(name, {index: each.of(sorted(ids)) for index, each in counts.items()}, seed=everything.seed, level=level)
        for name, ids in sorted(by_level.items(), key=lambda each: _order(each[0]))
    ]


def forgetting(groups: Sequence[Group], *, level: float) -> list[Alarm]:
    """Return an alarm for every significant loss against the base model on a further set of problems.

    Samples and greedy answers both count: sharper samples can hide that the greedy answer is wrong more often.
    """
    return [
        Alarm(
            each.round,
            f"forgetting of {group.name}",
            f"on {group.problems:,} problems of a further set, " + " and ".join(lost),
            f"stop.alpha = {level:g}",
            "What the model could besides these problems is going: lower train.learning_rate or train.epochs, train an adapter "
            '(train.method = "lora"), set train.start_from = "base", or take an earlier round.',
        )
        for group in groups
        for each in group.rounds
        if (lost := _losses(each, group.rounds[0]))
    ]


def _losses(now: GroupRound, base: GroupRound) -> list[str]:
    if now.to_base is None:
        return []
    scores = [
        ("lenient pass@1", base.lenient, now.lenient, now.to_base.lenient),
        ("the greedy score", base.greedy, now.greedy, now.to_base.skill),
    ]
    return [
        f"{name} fell from {before.mean:.1%} to {after.mean:.1%} ({change.in_points()} points)"
        for name, before, after, change in scores
        if before and after and change and change.finding == "loss"
    ]


def _group(name: str, counts: Mapping[int, Counts], *, seed: int, level: float) -> Group:
    """Return one group; its rounds' differences to the base model are one family of tests."""
    rounds = sorted(counts)
    sample = sample_of(rounds, [counts[index] for index in rounds], counts[0].problem_ids, seed=seed)
    compared = compare_pairs(sample, [(column, 0) for column in range(1, len(rounds))], level=level)
    to_base = dict(zip(rounds[1:], compared, strict=False))
    return Group(
        name=name,
        problems=sample.problems,
        samples=min(int(each.samples.min()) for each in sample.counts),
        rounds=[
            GroupRound(
                round=index,
                strict=sample.estimate(column, STRICT),
                lenient=sample.estimate(column, LENIENT),
                greedy=sample.counts[column].greedy_score(strict=False),
                to_base=to_base.get(index),
            )
            for column, index in enumerate(rounds)
        ],
    )


def _order(name: str) -> tuple[bool, float, str]:
    return (False, float(name), name) if re.fullmatch(r"\d{1,9}(\.\d+)?", name) else (True, 0.0, name)
