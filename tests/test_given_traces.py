"""Traces that no model of the run sampled: taken in the order of their keys, and judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tpt.config import parse_config
from tpt.errors import ConfigError
from tpt.records import Outcome, Problem, Trace
from tpt.run.directory import RunDir
from tpt.run.journal import Journal
from tpt.run.stage import StageContext
from tpt.system.external_sort import sorted_rows
from tpt.system.jsonl import read_records, replace_records
from tpt.think import take_traces

PROBLEMS = {
    name: Problem(name, f"{name}?", str(number), solution=f"so\n#### {number}" if number else None)
    for number, name in enumerate(["a", "b", "c"])
}
TABLE = {"model": "embedded", "problems": {"train": "a.jsonl", "heldout": "b.jsonl"}}


def work(tmp_path: Path, *overrides: str) -> StageContext:
    run = RunDir(tmp_path / "run")
    return StageContext(run, run.round(1), parse_config(TABLE, list(overrides)), progress=False)


def test_traces_of_a_file_are_sorted_and_judged_and_those_of_other_problems_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sorted_rows.__kwdefaults__, "part_bytes", 500)
    keys = [("c", 1), ("a", 0), ("x", 0), ("c", 0), ("b", 3), ("a", 7)]
    replace_records(tmp_path / "t.jsonl", [Trace(*key, f"#### {len(key[0])}", "stop", 1, 2) for key in keys])
    round_dir = work(tmp_path, "data.source=file", f"data.file={tmp_path / 't.jsonl'}")
    assert take_traces(round_dir, PROBLEMS) == {"traces": 5}
    found = list(Journal(round_dir.round_dir.traces, round_dir.round_dir.verdicts))
    assert [(trace.problem_id, trace.sample) for trace, _ in found] == sorted(key for key in keys if key[0] != "x")
    assert [verdict.outcome for _, verdict in found] == [Outcome.WRONG] * 2 + [Outcome.CORRECT] + [Outcome.WRONG] * 2


def test_half_a_surrogate_pair_in_a_file_is_a_replacement_character(tmp_path: Path) -> None:
    row = {"problem_id": "a", "sample": 0, "completion": "\ud83d 0", "finish_reason": "stop", "completion_tokens": 1}
    (tmp_path / "t.jsonl").write_text(json.dumps({**row, "seed": 2}) + "\n")
    context = work(tmp_path, "data.source=file", f"data.file={tmp_path / 't.jsonl'}")
    assert take_traces(context, PROBLEMS) == {"traces": 1}
    assert [each.completion for each in read_records(context.round_dir.traces, Trace)] == ["\ufffd 0"]


def test_people_s_solutions_are_taken_where_there_are_some(tmp_path: Path) -> None:
    round_dir = work(tmp_path, "preset=human")
    assert take_traces(round_dir, PROBLEMS) == {"traces": 2}
    assert all(verdict.strict for _, verdict in Journal(round_dir.round_dir.traces, round_dir.round_dir.verdicts))
    with pytest.raises(ConfigError, match=r"no training problem \(a\.jsonl\) has a solution"):
        take_traces(round_dir, {"a": PROBLEMS["a"]})
