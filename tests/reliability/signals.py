"""Real processes and real signals: the run, its stage server and the stage itself, only the model being scripted.

``python -m tests.reliability.signals COUNT [SEED]`` sends so many signals and says what they struck.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from unittest import mock

import psutil

from tests.reliability.world import Setting, World, fresh, scripted, undisturbed
from tpt import stage_process
from tpt.errors import TPTError
from tpt.rounds import Run
from tpt.system import child_python

SETTING = Setting(problems=12, heldout=6, rounds=2)
TARGETS = ("run", "server", "stage")
"""Each is the parent of the next."""
SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGSTOP")
_STEP_S = 0.002
"""Of the scripted engine: so a stage lasts long enough to be struck within."""
_COMMAND = child_python.command
_SERVER = "tests.reliability.signals"
"""This module, which may be called ``__main__``."""


def main() -> None:
    """Be the stage server, of a run whose model is scripted."""
    for name in ("tpt.engines.hf.opening", "tpt.sft"):
        sys.modules[name] = ModuleType(name)
    with _slow(), scripted():
        stage_process.main()


def strike(count: int, seed: int) -> Counter[tuple[str, str]]:
    """Send signals at random moments until so many have struck; return how many struck what.

    Every run is gone on with until it is finished; then its bytes must be those of an undisturbed one.
    """
    source, struck = random.Random(seed), Counter[tuple[str, str]]()
    wanted, _ = undisturbed(SETTING)
    while struck.total() < count:
        world = fresh(SETTING, f"struck-{seed}")
        for _ in range(40):
            code = _attempt(world, source, struck if struck.total() < count else None)
            if code == 0:
                break
        else:
            raise AssertionError(f"the run never ends: {world.path}")
        world.check_finished(wanted)
        shutil.rmtree(world.path.parent)
    return struck


def _attempt(world: World, source: random.Random, struck: Counter[tuple[str, str]] | None) -> int:
    """Run the command in a process of its own, a signal at some moment; return its exit code, 0 for a finished run."""
    begun = time.monotonic()
    run = os.fork()
    if run == 0:
        os._exit(_run(world))
    if struck is not None:
        name = source.choice(SIGNALS)
        target = min(TARGETS, key=lambda each: (sum(struck[each, other] for other in SIGNALS), source.random()))
        if _send(run, target, getattr(signal, name), source):
            struck[target, name] += 1
    family = _family(run)
    _, status = os.waitpid(run, 0)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, f"processes that outlive their run: {alive}"
    if status == 0:
        _LONGEST[0] = min(30.0, 0.5 * _LONGEST[0] + 0.7 * (time.monotonic() - begun))
    return os.waitstatus_to_exitcode(status)


_LONGEST = [3.0]
"""Seconds that a run takes about, on the machine as it is."""


def _run(world: World) -> int:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    with scripted(), mock.patch.object(child_python, "command", _served_here):
        try:
            for _ in Run(world.path, SETTING.config()).rounds():
                pass
        except (TPTError, OSError):
            return 1
    return 0


def _served_here(module: str, *arguments: str, with_parent: bool = False) -> list[str]:
    return _COMMAND(_SERVER if module == "tpt.stage_process" else module, *arguments, with_parent=with_parent)


@contextlib.contextmanager
def _slow() -> Iterator[None]:
    from tests.reliability import world

    step = world.ScriptedModel.step

    def slow_step(self: world.ScriptedModel) -> list[world.Completion]:
        time.sleep(_STEP_S)
        return step(self)

    with mock.patch.object(world.ScriptedModel, "step", slow_step):
        yield


def _family(run: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(run).children(recursive=True)
    return []


def _send(run: int, target: str, number: int, source: random.Random) -> bool:
    """Send a signal to the run, its server or the stage at work at some moment; return whether there was such a process."""
    time.sleep(source.random() * _LONGEST[0])
    for _ in range(500):
        processes = [psutil.Process(run), *_family(run)]
        if processes[0].status() == psutil.STATUS_ZOMBIE:
            return False
        if len(processes) > TARGETS.index(target):
            break
        time.sleep(0.01)  # the server is still importing, or between two stages
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        struck = processes[TARGETS.index(target)]
        struck.send_signal(number)
        if number == signal.SIGSTOP:
            time.sleep(0.05)
            struck.send_signal(signal.SIGCONT)
        return True
    return False


if __name__ == "__main__":
    total = int(sys.argv[1])
    for (who, what), times in sorted(strike(total, int(sys.argv[2]) if sys.argv[2:] else 0).items()):
        print(f"{what} to the {who}: {times}")
