"""Evidence worked out by hand: lenient scores beside strict ones, what is held against what, what a split leaves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scored_run import evidence, many, records_of, run_of, sample_in_memory, verdicts_of

from tpt.config import load_config
from tpt.errors import RunError
from tpt.evidence.best_round import heldout_split_of, split_heldout
from tpt.evidence.paired import compare_pairs
from tpt.evidence.rounds import evidence_of
from tpt.evidence.scored import scored_counts
from tpt.records import Problem
from tpt.scoring import fewest_units, minimal_detectable_difference
from tpt.scoring.score import clusters_of
from tpt.system.jsonl import read_records, replace_records


def test_curves_may_cross_leniently_alone() -> None:
    """One of 8 samples right of each problem, then all 8 of a quarter of them: 1/4 is less than k / 8 from 3 on."""
    spread, sharp, none = [1] * 40, [8] * 10 + [0] * 30, [0] * 40
    sample = sample_in_memory((none, spread, None), (none, sharp, None), samples=8)
    (found,) = compare_pairs(sample, [(1, 0)], level=0.05)
    assert (found.crossing_k, found.crossing_k_lenient) == (None, 3)
    assert (found.pass_at_k.mean, found.pass_at_k_lenient.mean) == (0.0, -0.75)
    assert (found.coverage.lost, found.coverage_lenient.lost, found.coverage_lenient.gained) == (0, 30, 0)
    (strictly,) = compare_pairs(
        sample_in_memory((spread, [8] * 40, None), (sharp, [8] * 40, None), samples=8), [(1, 0)], level=0.05
    )
    assert (strictly.crossing_k, strictly.crossing_k_lenient) == (3, None)


@pytest.mark.parametrize(("gained", "lost", "p"), [(6, 0, 2 / 64), (0, 6, 2 / 64), (5, 1, 14 / 64), (1, 5, 14 / 64)])
def test_whole_problems_gained_and_lost_are_tosses_of_a_coin(gained: int, lost: int, p: float) -> None:
    before, after = ([4] * lost + [0] * gained + [4] * 5), ([0] * lost + [4] * gained + [4] * 5)
    models = ((before, before, None), (after, after, None))
    (found,) = compare_pairs(sample_in_memory(*models, samples=4), [(1, 0)], level=0.05)
    assert (found.coverage.gained, found.coverage.lost, found.coverage.neither) == (gained, lost, 0)
    assert found.coverage.p_value == found.coverage_lenient.p_value == p
    # Problems of one cluster are no tosses of their own.
    one = np.array([0] * 6 + [1] * 5)
    (clustered,) = compare_pairs(sample_in_memory(*models, samples=4, clusters=one), [(1, 0)], level=0.05)
    assert clustered.coverage.p_value > p


def shifted(less: int, more: int) -> dict[str, str]:
    """60 problems, of which every other one has so many of 8 samples right, and the rest so many."""
    return {name: "S" * right + "W" * (8 - right) for name, right in zip(many(0), [less, more] * 30, strict=True)}


@pytest.mark.parametrize("clustered", [False, True])
def test_the_power_to_star_is_the_last_rounds_at_its_share_of_the_level(tmp_path: Path, clustered: bool) -> None:
    """Three rounds, the last of them the most uneven gain; two tests share the level."""
    names = {name: f"template {index // 3}" for index, name in enumerate(many(0))} if clustered else None
    run = run_of(tmp_path, shifted(3, 3), shifted(4, 4), shifted(2, 6), clusters=names)
    config = load_config(run.config)
    (base,) = scored_counts(run, [0])
    choosing = heldout_split_of(base, config).choosing
    gains = np.array([-1 / 8 if int(name[1:]) % 2 == 0 else 3 / 8 for name in choosing])
    clusters = clusters_of(read_records(run.heldout, Problem), choosing)
    level = config.stop.alpha / 2
    expected = minimal_detectable_difference(gains, alpha=level, clusters=clusters)
    found = evidence_of(run, records_of(run))
    assert expected is not None and found.detectable_star == expected
    assert found.needed_for_star == fewest_units(level, clustered=clustered)


def test_a_round_is_held_against_the_base_the_one_before_and_the_best(tmp_path: Path) -> None:
    found = evidence(tmp_path, *(shifted(right, right) for right in (2, 3, 6, 5)))
    assert found.best == 2 and (found.choosing, found.claiming) == (30, 30)
    against = [
        {
            name: (each.other, each.problems, each.strict.mean)
            for name in ("to_base", "to_previous", "to_best")
            if (each := getattr(card, name))
        }
        for card in found.rounds
    ]
    assert against == [
        {"to_best": (2, 30, -0.5)},
        {"to_base": (0, 60, 0.125), "to_previous": (0, 60, 0.125), "to_best": (2, 30, -0.375)},
        {"to_base": (0, 60, 0.5), "to_previous": (1, 60, 0.375)},
        {"to_base": (0, 60, 0.375), "to_previous": (2, 60, -0.125), "to_best": (2, 30, -0.125)},
    ]


def test_the_claims_scores_are_those_of_the_base_model_and_the_best_round(tmp_path: Path) -> None:
    rows = ["SSCCWWWW", "SSSSSCWW"]
    before, after = (dict.fromkeys(many(0), row) for row in rows)
    greedy = (dict.fromkeys(many(0), "W"), dict.fromkeys(many(0), "C"))
    found = evidence(tmp_path, before, after, greedy=greedy, settings=("evaluate.choose_share=1.0",))
    claim, (base, first) = found.claim, found.rounds
    assert claim is not None and claim.greedy_before is not None and claim.greedy_after is not None
    assert (claim.round, claim.strict_before.mean, claim.strict_after.mean) == (1, 2 / 8, 5 / 8)
    assert (claim.lenient_before.mean, claim.lenient_after.mean) == (4 / 8, 6 / 8)
    assert (claim.greedy_before.mean, claim.greedy_after.mean) == (0.0, 1.0)
    assert base.greedy is not None and first.greedy is not None and first.greedy_lenient is not None
    assert (base.greedy.mean, first.greedy.mean, first.greedy_lenient.mean) == (0.0, 0.0, 1.0)
    assert (first.pass_at_k[1].mean, first.pass_at_k_lenient[1].mean) == pytest.approx((5 / 8, 6 / 8))


def test_verdicts_of_other_problems_are_held_against_the_first_round(tmp_path: Path) -> None:
    run = run_of(tmp_path, many(0), many(1), many(2))
    replace_records(run.round(2).evaluate_verdicts, verdicts_of({"p00": "S", "p01": "W"}))
    place = run.round(2)
    said = (
        f"{place.evaluate_verdicts}: verdicts of 2 problems, which are not the 60 that round 0 was scored on. "
        f"Delete {place.manifest('evaluate')} to have round 2 scored again"
    )
    with pytest.raises(RunError, match=f"^{re.escape(said)}$"):
        scored_counts(run, [0, 1, 2])
    assert scored_counts(run, []) == []


@pytest.mark.parametrize(("share", "choosing"), [(0.04, None), (0.1, 4), (0.35, 4), (0.4, 8), (0.7, 8), (0.75, None)])
def test_a_cluster_that_the_split_would_cut_chooses_as_a_whole(share: float, choosing: int | None) -> None:
    """Three clusters of four problems: of shares that leave one part empty there is no split."""
    ids = [f"p{index:02d}" for index in range(12)]
    parts = split_heldout(ids, share=share, seed=0, clusters=np.arange(12) // 4)
    assert parts.independent == (choosing is not None)
    assert len(parts.choosing) == (choosing or 12) and len(parts.claiming) == 12 - (choosing or 0)
