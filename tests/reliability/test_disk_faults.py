"""Every call that changes a run's disk fails, and the power fails after every call: the same command ends right."""

from __future__ import annotations

import random

import pytest

from tests.reliability.disk import Fault, plant, tree
from tests.reliability.power import after_power_loss, replayed
from tests.reliability.world import Setting, fresh, undisturbed

SMALL = Setting(problems=4, heldout=2)
WHOLE = Setting(problems=6, heldout=3, rounds=2, mode="accumulate", also=True)


def fail_at(setting: Setting, number: int, fault: Fault) -> None:
    """Have one call fail, then run the command again, undisturbed."""
    wanted, _ = undisturbed(setting)
    world = fresh(setting)
    world.attempt({number: fault})
    world.check_whole()
    ended, _ = world.attempt()
    assert not ended, (number, fault, ended)
    world.check_finished(wanted)


def lose_power_after(setting: Setting, number: int, seed: int) -> None:
    """Begin with what may be left of a run whose power failed after so many calls."""
    wanted, calls = undisturbed(setting)
    world = fresh(setting)
    plant(world.path, after_power_loss({}, calls[:number], random.Random(f"{number} {seed}")))
    world.check_whole()
    ended, _ = world.attempt()
    assert not ended, (number, seed, ended)
    world.check_finished(wanted)


@pytest.mark.parametrize("fault", ["EIO", "ENOSPC", "short", "kill"])
def test_whichever_call_fails_the_same_command_ends_with_the_same_bytes(fault: Fault) -> None:
    for number in range(1 + len(fault), len(undisturbed(SMALL)[1]) + 1, 29):
        fail_at(SMALL, number, fault)


def test_after_a_power_failure_the_same_command_ends_with_the_same_bytes() -> None:
    for number in range(1, len(undisturbed(SMALL)[1]) + 1, 9):
        lose_power_after(SMALL, number, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["EIO", "ENOSPC", "short", "kill"])
def test_every_call_of_every_stage_fails(fault: Fault) -> None:
    for number in range(1, len(undisturbed(WHOLE)[1]) + 1):
        fail_at(WHOLE, number, fault)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_power_fails_after_every_call() -> None:
    for number in range(1, len(undisturbed(WHOLE)[1]) + 1):
        for seed in range(4):
            lose_power_after(WHOLE, number, seed)


def test_the_calls_replayed_in_full_leave_what_lies_there() -> None:
    """Otherwise the power would fail on another disk than the one that the run wrote to."""
    world = fresh(WHOLE)
    _, disk = world.attempt()
    assert replayed({}, disk.log) == tree(world.path)
