"""What the page says of numbers: verdicts, claims, axes, series and p-values."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from made_run import make_run

from tpt.evidence import Claim, Comparison, Coverage, Difference, Finding, RoundCard, evidence_of
from tpt.records import Estimate, EvalReport, RoundRecord
from tpt.report.html.axes import doubling_axis, number_axis, share_axis, spread
from tpt.report.html.series import diversity_series, length_series, probe_series
from tpt.report.html.words import against, claim_note, short_headline, signed_points, verdict
from tpt.report.sentences import p_cell, p_text, won_and_lost
from tpt.report.status import clock_text
from tpt.report.summary import summary_of
from tpt.run.directory import RunDir

SAID: dict[Finding, float] = {"gain": 0.05, "loss": -0.05, "within noise": 0.01}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_run(tmp_path_factory.mktemp("made") / "first")


def test_every_number_of_an_evaluation_has_a_series() -> None:
    told = {"distinct_chains_in_8": 2.0, "own_measure": 1.0, "answer_entropy": math.nan, "self_bleu": 0.5}
    report = EvalReport(1, 1, {}, {}, {}, {}, told, {"truncated": 0.5}, {"entropy": 0.25, "entropy_stderr": 0.1})
    records = [RoundRecord(0, "m", report)]
    found = {series.label: (series.drawn, series.values) for series in diversity_series(records)}
    assert found == {
        "likeness of right traces (self-BLEU)": (True, {0: 0.5}),
        "different solution paths in 8 right traces": (False, {0: 2.0}),
        "own measure": (True, {0: 1.0}),
    }
    assert list(found)[-1] == "own measure"
    assert [(series.values, series.errors) for series in probe_series(records)] == [({0: 0.25}, {0: 0.1})]
    assert [(series.label, series.values[0]) for series in length_series(records)] == [
        ("cut off at the token limit, %", 50)
    ]


def compared(finding: Finding, mean: float, crossing: int | None = None) -> Comparison:
    found = Difference(mean, 0.01, mean - 0.02, mean + 0.02, 0.0001, 0.04, 0.031, finding)
    part = replace(found, mean=mean / 2)
    covered = Coverage(8, 1, 2.5, 0, 0.5, ["a"], ["b", "c"], [])
    fallen = replace(found, finding="loss") if crossing else found
    return Comparison(
        other=0,
        problems=7,
        strict=found,
        lenient=found,
        format=part,
        sharpening=part,
        skill=replace(part, mean=0.0),
        most="format" if finding == "gain" else None,
        k=8,
        pass_at_k=fallen,
        pass_at_k_lenient=fallen,
        crossing_k=crossing,
        crossing_k_lenient=None,
        coverage=covered,
        coverage_lenient=covered,
    )


def test_verdicts_say_gain_loss_and_noise(run: RunDir) -> None:
    card = evidence_of(run, summary_of(run).records).rounds[1]
    say = {each: verdict(replace(card, to_base=compared(each, mean), to_previous=None)) for each, mean in SAID.items()}
    assert say["gain"].startswith(
        "Gain against the base model: +5.0 points [+3.0, +7.0], adjusted p = 0.040. Of the strict change, +2.5"
    )
    assert (
        "+2.5 [+3.0, +7.0] points are format, +2.5 [+3.0, +7.0] sharpening and +0.0 [+3.0, +7.0] skill." in say["gain"]
    )
    assert "Most of the gain is format: the model writes right values as asked more often." in say["gain"]
    assert say["loss"].startswith("Loss against the base model: −5.0 points") and "Most of" not in say["loss"]
    assert not any(re.search(r"(?<!\w)-[0-9]", each) for each in say.values()), "a minus sign before every number"
    assert "1 problem gained and 2.5 lost, solved by 8 samples of each (p = 0.500); pass@8 −5.0 [" in say["loss"]
    assert "Within noise of the base model: +1.0 points" in say["within noise"]
    assert "a true difference of 3.1 points would be detected 80 % of the time" in say["within noise"]
    crossed = replace(card, to_base=compared("gain", 0.05, 8), to_previous=None)
    assert "points: loss, lower from k = 8 on." in verdict(crossed)
    untold = replace(compared("within noise", 0.01), sharpening=None, skill=None)
    assert "sharpening and skill are not told apart, as there are no greedy samples." in verdict(
        replace(card, to_base=untold, to_previous=None)
    )
    few = replace(untold, strict=replace(untold.strict, detectable=None))
    assert "so few are compared that no difference would be detected 80 % of the time" in verdict(
        replace(card, to_base=few, to_previous=None)
    )


def test_axes_cover_their_values_with_round_ticks() -> None:
    assert [text for _, text in number_axis([33.2, 34.4]).ticks] == [
        "33.00",
        "33.25",
        "33.50",
        "33.75",
        "34.00",
        "34.25",
        "34.50",
    ]
    assert [text for _, text in share_axis([0.31, 0.74]).ticks] == ["30%", "40%", "50%", "60%", "70%", "80%"]
    assert [value for value, _ in doubling_axis(20, "k").ticks] == [1, 2, 4, 8, 16]
    same = number_axis([0.0, 0.0])
    assert same.low < 0 < same.high and len(same.ticks) >= 2


def test_labels_that_would_overlap_are_moved_apart() -> None:
    moved = spread([100.0, 101.0, 40.0], low=0, high=110)
    assert moved[2] == 40 and moved[1] - moved[0] == pytest.approx(15) and max(moved) <= 110
    assert spread([], low=0, high=1) == []


def test_words() -> None:
    assert (signed_points(0.0123), signed_points(-0.2), clock_text(3725.4)) == ("+1.2", "−20.0", "1:02:05")


def test_the_headline_never_claims_what_is_noise(run: RunDir) -> None:
    evidence = summary_of(run).evidence
    said = short_headline(evidence)
    assert evidence.claim is None
    assert said == "No gain was found: none of 2 rounds is better than the base model by more than chance."
    assert "so the base model stays the best" in claim_note(evidence)
    lost = compared("loss", -0.1).strict
    cards = [card if card.round != 2 else with_strict(card, lost) for card in evidence.rounds]
    said = short_headline(replace(evidence, rounds=cards))
    assert said == "Training did not help: round 2 is worse than the base model, and none is better."


def with_strict(card: RoundCard, strict: Difference) -> RoundCard:
    assert card.to_base
    return replace(card, to_base=replace(card.to_base, strict=strict))


@pytest.mark.parametrize(("finding", "verb"), [("gain", "rose"), ("loss", "fell"), ("within noise", "may be chance")])
def test_a_claim_is_as_sure_as_its_test(run: RunDir, finding: Finding, verb: str) -> None:
    evidence = summary_of(run).evidence
    before, after = (Estimate(share, 0.01) for share in (0.4, 0.45))
    comparison = compared(finding, 0.05)
    claim = Claim(2, 50, True, before, after, before, after, None, None, comparison)
    assert verb in short_headline(replace(evidence, claim=claim))


@pytest.mark.parametrize(
    ("value", "sentence", "cell"),
    [
        (0.0, "p < 0.001", "< 0.001"),
        (0.00099, "p < 0.001", "< 0.001"),
        (0.001, "p = 0.001", "0.0010"),
        (0.0456, "p = 0.046", "0.0456"),
        (1.0, "p = 1.000", "1.0000"),
    ],
)
def test_no_p_value_is_zero(value: float, sentence: str, cell: str) -> None:
    assert (p_text(value), p_cell(value)) == (sentence, cell)
    found = replace(compared("gain", 0.1), strict=replace(compared("gain", 0.1).strict, p_holm=value))
    assert f"adjusted {sentence}" in against(found)
    sets = replace(found.coverage, p_value=value)
    assert f"({sentence})" in won_and_lost(sets)
