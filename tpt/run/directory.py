"""Where everything of a run lies, and its event log."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from tpt.errors import RunError
from tpt.sandbox.bubblewrap import hide

STAGES = ("think", "prune", "train", "evaluate")
"""The stages of a round, in order."""

_ROUND = re.compile(r"round-(0|[1-9][0-9]{0,8})")


class RunDir:
    """The layout of a run directory."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        hide(self.path)  # from the programs that are judged: it holds the gold answers
        self.config = self.path / "config.toml"
        self.base = self.path / "base.json"
        self.rehearsal = self.path / "rehearsal.json"
        self.problems = self.path / "problems.jsonl"
        self.heldout = self.path / "heldout.jsonl"
        self.frozen = self.path / "frozen.json"
        self.best = self.path / "best"
        self.report = self.path / "report.md"
        self.logs = self.path / "logs"
        self.progress = self.logs / "progress.json"
        self.events = self.logs / "events.jsonl"
        self.log = self.logs / "run.log"
        self.lock = self.path / "lock"

    def also(self, stage: str) -> Path:
        """Return where the problems of a further set that is scored lie, frozen."""
        return self.path / "also" / f"{stage}.jsonl"

    def problem_files(self) -> dict[str, Path]:
        """Return the files of frozen problems that are there, by their names within the run."""
        files = [self.problems, self.heldout, *sorted((self.path / "also").glob("*.jsonl"))]
        return {path.relative_to(self.path).as_posix(): path for path in files if path.exists()}

    def is_problem_file(self, name: str) -> bool:
        """Return whether a name within the run is that of frozen problems, there or not."""
        path = self.path / name
        return path in (self.problems, self.heldout) or (path.parent == self.path / "also" and path.suffix == ".jsonl")

    def round(self, index: int) -> RoundDir:
        """Return the layout of one round."""
        return RoundDir(self.path / f"round-{index}", index)

    def rounds(self) -> list[RoundDir]:
        """Return the rounds that have been begun, in order."""
        found = [_ROUND.fullmatch(path.name) for path in self.path.glob("round-*") if path.is_dir()]
        return [self.round(index) for index in sorted(int(match[1]) for match in found if match)]

    def exists(self) -> bool:
        """Return whether a run is there, finished or not."""
        return is_run(self.path)

    def require_own(self) -> None:
        """Raise RunError where the folder holds files that are no run's, and no run."""
        if self.exists() or not self.path.is_dir():
            return
        own = {each.name for each in vars(self).values() if isinstance(each, Path) and each.parent == self.path}
        names = sorted(each.name for each in self.path.iterdir() if not each.name.startswith("."))
        for name in names:
            if name not in own | {"also", "cache"} and not _ROUND.fullmatch(name):
                raise RunError(
                    f"{self.path}: a folder with other files in it, such as {name!r}. A run needs a folder of its own: "
                    f"--out {self.path / 'run'}"
                )

    def require(self) -> None:
        """Raise RunError unless this is a run directory."""
        if self.path.is_file():
            raise RunError(f"{self.path}: a file, not a run directory")
        if not self.exists():
            raise RunError(
                f"{self.path}: not a run directory (no config.toml). Start one with: tpt run run.toml --out {self.path}"
            )

    def require_problems(self) -> None:
        """Raise RunError unless this is a run directory whose problems are there: they come after its config."""
        self.require()
        if not (self.problems.exists() and self.heldout.exists()):
            raise RunError(f"{self.path}: its problems were not read to the end yet. Go on with: tpt run {self.path}")


def is_run(path: Path | str) -> bool:
    """Return whether a path that may be anything else is a run directory."""
    return (Path(path) / "config.toml").is_file()


def require_no_run(path: Path, instead: str) -> None:
    """Raise RunError for a run directory where files in one are meant, such as ``instead``."""
    if is_run(path):
        raise RunError(f"{path} is a run directory. Name {instead}")


