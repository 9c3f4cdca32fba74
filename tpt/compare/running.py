"""Runs the arms: each with each seed is an ordinary run directory, several at a time, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from tpt.audit.run_problems import load_both
from tpt.compare.arms import Arm, StudyPlan
from tpt.compare.budget import BY_REFERENCE, Limit, limit_of
from tpt.compare.reuse import take_over
from tpt.config import RunConfig, render_toml
from tpt.config.own_code_keys import require_own_code
from tpt.errors import ConfigError, OwnCodeError, ProblemError, RunError
from tpt.evidence.looks import LEDGER
from tpt.records import RoundRecord
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.lock import lock
from tpt.system import child_python
from tpt.system.jsonl import read_table, write_text

_POLL_S = 0.1
_GRACE_S = 15.0
"""How long an ended child has to be gone by itself; its own processes have ten seconds."""


@dataclass(frozen=True, slots=True)
class ArmRun:
    """One arm with one seed."""

    arm: Arm
    seed: int
    run: RunDir

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.arm.name} seed {self.seed}"

    def records(self) -> list[RoundRecord]:
        """Return its finished rounds."""
        return [read_table(each.record, RoundRecord) for each in self.run.rounds() if each.record.exists()]


def arm_run_of(out: Path, arm: Arm, seed: int) -> ArmRun:
    """Return where an arm with a seed lies."""
    return ArmRun(arm, seed, RunDir(out / "arms" / arm.name / f"seed-{seed}"))


def run_arms(plan: StudyPlan, out: Path, *, jobs: int, progress: bool = False) -> None:
    """Do every round of every arm that is not done yet; interrupted at any moment and called again, it goes on.

    ``out`` holds a run directory for each arm and seed, ``arms/NAME/seed-S``. ``jobs`` 0: as many at a time as the
    machine has cores for.

    Raises:
        ConfigError, ProblemError, OwnCodeError: an arm's problems cannot give it what it needs, or a function is not there.
        RunError: a run there has another config; or, when all others are done, an arm failed.
        RunLockedError: another comparison is writing ``out``.
    """
    tasks = [arm_run_of(out, arm, seed) for arm in plan.arms for seed in plan.seeds]
    _check_arms(plan, tasks)
    with lock(RunDir(out)):
        _check_begun(tasks)
        # All arms look at the same problems, so they share one ledger.
        (out / LEDGER).touch()
        queue = _Queue(plan, out, list(tasks), progress)
        with _children() as children:
            while queue.waiting or children:
                for child in [each for each in children if each.process.poll() is not None]:
                    children.remove(child)
                    queue.ended(child)
                while len(children) < (jobs or _usual_jobs(plan)) and (child_or_none := queue.start()):
                    children.append(child_or_none)
                queue.tell()
                time.sleep(_POLL_S)
    if queue.failed:
        failures = "\n".join(f"  {name}: {why}" for name, why in queue.failed.items())
        raise RunError(f"{out}: {len(queue.failed)} of {len(tasks)} runs failed:\n{failures}")


@dataclass(frozen=True, slots=True)
class _Child:
    task: ArmRun
    process: subprocess.Popen[bytes]
    log: Path
    begin: int
    """Where its own part of the log begins, which goes on from earlier attempts."""


@dataclass(slots=True)
class _Queue:
    """What is to do; the reference arm comes first, as others may need to know what it spent."""

    plan: StudyPlan
    out: Path
    waiting: list[ArmRun]
    progress: bool
    failed: dict[str, str] = field(default_factory=dict)
    _told: dict[str, int] = field(default_factory=dict)
    _tasks: list[ArmRun] = field(default_factory=list)
    _active: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._tasks = list(self.waiting)
        self._told = {task.name: len(task.records()) for task in self._tasks}

    def start(self) -> _Child | None:
        """Start the next run that can be; None when there is none now."""
        for task in list(self.waiting):
            reference = arm_run_of(self.out, self.plan.reference, task.seed)
            records = task.records()
            if task.name != reference.name and _goes_by_reference(task.arm, self.plan):
                if reference.name in self.failed:
                    self._give_up(task, f"the reference arm failed: {reference.name}")
                    continue
                if reference in self.waiting or reference.name in self._active:
                    continue
            model = reference.records()
            limit = limit_of(task.arm, self.plan, reference=model)
            self.waiting.remove(task)
            if limit.allows_round_after(records):
                self._active.add(task.name)
                others = [other.run for other in self._tasks if other.seed == task.seed and not other.arm.reinforced]
                return _start(task, limit, others)
        return None

    def ended(self, child: _Child) -> None:
        """Take in that a process ended: a run that has further rounds to do waits again."""
        self._active.discard(child.task.name)
        if child.process.returncode:
            self._give_up(child.task, _last_error(child))
        else:
            self.waiting.insert(0, child.task)

    def tell(self) -> None:
        """Say which rounds are new."""
        for task in self._tasks if self.progress else []:
            if task.name in self._active:
                for record in task.records()[self._told[task.name] :]:
                    strict = record.evaluate.pass_at_k[1].mean
                    print(f"{task.name}: round {record.index}, {strict:.1%} strict", file=sys.stderr, flush=True)
                    self._told[task.name] += 1

    def _give_up(self, task: ArmRun, why: str) -> None:
        self.failed[task.name] = why
        if task in self.waiting:
            self.waiting.remove(task)
        if self.progress:
            print(f"{task.name}: failed: {why}", file=sys.stderr, flush=True)


def _goes_by_reference(arm: Arm, plan: StudyPlan) -> bool:
    """Return whether an arm can begin only when what the reference arm spent is known."""
    return (plan.budget in BY_REFERENCE and not arm.votes) or (arm.reinforced and not isinstance(plan.budget, int))


def _start(task: ArmRun, limit: Limit, others: list[RunDir]) -> _Child:
    config = task.arm.config(task.seed, rounds=max(1, limit.rounds))
    if not task.run.rounds():
        take_over(task.run, config, others, first_traces=not (task.arm.votes or task.arm.reinforced))
    path = task.run.path.with_name(task.run.path.name + ".toml")
    write_text(path, render_toml(config))
    log = path.with_suffix(".log")
    told = [json.dumps(asdict(limit)), str(int(task.arm.reinforced)), str(os.getpid())]
    command = child_python.command("tpt.compare.child", str(path), str(task.run.path), *told, with_parent=True)
    with log.open("ab") as file:
        return _Child(task, _spawn(command, file), log, begin=file.tell())


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@contextlib.contextmanager
def _children() -> Iterator[list[_Child]]:
    """Hold the processes under way; those still there at the end, as after Ctrl-C, are ended."""
    children: list[_Child] = []
    try:
        yield children
    finally:
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for child in children:
            try:
                child.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


def _last_error(child: _Child) -> str:
    own = child.log.read_bytes()[child.begin :].decode(errors="replace")
    said = next((line for line in reversed(own.splitlines()) if line.startswith("error: ")), "")
    return said.removeprefix("error: ") or f"ended with exit code {child.process.returncode}; see {child.log}"


def _usual_jobs(plan: StudyPlan) -> int:
    """Return how many runs the cores are for; a run without a number of threads takes them all."""
    threads = plan.reference.config(plan.seeds[0]).threads
    return max(1, len(os.sched_getaffinity(0)) // threads) if threads else 1


def _check_begun(tasks: list[ArmRun]) -> None:
    """Raise before anything is computed when a run directory there is another comparison's."""
    for task in tasks:
        if task.run.exists():
            config = task.arm.config(task.seed, rounds=max(1, len(task.records()) - 1, task.arm.rounds))
            with lock(task.run):
                Run(task.run.path, config).prepare()


