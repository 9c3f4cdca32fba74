"""One arm with one seed, as a process of its own that ends when the comparison does, however that ends."""

from __future__ import annotations

import contextlib
import signal
import sys
from pathlib import Path

from tpt.compare.grpo import grpo_round
from tpt.config import load_config
from tpt.errors import TPTError
from tpt.rounds import Run, round_record
from tpt.run.lock import lock
from tpt.stage_process import do_stage
from tpt.system.jsonl import write_json
from tpt.system.parent import end_with_parent


def main() -> None:
    """Do the rounds of a run: config file, run directory, last round, tokens of GRPO (0: none), the comparison's id."""
    config, out, last, tokens, parent = sys.argv[1:]
    end_with_parent(int(parent))
    # So that the run ends its own processes before it goes.
    signal.signal(signal.SIGTERM, _leave)
    try:
        run = Run(Path(out), load_config(Path(config)), progress=True)
        _rounds(run, last=0 if int(tokens) else int(last))
        if int(tokens):
            _reinforced(run, tokens=int(tokens))
    except (TPTError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _rounds(run: Run, *, last: int) -> None:
    with contextlib.closing(run.rounds()) as records:  # type: ignore[type-var]  # a generator, which ends its server
        for record in records:
            if record.index >= last:
                break


def _reinforced(run: Run, *, tokens: int) -> None:
    """Train by reinforcement in place of the rounds, and score the model as any round's."""
    round_dir = run.dir.round(1)
    with lock(run.dir):
        grpo_round(run.dir, tokens=tokens)
        do_stage(run.dir.path, "evaluate", 1, progress=run.progress)
        write_json(round_dir.record, round_record(run.dir, round_dir))
