"""How often held-out problems were looked at: whoever looks often enough sees a gain that is not there.

Every trained model that is scored leaves a line in a ledger beside the runs. A look's p-value is then also told for somebody
who may stop at whichever look is good: the k-th look spends 1 / (k (k + 1)) of the level, and as these sum to 1 over however
many looks there will be, no more than that level of all such people ever claim a gain that is not there.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tpt.evidence.cards import Evidence
from tpt.records import Look
from tpt.run.directory import RunDir
from tpt.run.outputs import FileDigests
from tpt.system.jsonl import to_line

LEDGER = "heldout-looks.jsonl"
_LEVELS = 4
"""Folders above a run in which a ledger is looked for."""


@dataclass(frozen=True, slots=True)
class Looks:
    """How often a run's held-out problems were looked at, and what that leaves of its best or newest round's gain."""

    models: int
    """Trained models that were scored on them, those of other runs too."""
    other_runs: int
    round: int
    """The best round, or the last where the base model is the best."""
    look: int
    """Which look it was, from 1."""
    p_value: float
    """Of its strict gain over the base model on all held-out problems, for this look alone."""
    p_any_time: float
    """The same for somebody who may have stopped at any look before it."""


def ledger_of(run: RunDir) -> Path:
    """Return where looks are written down: the nearest ledger in the folders above the run, or a new one beside it."""
    above = list(run.path.absolute().parents)[:_LEVELS]
    return next((each / LEDGER for each in above if (each / LEDGER).is_file()), above[0] / LEDGER)


def record_look(run: RunDir, round_index: int) -> None:
    """Write down that a round's model was scored, unless it is written already; where nothing can be written, don't."""
    look = Look(_heldout_digest(run), str(run.path.absolute()), round_index)
    with contextlib.suppress(OSError):
        ledger = ledger_of(run)
        if look in _read(ledger):
            return
        # One write at the end of the file, as other runs may be writing too.
        descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, to_line(look))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def looks_of(run: RunDir, evidence: Evidence) -> Looks | None:
    """Return the looks at a run's held-out problems; None while no trained round is scored and written down."""
    trained = [card for card in evidence.rounds if card.to_base]
    card = next((each for each in trained if each.best), trained[-1] if trained else None)
    if card is None or card.to_base is None:
        return None
    heldout, path = _heldout_digest(run), str(run.path.absolute())
    looks = [each for each in _read(ledger_of(run)) if each.heldout == heldout]
    own = Look(heldout, path, card.round)
    if own not in looks:
        return None
    look, p_value = looks.index(own) + 1, card.to_base.strict.p_value
    others = {each.run for each in looks} - {path}
    return Looks(len(looks), len(others), card.round, look, p_value, any_time_p(p_value, look))


def any_time_p(p_value: float, look: int) -> float:
    """Return a p-value that holds whenever one stops looking; ``look`` counts from 1."""
    return min(1.0, p_value * look * (look + 1))


def _heldout_digest(run: RunDir) -> str:
    return FileDigests.of_run(run.path).of(run.heldout)


def _read(ledger: Path) -> list[Look]:
    """Return the looks in order, each once, without damaged lines: whatever writes beside the runs may die at it."""
    found: dict[Look, None] = {}
    with contextlib.suppress(OSError):
        for line in ledger.read_bytes().splitlines() if ledger.is_file() else []:
            with contextlib.suppress(ValueError):
                found[msgspec.json.decode(line, type=Look)] = None
    return list(found)
