"""Rounds in trackers: the numbers of each round beside the training's own, under a run of the tracker's that is resumed."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tpt.config import RunConfig
from tpt.errors import RunError
from tpt.run.directory import RunDir
from tpt.run.notify import say_harmless
from tpt.system.child_python import is_installed
from tpt.system.jsonl import read_json, write_json

Log = Callable[[Mapping[str, float], int], None]
"""Takes numbers by name, and the round that they are of."""


def require_trackers(config: RunConfig) -> None:
    """Refuse trackers that are not installed before anything is computed.

    Raises:
        RunError: one is missing.
    """
    missing = [name for name in config.train.report_to if not is_installed(name)]
    if missing and config.rounds:
        raise RunError(
            f"train.report_to = {config.train.report_to}: not installed: {', '.join(missing)}. "
            f"pip install {' '.join(missing)}, or take it out; the same numbers are in the run directory"
        )


class Trackers:
    """The config's trackers. One that fails is said to, and harms no run; what it missed it is given the next time."""

    def __init__(self, run: RunDir, config: RunConfig) -> None:
        self._run = run
        self._config = config
        self._known = run.logs / "trackers.json"
        self._open: dict[str, tuple[Log, Callable[[], None]]] = {}

    def log(self, rounds: Mapping[int, Mapping[str, float]]) -> None:
        """Give every tracker the rounds that it has not been given yet."""
        for name in self._config.train.report_to:
            try:
                with _stdout_kept():
                    self._log(name, rounds)
            except Exception as error:  # a tracker's own: its server, its account, its versions
                say_harmless(
                    f"train.report_to: {name} did not take the round's numbers: {type(error).__name__}: {error}"
                )

    def close(self) -> None:
        """Tell the trackers that the run has ended, for now."""
        for name, (_, close) in self._open.items():
            try:
                with _stdout_kept():
                    close()
            except Exception as error:
                say_harmless(f"train.report_to: {name} could not be closed: {type(error).__name__}: {error}")
        self._open.clear()

    def _log(self, name: str, rounds: Mapping[int, Mapping[str, float]]) -> None:
        known = self._state()
        mine = known.setdefault(name, {})
        given = set(mine.setdefault("rounds", []))
        if not set(rounds) - given:
            return
        if name not in self._open:
            self._open[name] = _OPENERS[name](self._run, self._config, mine)
        for index in sorted(set(rounds) - given):
            self._open[name][0](rounds[index], index)
            mine["rounds"].append(index)
        write_json(self._known, known)

    def _state(self) -> dict[str, dict[str, Any]]:
        """Return what each tracker was given before: its own name of the run, and the rounds."""
        with contextlib.suppress(RunError):
            known = read_json(self._known)
            return known if isinstance(known, dict) else {}
        return {}


def _tensorboard(run: RunDir, config: RunConfig, known: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(run.logs / "tensorboard"))

    def log(numbers: Mapping[str, float], index: int) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        writer.add_event(Event(wall_time=time.time(), step=index, summary=Summary(value=values)))
        writer.flush()

    return log, writer.close


def _mlflow(run: RunDir, config: RunConfig, known: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    from mlflow import MlflowClient

    client = MlflowClient()
    if "id" not in known:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "Default")
        there = client.get_experiment_by_name(name)
        experiment = there.experiment_id if there else client.create_experiment(name)
        known["id"] = client.create_run(experiment, run_name=_name(run)).info.run_id
        client.log_param(known["id"], "model", config.model)
    client.update_run(known["id"], status="RUNNING")

    def log(numbers: Mapping[str, float], index: int) -> None:
        for name, value in numbers.items():
            client.log_metric(known["id"], name, value, step=index)

    return log, lambda: client.set_terminated(known["id"])


def _wandb(run: RunDir, config: RunConfig, known: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    import wandb

    project = os.environ.get("WANDB_PROJECT", "huggingface")  # where the training's own numbers go
    settings = config.model_dump(mode="json")
    folder = str(run.logs)
    opened = wandb.init(
        project=project, name=_name(run), id=known.get("id"), resume="allow", dir=folder, config=settings
    )
    known["id"] = opened.id
    return lambda numbers, index: opened.log(dict(numbers), step=index), opened.finish


def _trackio(run: RunDir, config: RunConfig, known: dict[str, Any]) -> tuple[Log, Callable[[], None]]:
    import trackio

    project = os.environ.get("TRACKIO_PROJECT", "huggingface")
    known.setdefault("id", f"{_name(run)}-{time.strftime('%Y%m%d-%H%M%S')}")
    settings = config.model_dump(mode="json")
    opened = trackio.init(project=project, name=known["id"], resume="allow", config=settings, embed=False)
    return lambda numbers, index: opened.log(dict(numbers), step=index), trackio.finish


_OPENERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb, "trackio": _trackio}


@contextlib.contextmanager
def _stdout_kept() -> Iterator[None]:
    """Have what a tracker prints go to stderr: a run's stdout is its result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _name(run: RunDir) -> str:
    return f"{run.path.resolve().name}-rounds"
