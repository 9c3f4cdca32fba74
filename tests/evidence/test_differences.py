"""Differences of made-up scores: parts that add up, words that agree with intervals, and few problems that prove little."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scored_run import evidence, many, sample_in_memory

from tpt.evidence import Comparison, Difference
from tpt.evidence.paired import Sample, compare_pairs
from tpt.report.sentences import coverage_text, parts_text, power_text
from tpt.report.text import headline

Model = tuple[list[int], list[int], list[int] | None]


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Two to four models on few problems; the first may have other samples than the later ones, and no greedy ones."""
    problems, greedily = draw(st.sampled_from([2, 5, 6, 7, 8, 9, 30])), draw(st.booleans())
    taken = [draw(st.integers(1, 4)) for _ in range(draw(st.integers(2, 4)))]
    # Few different problems, and the models alike, lose or gain as one: the findings come at both sides of the level.
    ease = draw(st.sampled_from(["any", "none", "all"]))

    def right(most: int) -> list[int]:
        if ease != "any":
            return [most if ease == "all" else 0] * problems
        return [draw(st.integers(0, most)) for _ in range(problems)]

    models: list[Model] = []
    for index, most in enumerate(taken):
        lenient = right(most) if index == 0 or draw(st.booleans()) else [draw(st.integers(0, most))] * problems
        strict = lenient if draw(st.booleans()) else [draw(st.integers(0, each)) for each in lenient]
        models.append((strict, lenient, right(1) if greedily else None))
    clusters = draw(st.none() | st.lists(st.integers(0, 7), min_size=problems, max_size=problems))
    return sample_in_memory(*models, samples=taken, clusters=None if clusters is None else np.array(clusters))


def differences(found: Comparison) -> dict[str, Difference]:
    names = ("strict", "lenient", "format", "sharpening", "skill", "pass_at_k", "pass_at_k_lenient")
    told = {name: getattr(found, name) for name in names}
    return {name: each for name, each in told.items() if each is not None}


@settings(max_examples=120, deadline=None)
@given(samples())
def test_the_parts_add_up_to_the_strict_gain(sample: Sample) -> None:
    for found in compare_pairs(sample, [(model, 0) for model in range(1, len(sample.counts))], level=0.05):
        assert found.format.mean + found.lenient.mean == pytest.approx(found.strict.mean, abs=1e-12)
        if found.sharpening is not None and found.skill is not None:
            assert found.sharpening.mean + found.skill.mean == pytest.approx(found.lenient.mean, abs=1e-12)
        assert (found.sharpening is None) == (found.skill is None) == (sample.counts[0].greedy is None)


@settings(max_examples=200, deadline=None)
@given(samples(), st.sampled_from([0.05, 0.2, 0.5]))
@example(sample_in_memory(([0] * 5, [0] * 5, [0] * 5), ([4] * 5, [4] * 5, [1] * 5), samples=4), 0.05)
@example(sample_in_memory(([0] * 7, [0] * 7, [0] * 7), ([4] * 7, [4] * 7, [1] * 7), samples=4), 0.05)
def test_an_interval_holds_no_change_exactly_where_the_word_is_noise(sample: Sample, level: float) -> None:
    for found in compare_pairs(sample, [(model, 0) for model in range(1, len(sample.counts))], level=level):
        for name, each in differences(found).items():
            assert (each.low <= 0 <= each.high) == (each.finding == "within noise"), (name, each)
            # Sharpening is a difference of differences.
            most = 2 if name == "sharpening" else 1
            assert -most <= each.low <= each.mean + 1e-9 and each.mean - 1e-9 <= each.high <= most
            assert (each.p_holm <= level) == (each.finding != "within noise") and each.p_value <= each.p_holm
            assert each.finding == "within noise" or (each.mean > 0) == (each.finding == "gain")
        for curve, test in ((found.crossing_k, found.pass_at_k), (found.crossing_k_lenient, found.pass_at_k_lenient)):
            assert curve is None or test.finding == "loss"
        assert found.most is None or found.strict.finding == "gain"
        if found.most is not None:
            part = getattr(found, found.most)
            assert part.mean > found.strict.mean / 2


def test_five_problems_all_gained_are_no_proof() -> None:
    sample = sample_in_memory(([0] * 5, [0] * 5, [0] * 5), ([4] * 5, [4] * 5, [1] * 5), samples=4)
    (found,) = compare_pairs(sample, [(1, 0)], level=0.05)
    for each in differences(found).values():
        assert each.finding == "within noise" and each.low <= 0 <= each.high and each.detectable is None
    assert (found.strict.mean, found.skill and found.skill.mean, found.most) == (1.0, 1.0, None)
    assert "Most of the gain" not in parts_text(found)


def test_what_most_of_the_gain_is() -> None:
    rows = 40

    def most(strict: int, lenient: int, greedy: int) -> str | None:
        after = ([strict] * rows, [lenient] * rows, [greedy] * 30 + [0] * 10)
        sample = sample_in_memory(([1] * rows, [4] * rows, [0] * rows), after, samples=8)
        (found,) = compare_pairs(sample, [(1, 0)], level=0.05)
        assert found.most is None or f"Most of the gain is {found.most}: " in parts_text(found)
        return found.most

    assert most(4, 4, 0) == "format"
    assert most(5, 8, 0) == "sharpening"
    assert most(5, 8, 1) == "skill"
    assert most(1, 8, 1) is None, "no strict gain"
    assert most(4, 5, 0) == "format", "two of three points"
    assert most(3, 5, 0) is None, "half and half"


