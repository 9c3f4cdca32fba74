"""Everything that a run does when it starts, short of sampling: what would end it is told, and nothing is written."""

from __future__ import annotations

import fcntl
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from tpt.audit.run_problems import load_also, load_both
from tpt.config import RunConfig
from tpt.config.own_code_keys import require_own_code
from tpt.errors import GateError, RunError
from tpt.gate import rehearse
from tpt.plan import PlanOptions, RunPlan, outline, plan_run
from tpt.plan.work import is_here
from tpt.records import Problem
from tpt.rounds import Run, check_elsewhere
from tpt.stage_process import check_run_lengths
from tpt.store import refresh

_GB = 1e9


def dry_run(config: RunConfig, out: Path) -> dict[str, Any]:
    """Check a run's directory, problems, model, prompts, stages, memory, disk and engine, and return what was found.

    Raises:
        TPTError: whatever would end the run.
    """
    refresh(out)
    run = Run(out, config)
    run.require_same_config()
    require_own_code(run.config)
    _require_writable(run.dir.path)
    config = run.config
    train, heldout, left_out = load_both(config)
    further = load_also(config, train, config.evaluate.also)
    longest = check_elsewhere(config, (train, heldout, further), partial(check_run_lengths, even_gguf=True))
    found = outline(config, out, train=len(train), heldout=len(heldout), left_out=len(left_out))
    found["rehearsal"] = rehearsed(config, train[0] if train else heldout[0])
    planned = plan_run(config, out, PlanOptions())
    found["memory"] = _memory(planned)
    found["disk"] = _disk(planned, run.dir.path)
    found["longest prompt and completion"] = longest
    found["engine"] = _opened(config, longest, run.dir.path / "cache")
    return found


def rehearsed(config: RunConfig, problem: Problem) -> str:
    """Rehearse a run's stages and return what was done.

    Raises:
        GateError: one fails, and ``stop.gate`` is "stop".
    """
    if not config.rounds or config.stop.gate == "off":
        return "not done: " + ('stop.gate = "off"' if config.rounds else "no rounds")
    found = rehearse(config, problem, cache=None)
    if not found.ok and config.stop.gate == "stop":
        raise GateError(found.said)
    return found.said


def rehearsed_plan(config: RunConfig, *, elsewhere: bool) -> str:
    """Return what a rehearsal for a plan came to, or why there was none, as where it is for a machine elsewhere.

    Raises:
        GateError: a stage fails, and ``stop.gate`` is "stop".
    """
    if elsewhere:
        return "not done: planned for another machine"
    if not is_here(config.model):
        return "not done: the model's tokenizer is not on this machine"
    return rehearsed(config, Problem("rehearsal", "How many are 2 and 3?", "5"))


def _require_writable(path: Path) -> None:
    """Refuse a directory that cannot be written, or that a run is writing."""
    there = _nearest(path)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RunError(
            f"{path}: cannot be written, as {there} is no folder or not yours to write. Use another with --out"
        )
    lock = path / "lock"
    if not lock.exists():
        return
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{path}: another process is writing this run. Wait for it, or use another with --out"
            ) from None


def _nearest(path: Path) -> Path:
    """Return the path, or the first folder above it that is there; a link that leads to nothing is there, and no folder."""
    return next(each for each in (path, *path.absolute().parents) if each.exists() or each.is_symlink())


def _memory(planned: RunPlan) -> dict[str, str]:
    for fit in planned.memory:
        if not fit.fits:
            raise RunError(
                f"the {fit.stage} stage needs {fit.needed / _GB:.1f} GB and there are {fit.available / _GB:.1f} GB: "
                f"{fit.parts}. {fit.instead}"
            )
    return {fit.stage: f"{fit.needed / _GB:.1f} of {fit.available / _GB:.1f} GB" for fit in planned.memory}


def _disk(planned: RunPlan, path: Path) -> str:
    there = _nearest(path)
    needed, free = sum(planned.disk.values()), shutil.disk_usage(there).free
    if needed > free:
        raise RunError(
            f"{path}: the run leaves up to {needed / _GB:.3f} GB there, and {free / _GB:.3f} GB are free. Use another disk "
            'with --out, or train.adapter = "keep" with train.method = "lora"'
        )
    return f"{needed / _GB:.1f} of {free / _GB:.1f} GB"


def _opened(config: RunConfig, longest: int, cache: Path) -> str:
    """Open the engine on the model as the stages do, and say what it is."""
    from tpt.model.load import use_threads
    from tpt.sampling.open import open_engine

    if config.engine.reload:
        return "not opened: engine.reload would change what the server serves"
    use_threads(config.threads)
    engine = open_engine(config, config.model, cache=cache if cache.is_dir() else None, longest=longest)
    try:
        told = engine.describe()
        how = f"; {told['advice']}" if told.get("decoder") == "generate" else ""
        return f"{told['engine']}, {engine.guarantee}{how}"
    finally:
        engine.close()
