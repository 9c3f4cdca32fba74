"""Expected samples and tokens: against arithmetic, and against what the real samplers spend on a real engine loop."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tpt.engines import Request, Sampling
from tpt.engines.scripted import ScriptedEngine
from tpt.plan.sampling import Draws, Lengths, simulate
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.sampling.collect import SamplingJob, collect
from tpt.sampling.until_full import UntilFull
from tpt.scoring.solve_rates import Rates

ALIKE = Rates.of_mean(0.4, spread=1e6)
"""Every problem is solved at the same rate."""
LENGTHS = Lengths((10, 20, 30), (20, 40, 60))


def test_a_fixed_sampler_takes_every_sample() -> None:
    spent = simulate(Draws(50, 8, 5, "fixed", 16, 1), ALIKE, LENGTHS)
    assert spent.samples == 400
    assert spent.prompts == 50
    assert spent.tokens == sum(rows * steps for rows, steps in spent.busy)
    assert spent.tokens / 400 == pytest.approx(0.4 * 20 + 0.6 * 40, rel=0.1)
    assert max(rows for rows, _ in spent.busy) == 16
    assert sum(spent.solved) == pytest.approx(0.4 * 400, rel=0.2)


def test_what_is_not_simulated_keeps_every_slot_busy() -> None:
    few, many = (simulate(Draws(problems, 10, None, "fixed", 100, 1), ALIKE, LENGTHS) for problems in (3_000, 30_000))
    assert many.tokens == pytest.approx(10 * few.tokens, rel=0.03)
    assert sum(rows * steps for rows, steps in many.busy) == pytest.approx(many.tokens, rel=0.01)


@pytest.mark.parametrize("tries", [1, 3, 10])
def test_until_full_tries_each_problem_until_it_is_solved(tries: int) -> None:
    spent = simulate(Draws(4000, tries, None, "until_full", 64, 1), ALIKE, LENGTHS)
    solved = 1 - 0.6**tries
    assert spent.samples / 4000 == pytest.approx(solved / 0.4, rel=0.05)
    assert len(spent.solved) / 4000 == pytest.approx(solved, rel=0.06)


def test_until_full_stops_when_the_set_is_full() -> None:
    spent = simulate(Draws(4000, 10, 100, "until_full", 32, 1), ALIKE, LENGTHS)
    assert len(spent.solved) == 100
    # 250 samples for the 100 solved ones, and what was in flight beside and after them.
    assert 250 * 0.8 < spent.samples < 250 + 3 * 32


@pytest.mark.parametrize("seed", range(4))
def test_the_simulation_spends_what_the_real_loop_spends(seed: int, tmp_path: Path) -> None:
    rates = Rates(1.0, 1.5)
    # One at a time: the scripted engine's waits are not those of lengths. Then both draw the same numbers.
    expected = simulate(Draws(120, 5, 40, "until_full", 1, 1), rates, LENGTHS, seed)
    assert _real(rates, tmp_path, seed) == (expected.samples, expected.tokens)


def _real(rates: Rates, folder: Path, seed: int) -> tuple[int, int]:
    """Sample with the real loop on the scripted engine; return samples and tokens."""
    source = random.Random(seed)
    problems = {f"p{number:03}": Problem(id=f"p{number:03}", question="", answer="") for number in range(120)}
    chance = {key: source.betavariate(rates.a, rates.b) for key in problems}

    def script(request: Request) -> str:
        good = source.random() < chance[request.id[0]]
        return str(int(good)).ljust(source.choice(LENGTHS.kept if good else LENGTHS.others) - 1, ".")

    done = collect(
        UntilFull(sorted(problems), samples=5, size=40, per_problem=1),
        SamplingJob(
            problems=problems,
            prompt_ids=dict.fromkeys(problems, (0,)),
            engine=ScriptedEngine(script, slots=1),
            sampling=Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=100),
            seed_of=lambda key: 0,
            judge=lambda traces, problems: [_verdict(trace) for trace in traces],
            keepable=lambda trace, verdict: verdict.outcome is Outcome.CORRECT,
        ),
        **{f"{name}_path": folder / f"{name}.jsonl" for name in ("traces", "verdicts", "surplus")},
    )
    assert done.surplus_traces == done.cancelled_requests == 0
    return done.traces, done.completion_tokens


def _verdict(trace: Trace) -> Verdict:
    right = trace.completion[0] == "1"
    return Verdict(trace.problem_id, trace.sample, Outcome.CORRECT if right else Outcome.WRONG, right, None)


def test_guessed_lengths_have_the_mean_and_the_limit() -> None:
    lengths = Lengths.guessed(100, 512)
    assert lengths.kept_mean == pytest.approx(100, rel=0.05)
    assert Lengths.guessed(100, 120).longest_kept == 120


def test_several_traces_of_a_problem_take_more_samples_and_are_counted() -> None:
    one, three = (simulate(Draws(2000, 10, 100, "until_full", 32, most), ALIKE, LENGTHS) for most in (1, 3))
    assert set(one.solved) == {1}
    assert set(three.solved) <= {1, 2, 3}
    assert sum(three.solved) > 200
    assert one.samples < three.samples < 1000
