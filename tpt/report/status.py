"""How far a run is, and whether a process is at it now."""

from __future__ import annotations

import shutil
import time
from typing import Any

from tpt.errors import RunError
from tpt.rounds import Run, best_round
from tpt.run.directory import RoundDir, RunDir
from tpt.run.lock import holder_of
from tpt.store import address_of
from tpt.system.jsonl import read_json
from tpt.system.url import is_url

_QUIET_S = 120.0
"""Without news for longer than this, the age of the last news is told in minutes and as something to look at."""


def run_status(run: RunDir) -> dict[str, Any]:
    """Return how far a run is, who is at it, and what it is doing; sizes in bytes, times in seconds."""
    opened = Run(run.path)
    records = opened.records()
    holder, is_running = holder_of(run)
    why = opened.stop_reason(records)
    at_end = opened.scored_at_end(records) if why else []
    rounds = {each.path.name: _stages(opened, each, is_scored_at_end=each.index in at_end) for each in run.rounds()}
    # Further sets may be scored after the last round.
    further = {each.stage for each in opened.config.evaluate.also}
    is_left = any(each[stage] == "to do" for each in rounds.values() for stage in further & each.keys())
    state = "running" if is_running else "finished" if why and not is_left else "not running"
    free = shutil.disk_usage(run.path).free
    return {
        "run directory": address_of(run.path),
        "state": state,
        "process": holder or None,
        "now": _now(run, rounds) if is_running else None,
        "rounds": rounds,
        "finished rounds": len(records),
        "best": f"round-{best_round(run, records).index}" if records else None,
        "disk": {"used": _size_of(run), "free": free},
        "next": why if state == "finished" else "" if is_running else f"go on with: tpt run {address_of(run.path)}",
    }


def status_in_words(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status with what a person need not read left out, and sizes and times in words."""
    said = dict(status)
    holder = said.pop("process")
    if status["state"] == "not running" and is_url(status["run directory"]):
        said["state"] = "not running on this machine"
    if holder and status["state"] == "running":
        said["state"] = f"running, {holder}"
    elif holder:
        said["state"] = f"{status['state']}: {holder} ended without saying so"
    said["rounds"] = {name: _stages_text(stages) for name, stages in status["rounds"].items()}
    disk = said.pop("disk")
    said["disk"] = f"{size_text(disk['used'])} used, {size_text(disk['free'])} free"
    now = said.pop("now")
    if now:
        said = {**{key: said.pop(key) for key in ("run directory", "state")}, "now": now_text(now), **said}
    return {key: value for key, value in said.items() if value != ""}


def now_text(now: dict[str, Any]) -> str:
    """Return what a run is doing in one line."""
    if "done" not in now:
        return str(now["title"])
    parts = [f"{now['title']}: {now['done']:,}/{now['total']:,}"]
    if now["per_s"]:
        slow = now["per_s"] < 1
        parts.append(f"{60 * now['per_s']:.1f} a minute" if slow else f"{now['per_s']:.1f} a second")
    if now["left_s"] is not None:
        parts.append(f"{clock_text(now['left_s'])} left")
    parts += [now["note"]] if now["note"] else []
    if now["age_s"] > _QUIET_S:
        parts.append(f"no news for {now['age_s'] / 60:.0f} minutes")
    return ", ".join(parts)


def clock_text(seconds: float) -> str:
    """Return a length of time as hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def size_text(size: int) -> str:
    """Return a number of bytes in a unit that suits it."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _stages(opened: Run, round_dir: RoundDir, *, is_scored_at_end: bool) -> dict[str, str]:
    further = [each.stage for each in opened.config.evaluate.also]
    if opened.config.evaluate.also_rounds == "best" and not is_scored_at_end:
        # Which round that will be is known at the end.
        further = [stage for stage in further if round_dir.manifest(stage).exists()]
    stages = (*round_dir.stages, *further)
    return {stage: "done" if round_dir.manifest(stage).exists() else "to do" for stage in stages}


def _stages_text(stages: dict[str, str]) -> str:
    """Return a round's stages by how far they are, in one line."""
    by_state = {state: [name for name in stages if stages[name] == state] for state in ("done", "to do")}
    return "; ".join(f"{state}: {', '.join(names)}" for state, names in by_state.items() if names)


def _now(run: RunDir, rounds: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return what the running process says of itself; where it has said nothing yet, which stage is next."""
    try:
        told = read_json(run.progress)
        is_of_this_process = run.progress.stat().st_mtime >= run.lock.stat().st_mtime
    except (RunError, OSError):
        told, is_of_this_process = None, False
    if is_of_this_process and isinstance(told, dict) and told.keys() >= {"title", "done", "total", "time"}:
        return {**told, "age_s": max(0.0, time.time() - told["time"])}
    to_do = [
        f"{name.replace('-', ' ')} {stage}" for name, each in rounds.items() for stage in each if each[stage] == "to do"
    ]
    return {"title": to_do[0] if to_do else "finishing" if rounds else "starting"}


def _size_of(run: RunDir) -> int:
    """Return the bytes of all files; those that vanish meanwhile don't count."""
    total = 0
    for path in run.path.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except OSError:
            continue
    return total
