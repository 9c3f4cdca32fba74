"""Real processes that are sent real signals; what is asserted is in ``strike``: the same bytes, and no process left."""

from __future__ import annotations

import pytest

from tests.reliability.signals import TARGETS, strike


def test_a_signal_to_the_run_its_server_and_its_stage() -> None:
    struck = strike(3, seed=5)
    assert {target for target, _ in struck} == set(TARGETS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_signals() -> None:
    struck = strike(500, seed=0)
    assert all(sum(times for (who, _), times in struck.items() if who == target) >= 100 for target in TARGETS)
