"""What a stage starts from: the config a run may be resumed with, the order of its problems, what its verdicts depend on."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import QUICKSTART

from tpt.config import load_config, render_toml
from tpt.errors import OwnCodeError
from tpt.records import Outcome, Problem, Verdict
from tpt.run.directory import RunDir
from tpt.run.problem_order import Tried, problem_order, walked_order
from tpt.run.resumed_config import changed_keys, with_absolute_paths
from tpt.run.stage import StageContext, problems_by_id, verification_settings
from tpt.system.jsonl import read_json, replace_records
from tpt.verifiers.judge import FORMATS

PROBLEMS = {name: Problem(name, "1 + 1?", "2") for name in "abcdef"}


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    run.config.write_text(render_toml(load_config(QUICKSTART)))
    return run


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ([], []),
        (["rounds=7", "stop.patience=3", "threads=2", "alarms.format_share=0.5"], []),
        (["stop.alpha=0.01", "stop.rule=maximum"], []),
        (["stop.alpha=0.01", "stop.rollback=true"], ["stop.alpha", "stop.rollback"]),
        (["train.learning_rate=0.5", "verify.workers=3"], []),
        (["seed=9", "think.samples=3"], ["seed", "think.samples"]),
    ],
)
def test_a_run_is_resumed_with_what_no_finished_stage_depends_on(
    run: RunDir, settings: list[str], changed: list[str]
) -> None:
    found = changed_keys(run, load_config(QUICKSTART, settings)).splitlines()
    assert sorted(line.split(":")[0].strip() for line in found) == changed


def test_how_a_run_trains_may_change_until_it_has_trained(run: RunDir) -> None:
    settings = load_config(QUICKSTART, ["train.learning_rate=0.5"])
    run.round(1).path.mkdir()
    assert changed_keys(run, settings) == ""
    run.round(1).manifest("train").touch()
    before = load_config(QUICKSTART).train.learning_rate
    assert changed_keys(run, settings) == f"  train.learning_rate: {before!r} there, 0.5 now"


def test_paths_mean_the_same_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "embedded").mkdir()
    config = load_config(QUICKSTART)
    for name, meant in (("embedded", "embedded"), ("model", str(tmp_path / "model")), ("owner/name", "owner/name")):
        assert with_absolute_paths(config.model_copy(update={"model": name})).model == meant
    data = config.data.model_copy(update={"file": "examples.jsonl"})
    told = with_absolute_paths(config.model_copy(update={"data": data})).data.file
    assert told == str(tmp_path / "examples.jsonl")


def test_the_order_of_problems_is_random_and_the_round_s_own() -> None:
    order = problem_order(list(PROBLEMS), 1, 2)
    assert sorted(order) == sorted(PROBLEMS) and order == problem_order(list(PROBLEMS)[::-1], 1, 2)
    assert len({tuple(problem_order(list(PROBLEMS), seed, index)) for seed in (1, 2) for index in (1, 2, 3)}) > 3


OWN = """
from pathlib import Path
def fewest(problems, tried, source):
    Path({told!r}).write_text(repr({{name: tuple(each) for name, each in tried.items()}}))
    return sorted((problem.id for problem in problems), key=lambda name: tried[name].right)
def twice(problems, tried, source):
    return ["a", "a"]
def none(problems, tried, source):
    return []
def others(problems, tried, source):
    return ["a", "z"]
def text(problems, tried, source):
    return "ab"
"""


def context(run: RunDir, index: int, *settings: str) -> StageContext:
    return StageContext(run, run.round(index), load_config(QUICKSTART, list(settings)), progress=False)


def test_an_order_of_one_s_own_is_told_of_earlier_rounds(run: RunDir, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN.format(told=str(tmp_path / "told")))
    right, wrong = Outcome.CORRECT, Outcome.WRONG
    for index, rows in (
        (1, [("a", right), ("a", wrong), ("z", right)]),
        (2, [("a", right), ("b", right)]),
        (3, [("c", right)]),
    ):
        run.round(index).path.mkdir()
        verdicts = [Verdict(name, sample, outcome, False, None) for sample, (name, outcome) in enumerate(rows)]
        replace_records(run.round(index).verdicts, verdicts)
    assert walked_order(context(run, 3), PROBLEMS) == problem_order(list(PROBLEMS), load_config(QUICKSTART).seed, 3)
    own = f"think.order={tmp_path / 'own.py'}:"
    assert walked_order(context(run, 3, f"{own}fewest"), PROBLEMS) == ["c", "d", "e", "f", "b", "a"]
    told = {"a": (3, 2), "b": (1, 1), **dict.fromkeys("cdef", (0, 0))}
    assert (tmp_path / "told").read_text() == repr(told)
    assert Tried(0, 0) == (0, 0)
    for name, why in (
        ("twice", "it returned a problem twice"),
        ("none", "it returned no problems"),
        ("others", "it must return a list of ids of the problems it was given"),
        ("text", "it must return a list of ids of the problems it was given"),
    ):
        with pytest.raises(OwnCodeError, match=rf"think\.order = .*:{name}: {why}$"):
            walked_order(context(run, 3, f"{own}{name}"), PROBLEMS)


def test_verdicts_depend_on_the_formats_of_the_problems_and_on_how_they_are_judged(run: RunDir) -> None:
    problems = [Problem("a", "1 + 1?", "2"), Problem("b", "Which?\n(A) x\n(B) y", "A", "choice")]
    replace_records(run.problems, problems)
    assert problems_by_id(run.problems) == {each.id: each for each in problems}
    plain = verification_settings(load_config(QUICKSTART), run.problems)
    assert plain["formats"] == {"number": FORMATS["number"], "choice": FORMATS["choice"]}
    assert plain == verification_settings(load_config(QUICKSTART, ["verify.workers=3"]), run.problems)
    assert not {"workers", "answer_format"} & plain["verify"].keys() and "timeout_s" in plain["verify"]
    boxed = verification_settings(load_config(QUICKSTART, ["verify.answer_format=boxed"]), run.problems)
    assert boxed["verify"] == {**plain["verify"], "answer_format": "boxed"}
    assert boxed["formats"]["number"].startswith("number/2 boxed: ")


def test_progress_is_kept_where_status_looks_for_it(run: RunDir) -> None:
    run.logs.mkdir()
    with context(run, 2).display("think", 7, spent_s=0.0):
        table = read_json(run.progress)
        assert (table["title"], table["total"]) == ("round 2 think", 7)
    assert not run.progress.exists()
