"""Uploads a finished run stage by stage, as ``tpt run`` does, from a process that can be killed."""

from __future__ import annotations

import sys

from tpt.run.directory import STAGES, RunDir
from tpt.run.lock import lock
from tpt.store import synced, working_copy_of

if __name__ == "__main__":
    run = RunDir(working_copy_of(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    with lock(run), synced(run) as sync:
        sync.prepared()
        for round_dir in run.rounds():
            for stage in STAGES if round_dir.index else ("evaluate",):
                sync.before(stage, round_dir)
                sync.after(stage, round_dir)
            sync.recorded(round_dir)
