"""Uploads a finished run stage by stage, as ``tpt run`` does, from a process that can be killed."""

from __future__ import annotations

import sys

from tpt.run.directory import STAGES, RunDir
from tpt.run.lock import lock
from tpt.store import keeping, place_of

if __name__ == "__main__":
    run = RunDir(place_of(sys.argv[1]))
    print("ready", flush=True)
    sys.stdin.readline()
    with lock(run), keeping(run) as keeper:
        keeper.prepared()
        for place in run.rounds():
            for stage in STAGES if place.index else ("evaluate",):
                keeper.before(stage, place)
                keeper.after(stage, place)
            keeper.recorded(place)
