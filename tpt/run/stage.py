"""What every stage of a round has at hand: the run, the round, the config, and a progress display."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpt.config import RunConfig
from tpt.config.stage_sections import VERIFY_OPERATIONAL
from tpt.errors import RunError
from tpt.records import Problem
from tpt.run.directory import RoundDir, RunDir
from tpt.system.jsonl import iterate_records, read_json
from tpt.system.progress import Display
from tpt.verifiers.judge import formats_of


@dataclass(frozen=True, slots=True)
class StageContext:
    """One stage of one round, and what it needs to know."""

    run: RunDir
    round_dir: RoundDir
    config: RunConfig
    progress: bool

    def display(self, stage: str, total: int, *, spent_s: float) -> Display:
        """Return the stage's progress display; ``spent_s`` as the method of that name returned it when the stage began."""
        return Display(
            self._title(stage),
            total=total,
            enabled=self.progress,
            file=self.run.progress,
            spent_s=spent_s,
        )

    def spent_s(self, stage: str) -> float:
        """Return the seconds that killed processes gave to the stage last under way, where it is this one.

        They count as far as the last sign of life in ``logs/progress.json`` says.
        """
        try:
            told = read_json(self.run.progress)
        except (RunError, OSError):
            return 0.0
        # A title may end in what is counted: "round 1 think (solved)".
        if not isinstance(told, dict) or str(told.get("title")).partition(" (")[0] != self._title(stage):
            return 0.0
        spent_s = told.get("spent_s")
        return float(spent_s) if isinstance(spent_s, int | float) and 0 <= spent_s < math.inf else 0.0

    def _title(self, stage: str) -> str:
        return f"round {self.round_dir.index} {stage}"


def verification_settings(config: RunConfig, problems: Path) -> dict[str, Any]:
    """Return the settings that verdicts depend on."""
    kinds = {problem.kind for problem in iterate_records(problems, Problem)}
    left_out = set(VERIFY_OPERATIONAL)
    if config.verify.answer_format == "auto":
        # Runs of before there was the key are judged alike.
        left_out.add("answer_format")
    return {"formats": formats_of(kinds, config.verify), "verify": config.verify.model_dump(exclude=left_out)}


def problems_by_id(path: Path) -> dict[str, Problem]:
    """Return the problems of a file by their ids."""
    return {problem.id: problem for problem in iterate_records(path, Problem)}
