"""A run is finished when nothing of it is left to do, further sets that are scored at the end included."""

from __future__ import annotations

from pathlib import Path

import pytest
from scored_run import many, records_of, run_of

from tpt.config import RunConfig, load_config
from tpt.evidence.best_round import BestRound
from tpt.report.html.live import LivePage
from tpt.report.status import run_status
from tpt.rounds import round_record, stop_reason
from tpt.run.directory import RunDir
from tpt.run.manifest import write_manifest
from tpt.system.jsonl import read_json, write_json


def run_with_set(path: Path, rounds: int, also_rounds: str = "best") -> tuple[RunDir, str]:
    """A run whose rounds all have the same scores, and the stage of the further set in its config."""
    also = 'evaluate.also=[{source = "word_problems?size=5", name = "more"}]'
    settings = (also, f'evaluate.also_rounds="{also_rounds}"', f"rounds={rounds}", "stop.patience=0")
    run = run_of(path, *[many(1)] * (rounds + 1), settings=settings)
    write_json(run.base, {"model": "embedded", "digest": "ba5e" * 16})
    for place in run.rounds():
        for stage in place.stages:
            report = {"report": read_json(place.record)["evaluate"]} if stage == "evaluate" else {}
            write_manifest(place, stage, inputs={}, outputs={}, settings={}, counts={"wall_s": 1.0, **report})
        write_json(place.record, round_record(run, place))
    (source,) = load_config(run.config).evaluate.also
    return run, source.stage


@pytest.mark.parametrize(("also_rounds", "scored"), [("best", (0, 2)), ("all", (0, 1, 2))])
def test_a_run_whose_further_sets_are_left_is_not_finished(
    tmp_path: Path, also_rounds: str, scored: tuple[int, ...]
) -> None:
    run, stage = run_with_set(tmp_path / "run", 2, also_rounds)
    for index in scored:
        status = run_status(run)
        assert status["state"] == "not running" and status["rounds"][f"round-{index}"][stage] == "to do"
        assert status["next"] == f"go on with: tpt run {run.path}"
        assert not LivePage(run).status().ended
        write_manifest(run.round(index), stage, inputs={}, outputs={}, settings={}, counts={})
    status = run_status(run)
    assert status["state"] == "finished" and status["next"] == "all 2 rounds are done" and LivePage(run).status().ended


@pytest.mark.parametrize(
    ("rounds", "patience", "done", "said"),
    [
        (0, 2, 1, "no round is asked for (rounds = 0)"),
        (1, 2, 2, "the one round is done"),
        (3, 2, 4, "all 3 rounds are done"),
        (3, 1, 2, "no new best and no new highest held-out score after round 0 in 1 round (stop.patience = 1)"),
        (5, 2, 3, "no new best and no new highest held-out score after round 0 in 2 rounds (stop.patience = 2)"),
        (3, 2, 2, ""),
    ],
)
def test_why_no_further_round_is_done(tmp_path: Path, rounds: int, patience: int, done: int, said: str) -> None:
    config = RunConfig.model_validate({"model": "embedded", "rounds": rounds, "stop": {"patience": patience}})
    records = records_of(run_of(tmp_path, *[many(1)] * done))
    assert stop_reason(records, config, BestRound(0, 0, False)) == said
