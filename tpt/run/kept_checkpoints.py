"""Which checkpoints a run keeps: each is as large as the model, and most rounds' are never read again."""

from __future__ import annotations

import shutil
from pathlib import Path

from tpt.model.adapter_folder import find_adapter
from tpt.run.directory import RunDir
from tpt.run.manifest import checkpoint_is_here
from tpt.system.folders import sync_names

_GOING = "checkpoint.going"


def drop_checkpoints(run: RunDir, *, best: int) -> list[int]:
    """Delete the checkpoints of a run but for the best round's, the last one's and those that these are adapters on.

    Returns the rounds whose checkpoint went. Killed in the middle, what is left of one is deleted by the next call.
    """
    rounds = [each for each in run.rounds() if each.index]
    kept = {each.path.resolve() for each in rounds if each.index in (best, rounds[-1].index)}
    for each in reversed(rounds):
        # Checkpoints are only ever on earlier ones.
        adapter = find_adapter(str(each.checkpoint)) if each.path.resolve() in kept else None
        kept |= {Path(adapter.base).resolve().parent} if adapter else set()
    dropped = []
    for each in rounds:
        going = each.path / _GOING
        if each.path.resolve() not in kept and checkpoint_is_here(each):
            each.checkpoint.rename(going)
            sync_names(each.path)
            dropped.append(each.index)
        shutil.rmtree(going, ignore_errors=True)
    return dropped
