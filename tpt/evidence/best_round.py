"""Which round is the best, and whether the last one is a loss: by paired tests on the choosing half of the held-out set.

The highest score of several rounds is partly luck, so a round counts as better only when its paired gain over the base
model is significant, Holm-adjusted for all rounds; of those the one with the highest score is the best, and with none
the base model stays. Rounds of one and the same model thus get past round 0 at most ``stop.alpha`` of the time (half of
that, as losses do not count). Two other rules were simulated: to ask for significance at every step, from best to
best, keeps the earliest round of a slow climb and gives away points; the plain maximum nearly always leaves round 0,
with reason or without. Comparing with the base model lets the steps of a slow climb add up, and patience counts from
the highest score too, as a climb keeps setting new highs and noise soon stops. How good the best round is, is for the
other half to say, which had no part in choosing it. The numbers are in docs/results/significance.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from tpt.config import RunConfig
from tpt.config.stage_sections import StopConfig
from tpt.evidence.scored import scored_counts
from tpt.records import Problem
from tpt.run.directory import RunDir
from tpt.scoring import FloatArray, IntArray, holm, sign_flip_p
from tpt.scoring.score import Counts, clusters_of
from tpt.seeds import seed_for, shuffled

DRAWS = 10_000
"""Random draws behind every interval and p-value."""


class HeldoutSplit(NamedTuple):
    """The held-out problems by what they are for; the same ids twice where there is no split."""

    choosing: list[str]
    claiming: list[str]
    independent: bool


@dataclass(frozen=True, slots=True)
class BestRound:
    """What the choosing problems say of the rounds so far."""

    best: int
    highest: int
    """The earliest round with the highest score."""
    last_is_loss: bool
    """The last round is significantly worse than the best one."""


def split_heldout(
    problem_ids: Sequence[str], *, share: float, seed: int, clusters: IntArray | None = None
) -> HeldoutSplit:
    """Split the held-out problems at random; a part of fewer than two problems would leave nothing to compare.

    The problems of a cluster stay together, as they would tell one part of the other.
    """
    order = shuffled(list(problem_ids), seed, "choose the best round")
    if clusters is not None:
        cluster_of = dict(zip(problem_ids, clusters.tolist(), strict=True))
        first = {cluster: place for place, cluster in reversed(list(enumerate(map(cluster_of.__getitem__, order))))}
        order.sort(key=lambda problem_id: first[cluster_of[problem_id]])
    chosen = round(share * len(order))
    if clusters is not None:
        while 0 < chosen < len(order) and cluster_of[order[chosen - 1]] == cluster_of[order[chosen]]:
            chosen += 1
    if min(chosen, len(order) - chosen) < 2:
        everything = sorted(order)
        return HeldoutSplit(everything, everything, independent=False)
    return HeldoutSplit(sorted(order[:chosen]), sorted(order[chosen:]), independent=True)


def heldout_split_of(counts: Counts, config: RunConfig) -> HeldoutSplit:
    """Return the split of the held-out problems that a run's model was scored on."""
    share = config.evaluate.choose_share
    return split_heldout(counts.problem_ids, share=share, seed=config.seed, clusters=counts.clusters)


def split_problems(problems: Sequence[Problem], config: RunConfig) -> HeldoutSplit:
    """Return the split of held-out problems that no model is scored on yet."""
    ids = sorted(problem.id for problem in problems)
    clusters = clusters_of(problems, ids)
    return split_heldout(ids, share=config.evaluate.choose_share, seed=config.seed, clusters=clusters)


def units_of(problems: Sequence[Problem], ids: Collection[str]) -> int:
    """Return how many of the problems with these ids, or clusters of them, stand for themselves."""
    return len({(bool(each.cluster), each.cluster or each.id) for each in problems if each.id in ids})


def best_round_of(run: RunDir, config: RunConfig, rounds: Sequence[int]) -> BestRound:
    """Return what some rounds, in order, say: from their verdicts alone, so that a resumed run says the same.

    Raises:
        RunError: a round is not evaluated.
    """
    counts = scored_counts(run, rounds)
    parts = heldout_split_of(counts[0], config)
    choosing = [each.of(parts.choosing) for each in counts]
    scores = np.stack([each.shares[:, 0] for each in choosing], axis=1)
    seed = seed_for(config.seed, "compare rounds")
    chosen = choose(scores, config.stop, seed=seed, clusters=choosing[0].clusters)
    return BestRound(rounds[chosen.best], rounds[chosen.highest], chosen.last_is_loss)


def choose(
    scores: FloatArray, stop: StopConfig, *, seed: int, clusters: IntArray | None = None, draws: int = DRAWS
) -> BestRound:
    """Choose the best of some rounds, the base model first.

    ``scores``: strict score of each choosing problem in each round, [problems, rounds]. ``clusters``: of each choosing
    problem; None: each stands for itself.
    """
    # Equal scores may differ in the last bit; of equals the earliest counts.
    means = scores.mean(axis=0).round(12)
    highest = int(means.argmax())
    differ = partial(_differ, alpha=stop.alpha, seed=seed, clusters=clusters, draws=draws)
    eligible = np.append(False, differ(scores[:, 1:] - scores[:, :1]) & (means[1:] > means[0]))
    best = int(np.where(eligible, means, -1.0).argmax()) if stop.rule == "significance" else highest
    # The best of several looks better than it is, so a loss against it is held to account for all the others too.
    others = differ(np.delete(scores, best, axis=1) - scores[:, [best]])
    return BestRound(best, highest, bool(best < len(means) - 1 and others[-1] and means[-1] < means[best]))


def _differ(
    gains: FloatArray, *, alpha: float, seed: int, clusters: IntArray | None, draws: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which columns differ from zero significantly, Holm-adjusted for one another."""
    if not gains.shape[1]:
        return np.zeros(0, dtype=np.bool_)
    return np.array(holm(sign_flip_p(gains, draws=draws, seed=seed, clusters=clusters).tolist())) <= alpha