class ScoredDir:
    """The layout of what one model was scored by on one set of problems."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.traces = path / "traces.jsonl"
        self.verdicts = path / "verdicts.jsonl"
        self.greedy = path / "greedy"
        self.greedy_traces = self.greedy / "traces.jsonl"
        self.greedy_verdicts = self.greedy / "verdicts.jsonl"

    @property
    def files(self) -> dict[str, Path]:
        """Its files, by the names that a manifest has for them."""
        return {
            "traces": self.traces,
            "verdicts": self.verdicts,
            "greedy_traces": self.greedy_traces,
            "greedy_verdicts": self.greedy_verdicts,
        }


class RoundDir:
    """The layout of one round of a run."""

    def __init__(self, path: Path, index: int) -> None:
        self.path = path
        self.index = index
        self.traces = path / "traces.jsonl"
        self.verdicts = path / "verdicts.jsonl"
        self.surplus = path / "surplus.jsonl"
        self.examples = path / "examples.jsonl"
        self.checkpoint = path / "checkpoint"
        self.evaluate = path / "evaluate"
        self.scored = ScoredDir(self.evaluate)
        self.evaluate_traces, self.evaluate_verdicts = self.scored.traces, self.scored.verdicts
        self.evaluate_greedy = self.scored.greedy
        self.greedy_traces, self.greedy_verdicts = self.scored.greedy_traces, self.scored.greedy_verdicts
        self.record = path / "round.json"

    @property
    def stages(self) -> tuple[str, ...]:
        """The round's stages, in order: round 0 only scores the base model."""
        return STAGES if self.index else ("evaluate",)

    @property
    def evaluate_diversity(self) -> Path:
        """Where the diversity of each held-out problem's traces lies; runs of before had another name for the file."""
        old, new = self.evaluate / "variety.jsonl", self.evaluate / "diversity.jsonl"
        return old if old.exists() and not new.exists() else new

    def also(self, stage: str) -> ScoredDir:
        """Return what a further set of problems was scored by."""
        return ScoredDir(self.path / stage)

    def outputs(self, stage: str) -> dict[str, Path]:
        """Return what a stage's manifest may name, and where it lies; earlier versions' names too."""
        outputs = {
            "think": {"traces": self.traces, "verdicts": self.verdicts},
            "prune": {"examples": self.examples},
            "train": {"checkpoint": self.checkpoint},
            "evaluate": {
                **self.scored.files,
                "diversity": self.evaluate / "diversity.jsonl",
                "variety": self.evaluate / "variety.jsonl",
            },
        }
        return outputs[stage] if stage in outputs else self.also(stage).files

    def frozen_inputs(self, stage: str) -> dict[str, Path]:
        """Return the run's frozen problems that a stage reads, by the names that its manifest has for them."""
        run = RunDir(self.path.parent)
        frozen: dict[str, dict[str, Path]] = {"evaluate": {"heldout problems": run.heldout}, "train": {}}
        return frozen.get(stage, {"problems": run.problems if stage in STAGES else run.also(stage)})

    def manifest(self, stage: str) -> Path:
        """Return where a stage's manifest lies; the stage is done when it is there."""
        return self.path / f"{stage}.json"


def stage_of(path: Path) -> tuple[RoundDir, str] | None:
    """Return the round and the stage that wrote a file of traces or verdicts; None for a file outside of runs."""
    folder = path.resolve().parent
    for place in (folder, folder.parent):
        stage, round_path = ("think", place) if _ROUND.fullmatch(place.name) else (place.name, place.parent)
        if match := _ROUND.fullmatch(round_path.name):
            return RoundDir(round_path, int(match[1])), stage
    return None


def set_aside(round_dir: RoundDir) -> None:
    """Take a round that finished no stage out of its run: samples get another name, a folder without any is removed."""
    sampled = any(path.stat().st_size for path in round_dir.path.rglob("traces.jsonl"))
    if not sampled:
        shutil.rmtree(round_dir.path)
        return
    names = (round_dir.path.with_name(f"{round_dir.path.name}.other-config-{number}") for number in itertools.count(1))
    round_dir.path.rename(next(name for name in names if not name.exists()))


def log_event(run: RunDir, event: str, *, text: str = "", **details: Any) -> None:
    """Append a timed line to the run's event log, and to run.log the same to read, with a longer ``text`` if there is one."""
    run.logs.mkdir(parents=True, exist_ok=True)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = json.dumps({"time": now, "event": event, **details})
    with run.events.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    said = [now, event, *(f"{name}={value}" for name, value in details.items()), *([text] if text else [])]
    with run.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(" ".join(said).replace("\n", "\n    ") + "\n")


def log_failure(run: RunDir, error: BaseException) -> None:
    """Keep what ended a run in its logs, where there is a run and its disk has room."""
    if isinstance(error, GeneratorExit) or not run.exists():
        return
    with contextlib.suppress(OSError):
        if isinstance(error, KeyboardInterrupt):
            log_event(run, "interrupted")
        else:
            log_event(run, "failed", error=type(error).__name__, message=str(error))
