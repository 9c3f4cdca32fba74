"""Further sets that a run scores (``evaluate.also``): real stages on the embedded model, killed and gone on with."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import QUICKSTART, TINY, Tpt, sets
from test_rounds import kill_after

from tpt.also import prompt_for
from tpt.config import RunConfig, load_config, parse_config
from tpt.config.also_section import AlsoSource
from tpt.config.answer_format import PROGRAM_REQUEST, REQUESTS
from tpt.errors import ConfigError, ProblemError, RunError, StaleStageError
from tpt.plan import PlanOptions, plan_run
from tpt.problems import load_problems
from tpt.records import Problem, Trace, Verdict
from tpt.report.html.trace_data import trace_data
from tpt.report.summary import summary_of
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.lock import lock
from tpt.run.manifest import load_manifest
from tpt.stage_process import StageServer, do_stage
from tpt.system.jsonl import read_records

SEEDED = "word_problems?split=heldout&seed=9&size=12"
GENERATED = f'evaluate.also=[{{source = "{SEEDED}", name = "other seed", samples = 3}}]'


def config_with(*also: str) -> RunConfig:
    return load_config(QUICKSTART, [*TINY, *also])


def own_file(path: Path, *rows: tuple[str, str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("question", "answer"), *rows])
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = RunDir(tmp_path_factory.mktemp("also") / "run")
    assert len(list(Run(run.path, config_with(GENERATED)).rounds())) == 2
    return run


def stage_of(run: RunDir) -> str:
    (source,) = load_config(run.config).evaluate.also
    return source.stage


def test_base_and_last_round_are_scored_on_it_with_its_own_samples(finished: RunDir) -> None:
    stage = stage_of(finished)
    assert stage.startswith("also-other_seed-")
    assert {problem.id for problem in read_records(finished.also(stage), Problem)} == {
        problem.id for problem in load_problems(SEEDED)
    }
    for index in (0, 1):
        place = finished.round(index).also(stage)
        assert len(read_records(place.traces, Trace)) == len(read_records(place.verdicts, Verdict)) == 36
        assert len(read_records(place.greedy_verdicts, Verdict)) == 12
        manifest = load_manifest(finished.round(index).manifest(stage))
        assert manifest["counts"]["report"]["problems"] == 12
        assert manifest["outputs"].keys() == {"traces", "verdicts", "greedy_traces", "greedy_verdicts"}
        assert manifest["settings"]["source"] == SEEDED


def test_the_held_out_scores_are_the_same_bytes_as_without(finished: RunDir, tiny_run: RunDir) -> None:
    for index in (0, 1):
        with_it, without = (run.round(index).scored.files for run in (finished, tiny_run))
        assert {name: path.read_bytes() for name, path in with_it.items()} == {
            name: path.read_bytes() for name, path in without.items()
        }


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = RunDir(tmp_path_factory.mktemp("tiny") / "run")
    list(Run(run.path, config_with()).rounds())
    return run


def test_a_set_may_be_added_to_a_finished_run(tiny_run: RunDir, finished: RunDir) -> None:
    before = tiny_run.round(1).record.read_bytes()
    assert len(list(Run(tiny_run.path, config_with(GENERATED)).rounds())) == 2
    assert tiny_run.round(1).record.read_bytes() == before
    stage = stage_of(tiny_run)
    for index in (0, 1):
        got, wanted = (run.round(index).also(stage) for run in (tiny_run, finished))
        assert {name: path.read_bytes() for name, path in got.files.items()} == {
            name: path.read_bytes() for name, path in wanted.files.items()
        }


def test_killed_in_a_further_set_and_gone_on(finished: RunDir, tmp_path: Path) -> None:
    stage, config = stage_of(finished), config_with(GENERATED, "engine.slots=2")
    run = RunDir(tmp_path / "run")
    Run(run.path, config).prepare()
    with lock(run) as held, StageServer(run.path, lock_descriptor=held.descriptor, progress=False) as server:
        server.do("evaluate", 0)
        struck = 0
        for delay_s in (0.3, 0.6, 0.9):
            killer = threading.Thread(target=kill_after, args=(server, delay_s))
            killer.start()
            try:
                server.do(stage, 0)
            except RunError as error:
                assert "killed by signal 9" in str(error)
                struck += 1
            killer.join()
            run.round(0).manifest(stage).unlink(missing_ok=True)
        server.do(stage, 0)
    assert struck
    got, wanted = run.round(0).also(stage), finished.round(0).also(stage)
    assert got.traces.read_bytes() == wanted.traces.read_bytes()
    assert got.greedy_traces.read_bytes() == wanted.greedy_traces.read_bytes()


def test_another_model_than_the_one_scored_is_noticed(finished: RunDir) -> None:
    manifest = finished.round(0).manifest(stage_of(finished))
    kept = manifest.read_text()
    changed = json.loads(kept)
    changed["inputs"]["model"] = "0" * 64
    del changed["files"], changed["digest"]  # as earlier versions wrote it: without a digest of its own
    manifest.write_text(json.dumps(changed))
    try:
        with pytest.raises(StaleStageError, match="made from another model"):
            do_stage(finished.path, stage_of(finished), 0)
    finally:
        manifest.write_text(kept)


def test_every_round_is_scored_where_all_are_asked_for(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    settings = [GENERATED, 'evaluate.also_rounds="all"', "rounds=2", "stop.patience=0"]
    list(Run(run.path, config_with(*settings)).rounds())
    assert [run.round(index).manifest(stage_of(run)).exists() for index in range(3)] == [True] * 3


def test_report_status_and_show_know_it(tpt: Tpt, finished: RunDir) -> None:
    out = tpt("report", finished.path, "--html").out
    assert "also scored  problems" in out
    assert "other seed" in out
    for name in ("report.md", "report.html"):
        assert "Scored besides" in (finished.path / name).read_text()
    assert f"done: evaluate, {stage_of(finished)}" in tpt("status", finished.path).out
    shown = tpt("show", finished.path, "--round", 1, "--problem", load_problems(SEEDED)[0].id)
    assert shown.code == 0


def test_the_model_card_has_it(tpt: Tpt, finished: RunDir, tmp_path: Path) -> None:
    assert tpt("export", finished.path, "--to", tmp_path / "out", "--round", "last").code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Scored besides" in card
    assert "| other seed | 12 x 3 | 1 |" in card
    assert "and the further sets above was measured" in card


def test_what_is_trained_on_is_refused_as_a_further_set(tmp_path: Path, fails: Callable[..., str]) -> None:
    seen = load_problems("word_problems?split=train&size=3")[2]
    path = own_file(tmp_path / "seen.csv", ("Ann has 2 nuts?", "2"), (seen.question.upper(), seen.answer))
    with pytest.raises(ProblemError, match=r"evaluate.also, '.*seen.csv': .* share the question"):
        Run(tmp_path / "run", config_with(f'evaluate.also=["{path}"]')).prepare()
    assert not (tmp_path / "run" / "config.toml").exists()
    said = fails("run", QUICKSTART, "--dry-run", *sets(*TINY, f'evaluate.also=["{path}"]'))
    assert "share the question" in said


def test_one_that_is_added_later_is_held_against_what_was_trained_on(tiny_run: RunDir, tmp_path: Path) -> None:
    seen = read_records(tiny_run.problems, Problem)[0]
    path = own_file(tmp_path / "seen.csv", (seen.question, seen.answer))
    with pytest.raises(ProblemError, match="share the question"):
        Run(tiny_run.path, config_with(f'evaluate.also=["{path}"]')).prepare()


def test_golds_that_fail_their_own_verifier_are_refused(tmp_path: Path) -> None:
    path = own_file(tmp_path / "bad.csv", ("Ann has 2 nuts?", "two or three"))
    with pytest.raises(ProblemError, match=r"evaluate.also, '.*bad.csv': 1 of 1 gold answers"):
        Run(tmp_path / "run", config_with(f'evaluate.also=["{path}"]')).prepare()


def test_a_plan_counts_it(tmp_path: Path) -> None:
    def stages(*settings: str) -> list[tuple[int, str, int]]:
        planned = plan_run(config_with(GENERATED, *settings), tmp_path / "none", PlanOptions())
        return [(each.round, each.stage.rsplit("-", 1)[0], each.samples) for each in planned.stages]

    assert stages()[-2:] == [(0, "also-other_seed", 48), (1, "also-other_seed", 48)]
    everything = stages('evaluate.also_rounds="all"', "rounds=2")
    assert [index for index, stage, _ in everything if stage.startswith("also")] == [0, 1, 2]
    assert not any(stage.startswith("also") for _, stage, _ in stages("evaluate.also=[]"))


def test_a_plan_of_a_finished_run_has_what_was_measured(finished: RunDir) -> None:
    planned = plan_run(load_config(finished.config), finished.path, PlanOptions())
    assert [(each.stage, each.done) for each in planned.stages[-2:]] == [(stage_of(finished), True)] * 2


def test_tpt_score_scores_what_it_is_asked_for_alone(tpt: Tpt, finished: RunDir, tmp_path: Path) -> None:
    assert tpt("score", finished.path, "--round", 1, "--out", tmp_path / "scored").code == 0
    assert list((tmp_path / "scored").rglob("also*")) == []


def test_score_takes_the_options_of_a_source(tpt: Tpt, finished: RunDir, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("ask,gold\nWhat is 6 plus 12?,18\n")
    columns = ("--column", "question=ask", "--column", "answer=gold", "--kind", "exact")
    small = ("--samples", 1, "--max-tokens", 8, "--out", tmp_path / "scored")
    assert tpt("score", finished.path, mine, "--round", 0, *columns, *small).code == 0
    (problem,) = read_records(RunDir(tmp_path / "scored").heldout, Problem)
    assert (problem.question, problem.answer, problem.kind) == ("What is 6 plus 12?", "18", "exact")
    refused = tpt("score", finished.path, *columns)
    assert refused.code == 2 and "--column and --kind say how PROBLEMS are read, and there are none" in refused.err


def test_its_traces_are_in_the_page(finished: RunDir) -> None:
    stage = stage_of(finished)
    records = summary_of(finished).records
    found = trace_data(finished, records, most=0)
    problems = read_records(finished.also(stage), Problem)
    assert [name for name, _ in found.index["sets"]] == ["held out", "training", "other seed"]
    assert found.index["sets"][2][1] == len(problems)
    start = len(found.index["ids"]) - len(problems)
    # Both sets count their problems from 0: no two have one name.
    ids = found.index["ids"]
    assert [each.removeprefix("other seed/") for each in ids[start:]] == sorted(problem.id for problem in problems)
    assert len(set(ids)) == len(ids) and ids[start].startswith("other seed/")
    for each in (record.index for record in records):
        verdicts = read_records(finished.round(each).also(stage).verdicts, Verdict)
        tallies = found.index["tallies"][str(each)][start:]
        assert sum(tally[0] for tally in tallies) == len(verdicts)
        assert sum(tally[1] for tally in tallies) == sum(verdict.strict for verdict in verdicts)


MATHS = parse_config({"prompt": {"system": "Be brief.", "few_shot": [{"question": "1+1?", "answer": "#### 2"}]}})


@pytest.mark.parametrize("kinds", [{"number"}, {"choice"}, {"exact", "number"}])
def test_the_runs_own_prompt_where_answers_are_asked_for_alike(kinds: set[str]) -> None:
    assert prompt_for(MATHS, AlsoSource(source="x"), kinds, {"number"}) == MATHS.prompt


@pytest.mark.parametrize(
    ("kinds", "request_"),
    [({"code"}, PROGRAM_REQUEST), ({"math"}, REQUESTS["boxed"]), ({"regex"}, ""), ({"math", "number"}, "")],
)
def test_else_a_request_for_its_own_format_and_no_worked_examples(kinds: set[str], request_: str) -> None:
    found = prompt_for(MATHS, AlsoSource(source="x"), kinds, {"number"})
    assert found.few_shot == []
    assert found.system == "Be brief."
    assert found.template == "{question}" + (f"\n\n{request_}" if request_ else "")


def test_one_answer_format_for_all_makes_numbers_and_formulas_alike() -> None:
    boxed = parse_config({"verify": {"answer_format": "boxed"}, "prompt": {"template": "Box it: {question}"}})
    assert prompt_for(boxed, AlsoSource(source="x"), {"math"}, {"number"}) == boxed.prompt


def test_its_own_template_goes_first() -> None:
    source = AlsoSource(source="x", template="Do this: {question}")
    found = prompt_for(MATHS, source, {"number"}, {"number"})
    assert (found.template, found.few_shot) == ("Do this: {question}", [])


@pytest.mark.parametrize(
    ("source", "label"),
    [
        ("svamp", "svamp"),
        ("mbpp:/data/mbpp?split=test", "mbpp"),
        ("/a/b/mine.v2.jsonl?split=heldout", "mine.v2"),
        ("mine.csv", "mine"),
        ("reasoning_gym:gcd?size=5", "reasoning_gym"),
    ],
)
def test_a_set_is_called_after_its_source(source: str, label: str) -> None:
    assert AlsoSource(source=source).label == label


def test_another_name_keeps_the_scores_and_other_settings_do_not() -> None:
    plain = AlsoSource(source="svamp").stage.rsplit("-", 1)[1]
    assert AlsoSource(source="svamp", name="other").stage.rsplit("-", 1)[1] == plain
    assert AlsoSource(source="svamp", max=3).stage.rsplit("-", 1)[1] != plain


@pytest.mark.parametrize(
    ("also", "said"),
    [
        (["svamp", "svamp:x"], "2 sources are called 'svamp': give each a name of its own"),
        ([""], r"evaluate.also.0.source: is empty: name a source of problems, such as \"svamp\""),
        ("svamp", "evaluate.also = 'svamp': should be a valid list"),
        ([{"sorce": "x"}], r"unknown key 'evaluate.also.0.sorce'. Did you mean 'source'"),
        ([{"source": "x", "template": "no"}], r"evaluate.also.0.template: must contain \{question\}"),
    ],
)
def test_what_cannot_be_meant_is_explained(also: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config({"evaluate": {"also": also}})
