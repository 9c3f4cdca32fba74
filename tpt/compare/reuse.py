"""What two arms with the same seed would compute alike is computed once: the base model's score, the first traces.

A stage's output is taken over from another run only where every setting that the stage depends on is the same. Should
that list ever be too short, the stage itself finds that its manifest was made from other inputs and says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from tpt.config import RunConfig, load_config
from tpt.config.stage_sections import data_needed_to_think, pruning_needed_to_think
from tpt.run.directory import RoundDir, RunDir
from tpt.run.manifest import require_unchanged
from tpt.system.folders import beside, sync_folder

_MODEL_AND_PROBLEMS = ("seed", "threads", "model", "problems", "prompt", "engine", "verify")
_THOUGHT = ("traces.jsonl", "verdicts.jsonl", "surplus.jsonl", "think.json")


def take_over(run: RunDir, config: RunConfig, others: Iterable[RunDir], *, first_traces: bool) -> None:
    """Give a run that has not begun a finished base score, and perhaps first traces, of one of the other runs."""
    for other in others:
        if not other.exists() or other.path == run.path:
            continue
        theirs = load_config(other.config)
        if _base_key(theirs) != _base_key(config):
            continue
        _take(other.round(0), run.round(0), "evaluate")
        if first_traces and _think_key(theirs) == _think_key(config):
            _take(other.round(1), run.round(1), "think")


def _base_key(config: RunConfig) -> object:
    return config.model_dump(include={*_MODEL_AND_PROBLEMS, "evaluate"})


def _think_key(config: RunConfig) -> object:
    chosen = pruning_needed_to_think(config.prune, config.think)
    return [chosen, config.think.model_dump(), data_needed_to_think(config.data, 1)]


def _take(source: RoundDir, target: RoundDir, stage: str) -> None:
    """Copy a finished stage into a round that has not begun; the folder appears under its name when it is whole."""
    if target.path.exists() or not source.manifest(stage).exists():
        return
    require_unchanged(source, stage)
    partial = beside(target.path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if stage == "evaluate":
        shutil.copytree(source.evaluate, partial / source.evaluate.name)
        shutil.copy2(source.manifest(stage), partial)
    else:
        for name in _THOUGHT:
            if (source.path / name).exists():
                shutil.copy2(source.path / name, partial)
    sync_folder(partial)
    os.replace(partial, target.path)
