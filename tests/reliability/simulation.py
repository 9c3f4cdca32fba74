"""One seed, one world: a history of a run, invented from a number, and checked after every event.

A seed that fails is reproduced, and its story told, by one line: ``python -m tests.reliability.simulation SEED``.
"""

from __future__ import annotations

import random
import sys

from tests.reliability.disk import Fault
from tests.reliability.life import Life
from tests.reliability.world import Setting

SETTINGS = tuple(
    Setting(sampler=sampler, rounds=rounds, greedy=greedy, mode=mode, rollback=rollback, problems=4, heldout=2)
    for sampler, rounds, greedy, mode, rollback in (
        ("until_full", 0, True, "replace", False),
        ("until_full", 0, False, "replace", False),
        ("until_full", 1, False, "replace", False),
        ("fixed", 1, False, "replace", False),
        ("until_full", 1, True, "replace", True),
        ("until_full", 2, False, "accumulate", True),
    )
)
_WEIGHTS = (8, 8, 4, 4, 1, 1)
"""Short runs are drawn more often."""
_FAULTS: tuple[Fault | None, ...] = ("kill", "kill", "EIO", "ENOSPC", "short", None)


def live(seed: int) -> Life:
    """Live through a world; raises AssertionError, or whatever error the command would not explain."""
    source = random.Random(seed)
    life = Life(source.choices(SETTINGS, _WEIGHTS)[0])
    try:
        for _ in range(source.randint(1, 4)):
            _befall(life, source)
        life.end()
    except BaseException as error:
        story = "\n  ".join([str(life.setting), *life.told])
        error.add_note(f"python -m tests.reliability.simulation {seed}\n  {story}")
        raise
    return life


def _befall(life: Life, source: random.Random) -> None:
    """Have one thing happen."""
    what = source.choices(
        ("run", "power", "tear", "edit", "writer", "config", "move", "keep", "restore", "undo", "forget", "clock"),
        (6, 3, 2, 3, 1, 1, 1, 1, 1, 1, 1, 1),
    )[0]
    if what == "run":
        breaks_at = source.choice((0, 0, 0, source.randint(1, 12)))
        fault = source.choice(_FAULTS) if not breaks_at else None
        life.run(source.random(), fault, order=source.randrange(99), slots=source.randint(1, 9), breaks_at=breaks_at)
    elif what == "power":
        life.lose_power(source.random(), source)
    elif what == "writer":
        life.second_writer()
    elif what == "config":
        life.other_config(source.randrange(9))
    elif what == "move":
        life.move(source.choice(("elsewhere", "a run", "läuft")))
    elif what == "clock":
        life.jump(source.uniform(-1e7, 1e7))
    elif what in ("keep", "restore"):
        getattr(life, what)()
    else:
        {"tear": life.tear, "edit": life.edit, "undo": life.undo, "forget": life.forget_verdicts}[what](source)


if __name__ == "__main__":
    print("\n".join(live(int(sys.argv[1])).told))
