"""Models compared problem by problem: every difference has its test, and an interval that agrees with the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tpt.evidence.best_round import DRAWS
from tpt.evidence.cards import Comparison, Coverage, Difference, Finding, Part
from tpt.records import Estimate
from tpt.scoring import (
    FloatArray,
    IntArray,
    crossing_k,
    holm,
    mcnemar_p,
    mean_and_stderr,
    minimal_detectable_difference,
    pass_at_k_curve,
    pass_at_k_values,
    sign_flip_p,
    sign_flips,
    stderr_over,
)
from tpt.scoring.score import Counts

STRICT, LENIENT = 0, 1
"""The two scores, in the order of ``Counts.shares``."""
_PARTS: tuple[Part, ...] = ("format", "sharpening", "skill")


@dataclass(frozen=True, slots=True)
class Sample:
    """Several models' scores on the same problems."""

    rounds: Sequence[int]
    """The round of each model."""
    counts: list[Counts]
    clusters: IntArray | None
    seed: int
    draws: int = DRAWS
    """Sign patterns of the tests."""

    def estimate(self, model: int, score: int) -> Estimate:
        """Return a model's pass@1."""
        return mean_and_stderr(self.counts[model].shares[:, score], self.clusters)

    @property
    def problems(self) -> int:
        """How many problems there are."""
        return len(self.counts[0].problem_ids)

    @property
    def units(self) -> int:
        """How many problems, or clusters of them, stand for themselves."""
        return self.problems if self.clusters is None else len(np.unique(self.clusters))


def sample_of(rounds: Sequence[int], counts: Sequence[Counts], problem_ids: Sequence[str], *, seed: int) -> Sample:
    """Return the scores of some rounds' models on problems that all of them were scored on."""
    chosen = [each.of(problem_ids) for each in counts]
    return Sample(rounds, chosen, chosen[0].clusters, seed)


def compare_pairs(sample: Sample, pairs: Sequence[tuple[int, int]], *, level: float) -> list[Comparison]:
    """Compare models, (after, before) by their columns in the sample; for each score the pairs are one family of tests."""
    if sample.units < 2 or not pairs:
        return []
    found = _tested([_changes(sample, pair) for pair in pairs], sample, level)
    return [
        Comparison(
            other=sample.rounds[before],
            problems=sample.problems,
            strict=tests["strict"],
            lenient=tests["lenient"],
            format=tests["format"],
            sharpening=tests.get("sharpening"),
            skill=tests.get("skill"),
            pass_at_k=tests["pass_at_k"],
            pass_at_k_lenient=tests["pass_at_k_lenient"],
            most=_most(tests),
            k=_shared_k(sample, after, before),
            crossing_k=_crossing(sample, after, before, STRICT) if tests["pass_at_k"].finding == "loss" else None,
            crossing_k_lenient=(
                _crossing(sample, after, before, LENIENT) if tests["pass_at_k_lenient"].finding == "loss" else None
            ),
            coverage=_coverage(sample, after, before, STRICT),
            coverage_lenient=_coverage(sample, after, before, LENIENT),
        )
        for (after, before), tests in zip(pairs, found, strict=True)
    ]


def _changes(sample: Sample, pair: tuple[int, int]) -> dict[str, FloatArray]:
    """Return the change of every score of a pair, [problems], by name; those without greedy samples lack two parts."""
    after, before = (_scores(sample.counts[model], _shared_k(sample, *pair)) for model in pair)
    changes = {name: after[name] - before[name] for name in after.keys() & before.keys()}
    # A part is more than half of the gain where this is above 0.
    return changes | {f"most {part}": changes[part] - changes["strict"] / 2 for part in _PARTS if part in changes}


