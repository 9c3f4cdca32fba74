"""Evidence from a run's finished rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tpt.config import load_config
from tpt.evidence.best_round import best_round_of, heldout_split_of
from tpt.evidence.cards import Claim, Comparison, Evidence, RoundCard
from tpt.evidence.groups import also_groups, level_groups
from tpt.evidence.paired import LENIENT, STRICT, Sample, compare_pairs, sample_of
from tpt.evidence.scored import scored_counts
from tpt.records import RoundRecord
from tpt.run.directory import RunDir
from tpt.scoring import fewest_units, minimal_detectable_difference, pass_at_k_curve
from tpt.seeds import seed_for

FAMILY = (
    "Holm over the rounds: the differences of all rounds to the base model are one family, those to the round before "
    "one, those to the best round one; each score and each part of the gain apart"
)


class _Compared(NamedTuple):
    """Comparisons of each round, by its column."""

    to_base: dict[int, Comparison]
    to_previous: dict[int, Comparison]
    to_best: dict[int, Comparison]


def evidence_of(run: RunDir, records: Sequence[RoundRecord]) -> Evidence:
    """Compute what finished rounds have shown; verdict files are read and intervals drawn here, once.

    Raises:
        RunError: a round's verdicts are missing, damaged, or of other problems than the base model's.
    """
    config = load_config(run.config)
    level, tested = config.stop.alpha, config.stop.rule == "significance"
    if not records:
        return Evidence([], 0, level, FAMILY, 0, 0, 0, None, None, 0, None, [], [], [], [], tested=tested)
    rounds = [record.index for record in records]
    counts = scored_counts(run, rounds)
    problem_ids, clusters = counts[0].problem_ids, counts[0].clusters
    best = rounds.index(best_round_of(run, config, rounds).best)
    parts = heldout_split_of(counts[0], config)
    seed = seed_for(config.seed, "evidence")
    everything = sample_of(rounds, counts, problem_ids, seed=seed)
    claiming = sample_of(rounds, counts, parts.claiming, seed=seed) if parts.independent else everything
    compared = _compared(everything, claiming, best=best, level=level)
    choosing = sample_of(rounds, counts, parts.choosing, seed=seed)
    family = max(1, len(rounds) - 1)
    return Evidence(
        rounds=[_card(record, everything, compared, best=best) for record in records],
        best=rounds[best],
        level=level,
        family=FAMILY,
        choosing=len(parts.choosing),
        choosing_units=choosing.units,
        claiming=len(parts.claiming),
        clusters=None if clusters is None else len(np.unique(clusters)),
        detectable_star=_detectable_star(choosing, level / family) if tested else None,
        needed_for_star=fewest_units(level / family, clustered=clusters is not None) if tested else 0,
        claim=_claim(claiming, best, level=level, independent=parts.independent),
        never_solved=_never_solved(everything, STRICT),
        never_solved_lenient=_never_solved(everything, LENIENT),
        also=also_groups(run, config, rounds),
        levels=level_groups(run, everything, level=level),
        tested=tested,
    )


def _detectable_star(choosing: Sample, alpha: float) -> float | None:
    """Return the smallest true gain of the last round that the choosing problems detect 80 % of the time."""
    if len(choosing.counts) < 2 or choosing.units < 2:
        return None
    gains = choosing.counts[-1].shares[:, STRICT] - choosing.counts[0].shares[:, STRICT]
    return minimal_detectable_difference(gains, alpha=alpha, clusters=choosing.clusters)


def _compared(everything: Sample, claiming: Sample, *, best: int, level: float) -> _Compared:
    later = range(1, len(everything.rounds))
    others = [column for column in range(len(everything.rounds)) if column != best]
    families = [
        (everything, dict.fromkeys(later, 0)),
        (everything, {column: column - 1 for column in later}),
        (claiming, dict.fromkeys(others, best)),
    ]
    return _Compared(
        *(
            dict(zip(pairs, compare_pairs(sample, list(pairs.items()), level=level), strict=False))
            for sample, pairs in families
        )
    )


def _card(record: RoundRecord, sample: Sample, compared: _Compared, *, best: int) -> RoundCard:
    column = sample.rounds.index(record.index)
    counts = sample.counts[column]
    return RoundCard(
        round=record.index,
        best=column == best,
        problems=len(counts.problem_ids),
        samples=int(counts.samples.min()),
        strict=sample.estimate(column, STRICT),
        lenient=sample.estimate(column, LENIENT),
        greedy=counts.greedy_score(strict=True),
        greedy_lenient=counts.greedy_score(strict=False),
        pass_at_k=pass_at_k_curve(counts.strict, counts.samples, counts.clusters),
        pass_at_k_lenient=pass_at_k_curve(counts.lenient, counts.samples, counts.clusters),
        maj_at_k=record.evaluate.maj_at_k,
        outcomes=record.evaluate.outcomes,
        solved=int((counts.strict > 0).sum()),
        solved_lenient=int((counts.lenient > 0).sum()),
        to_base=compared.to_base.get(column),
        to_previous=compared.to_previous.get(column),
        to_best=compared.to_best.get(column),
    )


def _claim(sample: Sample, best: int, *, level: float, independent: bool) -> Claim | None:
    found = compare_pairs(sample, [(best, 0)], level=level) if best else []
    if not found:
        return None
    return Claim(
        round=sample.rounds[best],
        problems=found[0].problems,
        independent=independent,
        strict_before=sample.estimate(0, STRICT),
        strict_after=sample.estimate(best, STRICT),
        lenient_before=sample.estimate(0, LENIENT),
        lenient_after=sample.estimate(best, LENIENT),
        greedy_before=sample.counts[0].greedy_score(strict=False),
        greedy_after=sample.counts[best].greedy_score(strict=False),
        comparison=found[0],
    )


def _never_solved(sample: Sample, score: int) -> list[str]:
    unsolved = np.all([counts.shares[:, score] == 0 for counts in sample.counts], axis=0)
    return [sample.counts[0].problem_ids[row] for row in np.flatnonzero(unsolved)]