def test_a_model_against_itself_gains_and_loses_alike_whatever_the_samples() -> None:
    """10 samples of each problem and 5: counted at 5 for both, none is lost for being tried less."""
    rng, gained, lost, losses = np.random.default_rng(11), [], [], 0
    for _ in range(150):
        rate = rng.beta(0.8, 0.8, 60)
        models = [
            (strict, strict, None) for strict in (rng.binomial(10, rate).tolist(), rng.binomial(5, rate).tolist())
        ]
        sample = sample_in_memory(models[0], models[1], samples=[10, 5])
        (found,) = compare_pairs(sample, [(1, 0)], level=0.05)
        assert found.k == found.coverage.k == 5
        gained.append(found.coverage.gained)
        lost.append(found.coverage.lost)
        losses += "loss" in coverage_text(found)
        assert ("lower from" in coverage_text(found)) <= ("loss" in coverage_text(found))
    assert losses <= 0.025 * 150 + 2
    difference = np.array(gained) - np.array(lost)
    assert min(np.mean(gained), np.mean(lost)) > 1
    assert abs(difference.mean()) < 3 * difference.std() / len(difference) ** 0.5


@pytest.mark.parametrize("right", [0, 1, 2, 3, 4, 5])
def test_the_same_shares_of_10_and_of_5_samples_are_no_change(right: int) -> None:
    models = [([2 * right] * 20, [2 * right] * 20, None), ([right] * 20, [right] * 20, None)]
    (found,) = compare_pairs(sample_in_memory(models[0], models[1], samples=[10, 5]), [(1, 0)], level=0.05)
    assert found.strict.mean == 0.0 and found.strict.finding == "within noise"
    # Some 2 of 10 samples miss both right ones by chance: a problem solved by 5 of 10 is one that counts in part.
    miss = np.prod([(10 - 2 * right - drawn) / (10 - drawn) for drawn in range(5)]) if right < 3 else 0.0
    assert found.coverage.gained == pytest.approx(20 * miss * (right > 0))
    assert found.coverage.lost == 0 and found.coverage.neither == (20 if right == 0 else 0)
    assert "loss" not in coverage_text(found)


def test_too_few_choosing_problems_never_star_a_round(tmp_path_factory: pytest.TempPathFactory) -> None:
    worst, best = "WWWW", "SSSS"

    def found_of(problems: int) -> tuple[int, int, str, str]:
        ids = [f"p{index:02d}" for index in range(problems)]
        found = evidence(
            tmp_path_factory.mktemp("few"),
            dict.fromkeys(ids, worst),
            dict.fromkeys(ids, best),
            dict.fromkeys(ids, best),
        )
        return found.best, found.needed_for_star, power_text(found)[0], headline(found)

    for problems in (4, 8, 12):
        best_round, needed, power, said = found_of(problems)
        assert (best_round, needed) == (0, 7) and "No round beat the base model" in said
        assert f"With fewer than {needed} choosing problems no round can become the best one" in power
        assert "no true gain would make a round the best one as often" in power
    best_round, needed, power, said = found_of(18)
    assert best_round == 1 and "With fewer than" not in power and "Round 1 is the best" in said


def test_power_is_told_for_the_word_and_for_the_star(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = evidence(tmp_path_factory.mktemp("power"), many(1), many(2))
    card = found.rounds[1].to_base
    assert card is not None and card.strict.detectable is not None and found.detectable_star is not None
    # Half of the problems choose: they see less.
    assert 0 < card.strict.detectable < found.detectable_star
    assert (
        f"A true gain of {100 * card.strict.detectable:.1f} points would be detected 80 % of the time; a true gain of "
        f"{100 * found.detectable_star:.1f} points would make a round the best one as often, on the 30 problems that pick it."
    ) in power_text(found)[0]


def test_sharpening_may_change_by_two() -> None:
    """Never right but greedily, then always right but greedily: no other part can change by more than one."""
    sample = sample_in_memory(([0] * 12, [0] * 12, [1] * 12), ([4] * 12, [4] * 12, [0] * 12), samples=4)
    (found,) = compare_pairs(sample, [(1, 0)], level=0.05)
    assert found.sharpening is not None and found.skill is not None
    assert (found.sharpening.mean, found.sharpening.high, found.sharpening.finding) == (2.0, 2.0, "gain")
    assert (found.skill.mean, found.skill.low, found.skill.finding) == (-1.0, -1.0, "loss")
    assert (found.strict.mean, found.strict.high, found.most) == (1.0, 1.0, "sharpening")
    assert (found.coverage.gained, found.coverage.lost, found.coverage.neither) == (12, 0, 0)


def test_each_pair_is_compared_by_its_own_columns() -> None:
    models = [([each] * 12, [4] * 12, None) for each in (0, 1, 3)]
    sample = sample_in_memory(*models, samples=[4, 4, 8])
    found = compare_pairs(sample, [(1, 0), (2, 1), (0, 2)], level=0.05)
    assert [each.other for each in found] == [0, 1, 2] and {each.problems for each in found} == {12}
    assert [each.strict.mean for each in found] == pytest.approx([0.25, 0.125, -0.375])
    assert [each.lenient.mean for each in found] == pytest.approx([0.0, -0.5, 0.5])
    assert [(each.k, each.coverage.k) for each in found] == [(4, 4)] * 3
    assert compare_pairs(sample, [], level=0.05) == []