def _check_arms(plan: StudyPlan, tasks: Sequence[ArmRun]) -> None:
    """Raise when an arm could not begin: a function that it names is not there, or its problems cannot give it its examples.

    Arms whose problems are frozen have been checked.
    """
    config = plan.reference.config(plan.seeds[0])
    train = load_both(config).train
    if plan.budget == "examples" and isinstance(config.prune.size, int) and config.prune.size > len(train):
        raise ConfigError(
            f"prune.size = {config.prune.size}, but there are {len(train)} training problems: no arm can have so many "
            "examples with one trace of each problem. Lower base.prune.size, or add problems"
        )
    checked = [_of_problems(config)]
    for task in tasks:
        if task.run.frozen.exists():
            continue
        own = task.arm.config(plan.seeds[0])
        try:
            require_own_code(own)
            if (wanted := _of_problems(own)) not in checked:
                load_both(own)
                checked.append(wanted)
        except (ConfigError, OwnCodeError, ProblemError, RunError) as error:
            raise type(error)(f"arm {task.arm.name!r}: {error}\nMend it, or leave the arm out") from None


def _of_problems(config: RunConfig) -> tuple[object, ...]:
    """Return what decides whether a config's problems can give it its examples."""
    prune = config.prune.size, config.prune.growth, config.rounds
    return config.problems, config.verify, config.data, prune if config.data.mix else ()
