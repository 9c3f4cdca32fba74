"""Traces that no model of the run sampled: taken in the order of their keys, and judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import QUICKSTART, TINY, Finished, Tpt, sets

from tpt.audit.import_rows import Reading
from tpt.audit.import_samples import Gold, import_samples
from tpt.config import parse_config
from tpt.config.stage_sections import data_needed_to_think
from tpt.errors import ConfigError
from tpt.records import Outcome, Problem, Trace
from tpt.run.directory import RunDir
from tpt.run.journal import Journal
from tpt.run.stage import StageContext, problems_by_id
from tpt.system.external_sort import sorted_rows
from tpt.system.jsonl import read_json, read_records, replace_records
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


def test_an_import_goes_by_questions_and_says_where_it_came_from(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "question": "B?", "answer": 1, "completion": ["#### 1", "#### 1."]},
        {"id": "a", "question": "another one?", "answer": 0, "completion": ["#### 0"]},
        {"id": "seven", "question": "b ?", "answer": 1, "completion": ["#### 5"]},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = import_samples([tmp_path / "log.jsonl"], tmp_path / "in", Reading({}), Gold((), "", ""))
    context = work(tmp_path, "data.source=file", f"data.file={tmp_path / 'in'}")
    # Problem a is asked otherwise there, so it is another one; b is there twice.
    assert take_traces(context, PROBLEMS) == {"traces": 3, "imported": told}
    found = list(Journal(context.round_dir.traces, context.round_dir.verdicts))
    assert [(trace.problem_id, trace.sample, str(verdict.outcome)) for trace, verdict in found] == [
        *(("b", 0, "CORRECT"), ("b", 1, "CORRECT"), ("b", 2, "WRONG")),
    ]
    with pytest.raises(ConfigError, match="no such file, and no folder that tpt import made"):
        take_traces(work(tmp_path, "data.source=file", f"data.file={tmp_path / 'none'}"), PROBLEMS)


def test_samples_that_are_paid_for_start_a_run_at_prune(finished: Finished, tpt: Tpt, tmp_path: Path) -> None:
    """From another tool's log to a trained model, through the real stages; the export's card says what was imported."""
    asked = problems_by_id(finished.path / "problems.jsonl")
    rows = [
        {"question": asked[each.problem_id].question, "gold": asked[each.problem_id].answer, "text": each.completion}
        for each in read_records(finished.path / "round-1" / "traces.jsonl", Trace)
        if each.finish_reason == "stop"
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tpt("import", tmp_path / "log.jsonl", "--to", tmp_path / "in").code == 0
    wanted = ["data.source=file", f"data.file={tmp_path / 'in'}", "evaluate.probe=0", "problems.max_heldout=4"]
    code, _, err = tpt("run", QUICKSTART, "--out", tmp_path / "run", *sets(*TINY, *wanted))
    assert code == 0, err
    counts = {name: read_json(tmp_path / "run" / "round-1" / f"{name}.json")["counts"] for name in ("think", "prune")}
    assert counts["think"]["traces"] == len(rows) and counts["think"]["imported"]["files"][0]["file"] == "log.jsonl"
    assert counts["prune"]["examples"] == 10
    assert tpt("export", tmp_path / "run", "--round", "1", "--to", tmp_path / "out").code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"Round 1 took {len(rows)} imported samples, from 1 file: `log.jsonl` (" in card


def test_a_file_may_be_for_the_first_rounds_alone() -> None:
    config = parse_config(TABLE, ["data.source=file", "data.file=t.jsonl", "data.file_rounds=2"])
    assert [config.data.source_of(index) for index in (1, 2, 3)] == ["file", "file", "self"]
    needed = [data_needed_to_think(config.data, index) for index in (2, 3)]
    assert needed == [{"source": "file", "file": "t.jsonl"}, {"source": "self", "file": ""}]
    with pytest.raises(ConfigError, match='file_rounds = 1 is of source = "file", got source = "self"'):
        parse_config(TABLE, ["data.file_rounds=1"])
