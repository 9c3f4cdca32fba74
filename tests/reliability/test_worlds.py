"""Invented histories of runs: by seed, and by hypothesis, which looks for the shortest one that goes wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.reliability.life import Life
from tests.reliability.simulation import SETTINGS, live

SHARES = st.integers(0, 999).map(lambda share: share / 1000)
SOURCES = st.integers(0, 2**32).map(random.Random)


class Histories(RuleBasedStateMachine):
    """A run directory and all that may happen to it; every event checks what must hold after it."""

    @initialize(setting=st.sampled_from(SETTINGS))
    def begin(self, setting: object) -> None:
        self.life = Life(setting)  # type: ignore[arg-type]

    @rule(share=SHARES, fault=st.sampled_from(["kill", "EIO", "ENOSPC", "short"]), order=st.integers(0, 9))
    def run_and_fail(self, share: float, fault: str, order: int) -> None:
        self.life.run(share, fault, order=order)  # type: ignore[arg-type]

    @rule(slots=st.integers(1, 9), breaks_at=st.integers(0, 12))
    def run_stages(self, slots: int, breaks_at: int) -> None:
        self.life.run(0, None, slots=slots, breaks_at=breaks_at)

    @rule(share=SHARES, source=SOURCES)
    def lose_power(self, share: float, source: random.Random) -> None:
        self.life.lose_power(share, source)

    @rule(source=SOURCES)
    def tear(self, source: random.Random) -> None:
        self.life.tear(source)

    @rule(source=SOURCES)
    def edit(self, source: random.Random) -> None:
        self.life.edit(source)

    @rule(source=SOURCES)
    def undo(self, source: random.Random) -> None:
        self.life.undo(source)

    @rule()
    def second_writer(self) -> None:
        self.life.second_writer()

    @rule(seed=st.integers(0, 3))
    def other_config(self, seed: int) -> None:
        self.life.other_config(seed)

    @rule(name=st.sampled_from(["elsewhere", "a run", "läuft"]))
    def move(self, name: str) -> None:
        self.life.move(name)

    @rule()
    def keep(self) -> None:
        self.life.keep()

    @rule()
    def restore(self) -> None:
        self.life.restore()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.life.end()


def explore(examples: int, steps: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Histories,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_history_ends_wrong() -> None:
    explore(examples=12, steps=5)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_long_history_ends_wrong() -> None:
    explore(examples=400, steps=12)


@pytest.mark.parametrize("first", [0, 1000])
def test_worlds(first: int) -> None:
    for seed in range(first, first + 40):
        live(seed)


def test_a_world_that_goes_wrong_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: Life) -> None:
        raise AssertionError("not what it was")

    monkeypatch.setattr(Life, "end", wrong)
    with pytest.raises(AssertionError) as failed:
        live(7)
    assert "python -m tests.reliability.simulation 7\n  Setting(" in failed.value.__notes__[0]
