"""Problems made from templates: the templates are the units, of every error, test and split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scored_run import evidence, many, records_of, run_of, sample_in_memory, verdicts_of

from tpt.audit.import_samples import ImportedDir
from tpt.evidence import compare_runs, evidence_of
from tpt.evidence.best_round import split_heldout
from tpt.evidence.paired import Sample, compare_pairs
from tpt.records import Problem, Trace
from tpt.report.sentences import power_text
from tpt.run.directory import RunDir
from tpt.scoring import mean_and_stderr, sign_flip_p
from tpt.scoring.score import clusters_of
from tpt.system.jsonl import replace_records, write_json

TEMPLATES, EACH = 50, 20
CLUSTERS = np.repeat(np.arange(TEMPLATES), EACH)


def test_what_is_shared_by_twenty_problems_counts_once() -> None:
    shared = np.random.default_rng(0).integers(0, 2, TEMPLATES).astype(np.float64)
    scores = np.repeat(shared, EACH)
    naive, clustered = mean_and_stderr(scores), mean_and_stderr(scores, CLUSTERS)
    assert clustered.mean == naive.mean == shared.mean()
    assert clustered.stderr / naive.stderr == pytest.approx(EACH**0.5, rel=0.02)
    alone = mean_and_stderr(shared)
    assert (clustered.stderr, clustered.low, clustered.high) == pytest.approx((alone.stderr, alone.low, alone.high))


def test_what_problems_do_not_share_is_not_counted_twice() -> None:
    scores = np.random.default_rng(1).integers(0, 2, TEMPLATES * EACH).astype(np.float64)
    naive, clustered = mean_and_stderr(scores), mean_and_stderr(scores, CLUSTERS)
    assert clustered.stderr / naive.stderr == pytest.approx(1.0, abs=0.25)
    own = mean_and_stderr(scores, np.arange(len(scores)))
    assert (own.stderr, own.low, own.high) == pytest.approx((naive.stderr, naive.low, naive.high))


def two_models(seed: int, *, clustered: bool) -> Sample:
    """A template's problems move together, and no model is better than the other."""
    rng = np.random.default_rng(seed)
    rates = np.repeat(rng.beta(2.0, 2.0, (2, TEMPLATES)), EACH, axis=1)
    right = [rng.binomial(4, rate).tolist() for rate in rates]
    return sample_in_memory(
        (right[0], right[0], None), (right[1], right[1], None), samples=4, clusters=CLUSTERS if clustered else None
    )


def test_templates_that_move_as_one_are_no_proof() -> None:
    claims = {
        clustered: sum(
            compare_pairs(two_models(seed, clustered=clustered), [(1, 0)], level=0.05)[0].strict.finding
            != "within noise"
            for seed in range(60)
        )
        for clustered in (False, True)
    }
    assert claims[False] > 20 and claims[True] <= 0.05 * 60 + 3


def test_cluster_flips_are_those_of_the_clusters_sums() -> None:
    gains = np.random.default_rng(2).normal(0.0, 1.0, 60)
    clusters = np.arange(60) // 10
    by_sum = np.array([gains[clusters == each].sum() for each in range(6)]) / 10
    assert sign_flip_p(gains[:, None], draws=10_000, seed=0, clusters=clusters) == pytest.approx(
        sign_flip_p(by_sum[:, None], draws=10_000, seed=0)
    )


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(5))
def test_choosing_and_claiming_problems_share_no_cluster(share: float, seed: int) -> None:
    ids = [f"p{index:04d}" for index in range(len(CLUSTERS))]
    parts = split_heldout(ids, share=share, seed=seed, clusters=CLUSTERS)
    assert parts.independent and sorted(parts.choosing + parts.claiming) == ids
    of = dict(zip(ids, CLUSTERS.tolist(), strict=True))
    assert not {of[each] for each in parts.choosing} & {of[each] for each in parts.claiming}
    assert abs(len(parts.choosing) - share * len(ids)) < EACH
    shuffled_ids = np.random.default_rng(seed).permutation(len(ids))
    again = split_heldout(
        [ids[place] for place in shuffled_ids], share=share, seed=seed, clusters=CLUSTERS[shuffled_ids]
    )
    assert again == parts, "whatever the order of the problems"


def test_one_cluster_cannot_be_split() -> None:
    parts = split_heldout(["a", "b", "c", "d"], share=0.5, seed=0, clusters=np.zeros(4, dtype=np.int64))
    assert not parts.independent and parts.choosing == parts.claiming == ["a", "b", "c", "d"]


def test_a_problem_without_a_cluster_stands_for_itself() -> None:
    problems = [Problem(each, "q", "7", cluster=name) for each, name in zip("abcd", ("x", "", "x", "b"), strict=True)]
    found = clusters_of(problems, ["a", "b", "c", "d"])
    assert found is not None and found[0] == found[2] and len(set(found.tolist())) == 3
    assert clusters_of([Problem("a", "q", "7")], ["a"]) is None


def test_a_run_reads_its_clusters_and_says_so(tmp_path: Path) -> None:
    names = {name: f"template {index // 6}" for index, name in enumerate(many(1))}
    run = run_of(tmp_path / "clustered", many(1), many(2), clusters=names)
    found = evidence_of(run, records_of(run))
    alone = evidence(tmp_path / "alone", many(1), many(2))
    assert (found.clusters, alone.clusters) == (10, None)
    assert "The 60 problems are 10 clusters, which count as the units." in power_text(found)[0]
    assert "clusters" not in power_text(alone)[0]
    assert found.rounds[0].strict.mean == alone.rounds[0].strict.mean
    # Five of the ten choose: too few, whatever the 30 problems in them show.
    assert (found.best, found.choosing, found.choosing_units, alone.choosing_units) == (0, 30, 5, 30)
    assert "With fewer than 6 choosing clusters of problems no round can become the best one" in power_text(found)[0]


def test_runs_on_one_cluster_are_not_tested(tmp_path: Path) -> None:
    names = dict.fromkeys(many(1), "one")
    first, second = (run_of(tmp_path / name, many(shift), clusters=names) for name, shift in (("a", 1), ("b", 3)))
    assert compare_runs(first, second).best.comparison is None


def test_imported_samples_keep_their_problems_clusters(tmp_path: Path) -> None:
    names = {name: f"template {index // 6}" for index, name in enumerate(many(1))}
    folders = []
    for shift, named in ((1, names), (2, names), (1, {}), (2, {})):
        folder = ImportedDir(tmp_path / f"{shift}-{bool(named)}")
        found = verdicts_of(many(shift))
        replace_records(folder.problems, [Problem(each, "q", "7", cluster=named.get(each, "")) for each in names])
        replace_records(folder.traces, [Trace(each.problem_id, each.sample, "1", "stop", 5, 0) for each in found])
        replace_records(folder.verdicts, found)
        write_json(folder.manifest, {})
        folders.append(RunDir(folder.path))
    clustered, alone = (compare_runs(*folders[place : place + 2]).best.comparison for place in (0, 2))
    assert clustered is not None and alone is not None and clustered.strict.mean == alone.strict.mean
    # Ten templates that gain an eighth are less than the gain and the loss of usual size beside them.
    assert (clustered.strict.finding, alone.strict.finding) == ("within noise", "gain")
