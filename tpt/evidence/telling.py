"""Tells trackers and the user's commands what the rounds came to, while a run goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from tpt.config import RunConfig
from tpt.evidence.alarms import alarms_of, in_words
from tpt.evidence.groups import forgetting
from tpt.evidence.round_numbers import round_numbers, sentence_of
from tpt.evidence.rounds import evidence_of
from tpt.records import RoundRecord
from tpt.run.directory import RunDir
from tpt.run.notify import notify
from tpt.run.trackers import Trackers, require_trackers


class Teller:
    """Tells of each round when it is done. Without a tracker or a command to tell, nothing is computed."""

    def __init__(self, run: RunDir, config: RunConfig) -> None:
        self._run = run
        self._config = config
        self._trackers = Trackers(run, config)
        self._last: dict[str, Any] = {}
        self._untold: list[RoundRecord] = []
        self._why = ""

    def round(self, records: Sequence[RoundRecord], *, is_new: bool) -> None:
        """Tell of the last of the finished rounds; one that an earlier process finished is told of with the next new one."""
        self._untold = list(records)
        if is_new:
            self._tell_trackers()
            self._notify("on_round", self._config.notify.on_round, {"event": "round", **self._about(), **self._last})

    def _tell_trackers(self) -> None:
        config, records = self._config, self._untold
        if not records or not (config.train.report_to or config.notify.on_round or config.notify.on_end):
            return
        evidence = evidence_of(self._run, records)
        alarms = alarms_of(self._run, records, config.alarms) + forgetting(evidence.also, level=evidence.level)
        numbers = {record.index: round_numbers(record, evidence, alarms) for record in records}
        record = records[-1]
        self._last = {
            "round": record.index,
            "rounds": config.rounds,
            "best": evidence.best,
            "sentence": sentence_of(record, evidence),
            "numbers": numbers[record.index],
            "alarms": [in_words(alarm) for alarm in alarms if alarm.round == record.index],
        }
        self._untold = []
        self._trackers.log(numbers)

    def finished(self, why: str) -> None:
        """Say why no further round is done, and tell of what an earlier process had no time to tell."""
        self._why = why
        self._tell_trackers()

    def close(self, error: BaseException | None) -> None:
        """Tell that the run has ended, and by what."""
        self._trackers.close()
        ended = (
            "finished"
            if self._why
            else "interrupted"
            if isinstance(error, KeyboardInterrupt | GeneratorExit)
            else "error"
        )
        because = self._why or str(error or "")
        told = {"event": "end", **self._about(), "ended": ended, "why": because, **self._last}
        self._notify("on_end", self._config.notify.on_end, told)

    def _about(self) -> dict[str, str]:
        path = self._run.path.resolve()
        return {"run": str(path), "name": path.name, "model": self._config.model}

    def _notify(self, name: str, command: str, told: dict[str, Any]) -> None:
        if command:
            notify(f"notify.{name}", command, told, timeout_s=self._config.notify.timeout_s)


@contextlib.contextmanager
def told(run: RunDir, config: RunConfig) -> Iterator[Teller]:
    """Yield what tells of a run's rounds, and of its end however it ends.

    Raises:
        RunError: a tracker is not installed.
    """
    require_trackers(config)
    teller = Teller(run, config)
    try:
        yield teller
    except BaseException as error:
        teller.close(error)
        raise
    teller.close(None)
