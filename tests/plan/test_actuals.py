"""A plan beside what was measured, and the rest of it at the measured pace."""

from __future__ import annotations

import pytest

from tpt.plan.actuals import compare_stages, corrected
from tpt.plan.hardware import GPUS
from tpt.plan.history import Belief, Done, History, Seen
from tpt.plan.sampling import Lengths
from tpt.plan.stages import StagePlan
from tpt.scoring.solve_rates import Rates

PLAN = [
    StagePlan(0, "evaluate", 100, 1000, 50, 1e9, 10.0),
    StagePlan(1, "think", 100, 2000, 50, 2e9, 30.0),
    StagePlan(1, "train", 10, 500, 50, 3e9, 5.0),
    StagePlan(1, "evaluate", 100, 1000, 50, 1e9, 10.0),
    StagePlan(2, "think", 100, 2000, 50, 2e9, 30.0),
    StagePlan(2, "train", 10, 500, 50, 3e9, 5.0),
]
EVALUATED = Done(0, "evaluate", 100, 800, 16.0, "cpu")
THOUGHT = Done(1, "think", 90, 2500, 50.0, "cpu")
GUESS = Belief(Rates.of_mean(0.3), Lengths((9,), (9,)), Lengths((9,), (9,)))


def test_finished_stages_are_measured_and_the_others_at_their_pace() -> None:
    found = corrected(PLAN, History((EVALUATED,), {}, {}), None)
    assert (found[0].tokens, found[0].seconds, found[0].done) == (800, 16.0, True)
    # Twice as long for as many tokens; thinking goes by evaluation until there is a thinking stage.
    assert [stage.seconds for stage in found[1:]] == [60.0, 5.0, 20.0, 60.0, 5.0]
    found = corrected(PLAN, History((EVALUATED, THOUGHT), {}, {}), None)
    assert found[4].seconds == pytest.approx(30.0 * (50 / 2500) / (30 / 2000))


def test_another_machines_pace_is_not_taken() -> None:
    found = corrected(PLAN, History((EVALUATED,), {}, {}), GPUS["h100"])
    assert found[1].seconds == 30.0
    on_gpu = Done(0, "evaluate", 100, 800, 16.0, "NVIDIA H100 80GB HBM3")
    assert corrected(PLAN, History((on_gpu,), {}, {}), GPUS["h100"])[1].seconds == 60.0


def test_a_stage_of_unknown_speed_goes_by_seconds_a_token() -> None:
    plan = [StagePlan(each.round, each.stage, 1, each.tokens, 0, 1.0, None) for each in PLAN]
    found = corrected(plan, History((EVALUATED,), {}, {}), None)
    assert found[1].seconds == pytest.approx(2000 * 16 / 800)
    assert found[2].seconds is None


def test_the_comparison_has_ratios_of_measured_to_planned() -> None:
    rows = compare_stages(PLAN, History((EVALUATED, THOUGHT), {}, {}))
    assert [(row.round, row.stage, row.tokens_ratio, row.seconds_ratio) for row in rows] == [
        (0, "evaluate", 0.8, 1.6),
        (1, "think", 1.25, pytest.approx(50 / 30)),
    ]


def test_a_round_is_expected_to_go_as_the_last_ones_before_it() -> None:
    seen = {
        index: Seen(Rates.of_mean(rate), Lengths((length,), (length,)))
        for index, (rate, length) in enumerate([(0.2, 20), (0.5, 21)])
    }
    thought = {1: Seen(Rates.of_mean(0.3), Lengths((25,), (25,)))}
    history = History((), thought, seen)
    assert history.belief(0, GUESS) == GUESS
    assert history.belief(1, GUESS).rates.mean == pytest.approx(0.2)
    second = history.belief(2, GUESS)
    # The training problems were a little easier, and the model went from 0.2 to 0.5 since.
    assert second.rates.mean == pytest.approx(0.3 * 4 / (0.3 * 4 + 0.7), abs=1e-6)
    assert (second.think.kept, second.evaluate.kept) == ((25,), (21,))
