"""One arm with one seed, as a process of its own that ends when the comparison does, however that ends."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from pathlib import Path

from tpt.compare.budget import Limit
from tpt.compare.grpo import grpo_round
from tpt.config import RunConfig, load_config
from tpt.errors import TPTError
from tpt.records import RoundRecord
from tpt.rounds import Run, round_record
from tpt.run.lock import lock
from tpt.stage_process import do_stage
from tpt.system.jsonl import write_json
from tpt.system.parent import end_with_parent


def main() -> None:
    """Do the rounds of a run: config file, run directory, its limit, whether by GRPO, the comparison's process."""
    path, out, given, reinforced, parent = sys.argv[1:]
    end_with_parent(int(parent))
    # So that the run ends its own processes before it goes.
    signal.signal(signal.SIGTERM, _leave)
    try:
        config, limit = load_config(Path(path)), Limit(**json.loads(given))
        if int(reinforced):
            _reinforced(Run(Path(out), config, progress=True), limit)
        else:
            _rounds(Path(out), config, limit)
    except (TPTError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _rounds(path: Path, config: RunConfig, limit: Limit) -> None:
    """Go on until the limit; the config that is left there says how many rounds that were."""
    most = config.model_copy(update={"rounds": max(1, limit.most)})
    done = _until(Run(path, most, progress=True), limit)
    if done and done < most.rounds:
        run = Run(path, config.model_copy(update={"rounds": done}))
        with lock(run.dir):
            run.prepare()


def _until(run: Run, limit: Limit) -> int:
    """Do rounds until the limit, and return the last one's number."""
    done: list[RoundRecord] = []
    with contextlib.closing(run.rounds()) as records:  # type: ignore[type-var]  # a generator, which ends its server
        for record in records:
            done.append(record)
            if not limit.allows_round_after(done):
                break
    return done[-1].index


def _reinforced(run: Run, limit: Limit) -> None:
    """Score the base model, train by reinforcement in place of the rounds, and score the model as any round's."""
    _until(run, Limit(0, 0))
    round_dir = run.dir.round(1)
    with lock(run.dir):
        grpo_round(run.dir, limit)
        do_stage(run.dir.path, "evaluate", 1, progress=run.progress)
        write_json(round_dir.record, round_record(run.dir, round_dir))