def _scores(counts: Counts, k: int) -> dict[str, FloatArray]:
    strict, lenient = counts.shares.T
    scores = {
        "strict": strict,
        "lenient": lenient,
        "format": strict - lenient,
        "pass_at_k": pass_at_k_values(counts.strict, counts.samples, k),
        "pass_at_k_lenient": pass_at_k_values(counts.lenient, counts.samples, k),
    }
    if counts.greedy is None:
        return scores
    greedy = counts.greedy[:, LENIENT]
    return scores | {"sharpening": lenient - greedy, "skill": greedy}


def _tested(changes: Sequence[dict[str, FloatArray]], sample: Sample, level: float) -> list[dict[str, Difference]]:
    """Test every change of every pair; the changes of one name are a family."""
    columns = [(name, index) for index, each in enumerate(changes) for name in each]
    table = np.stack([changes[index][name] for name, index in columns], axis=1)
    flips = sign_flips(table, draws=sample.draws, seed=sample.seed, clusters=sample.clusters)
    p_values = flips.p_values()
    found: list[dict[str, Difference]] = [{} for _ in changes]
    for family in dict.fromkeys(name for name, _ in columns):
        members = [column for column, (name, _) in enumerate(columns) if name == family]
        for column, p_holm in zip(members, holm(p_values[members].tolist()), strict=True):
            gains, p_value = table[:, column], float(p_values[column])
            # The level that Holm's method held this one to, so that interval and finding say the same.
            low, high = flips.interval(column, level * p_value / p_holm)
            # Sharpening is a difference of differences.
            most = 2.0 if family == "sharpening" else 1.0
            found[columns[column][1]][family] = Difference(
                mean=float(gains.mean()),
                stderr=stderr_over(gains, sample.clusters),
                low=max(-most, low),
                high=min(most, high),
                p_value=p_value,
                p_holm=p_holm,
                detectable=minimal_detectable_difference(gains, alpha=level / len(members), clusters=sample.clusters),
                finding=_finding(float(gains.mean()), p_holm, level),
            )
    return found


def _finding(mean: float, p_holm: float, level: float) -> Finding:
    if p_holm > level:
        return "within noise"
    return "gain" if mean > 0 else "loss"


def _most(tests: dict[str, Difference]) -> Part | None:
    if tests["strict"].finding != "gain":
        return None
    return next((part for part in _PARTS if f"most {part}" in tests and tests[f"most {part}"].finding == "gain"), None)


def _shared_k(sample: Sample, after: int, before: int) -> int:
    return min(int(sample.counts[model].samples.min()) for model in (after, before))


def _crossing(sample: Sample, after: int, before: int, score: int) -> int | None:
    curves = [
        pass_at_k_curve(_right(sample.counts[model], score), sample.counts[model].samples) for model in (before, after)
    ]
    return crossing_k(*({k: each.mean for k, each in curve.items()} for curve in curves))


def _right(counts: Counts, score: int) -> IntArray:
    return counts.lenient if score == LENIENT else counts.strict


def _coverage(sample: Sample, after: int, before: int, score: int) -> Coverage:
    k, models = _shared_k(sample, after, before), (sample.counts[after], sample.counts[before])
    here, there = (pass_at_k_values(_right(counts, score), counts.samples, k) for counts in models)
    gained, lost, neither = here * (1 - there), there * (1 - here), (1 - here) * (1 - there)
    names = np.array(sample.counts[after].problem_ids, dtype=object)
    return Coverage(
        k=k,
        gained=float(gained.sum()),
        lost=float(lost.sum()),
        neither=float(neither.sum()),
        p_value=_coverage_p(here - there, sample),
        gained_ids=names[gained > 0.5].tolist(),
        lost_ids=names[lost > 0.5].tolist(),
        neither_ids=names[neither > 0.5].tolist(),
    )


def _coverage_p(differences: FloatArray, sample: Sample) -> float:
    if sample.clusters is None and bool(np.isin(differences, (-1.0, 0.0, 1.0)).all()):
        return mcnemar_p(int((differences > 0).sum()), int((differences < 0).sum()))
    tested = sign_flip_p(differences[:, None], draws=sample.draws, seed=sample.seed, clusters=sample.clusters)
    return float(tested[0])
