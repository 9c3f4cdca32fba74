"""The command line as a user meets it: commands, exit codes, what goes to stdout, and Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
from command_line import ENTRY, QUICKSTART, TINY, Finished, Tpt, sets
from resealed import reseal

from tpt.cli.app import app
from tpt.cli.options import source_overrides
from tpt.config import RunConfig, load_config, parse_config
from tpt.records import Outcome, RoundRecord, Trace, Verdict
from tpt.system.jsonl import from_table, read_records, replace_records, to_table
from tpt.system.terminal import printable

LOGS = Path(__file__).parents[1] / "data" / "logs"
COMMANDS = [
    "init",
    "run",
    "status",
    "watch",
    "show",
    "report",
    "check",
    "think",
    "prune",
    "train",
    "evaluate",
    "verify",
    "pass-at-k",
]


def test_every_command_and_option_says_what_it_does() -> None:
    root: Any = typer.main.get_command(app)
    assert set(COMMANDS) <= set(root.commands)
    for name, command in root.commands.items():
        assert command.help, f"tpt {name} has no help"
        for parameter in command.params:
            assert parameter.help, f"tpt {name}: {parameter.name} has no help"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_a_result(tpt: Tpt, command: str) -> None:
    code, out, err = tpt(command, "--help")
    assert (code, err) == (0, "") and f"tpt {command}" in out


@pytest.mark.parametrize(
    "arguments", [[], ["runn"], ["show", "x"], ["show", "x", "--round", "-1"], ["report", "x", "--format", "xml"]]
)
def test_wrong_usage_is_exit_code_2(tpt: Tpt, arguments: list[str]) -> None:
    assert tpt(*arguments).code == 2


def test_init_prints_a_config_that_runs(tpt: Tpt) -> None:
    code, out, err = tpt("init", "quickstart", "--set", "rounds=2", "--set", "prompt.system=Be brief.")
    assert (code, err) == (0, "")
    config = parse_config(tomllib.loads(out))
    assert isinstance(config, RunConfig) and config.rounds == 2 and config.prompt.system == "Be brief."


def test_a_dry_run_tells_the_plan_and_does_nothing(tpt: Tpt, tmp_path: Path) -> None:
    out_dir = tmp_path / "new"
    command = ["run", QUICKSTART, "--out", out_dir, "--dry-run", "--format", "json", *sets(*TINY)]
    code, out, err = tpt(*command)
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan["training problems"] == 40 and plan["held-out problems"] == 10 and plan["rounds"] == 1
    assert plan["exists"] is False and not out_dir.exists()
    assert "training problems: 40" in tpt(*(each for each in command if each not in ("--format", "json"))).out


def test_a_run_s_stdout_is_its_result_and_stderr_its_progress(finished: Finished) -> None:
    assert "gain [95 %]" in finished.out and f"Report: {finished.path / 'report.md'}" in finished.out
    assert "round 1 think" not in finished.out
    for told in (
        "round 0 base model's score: pass@1",
        "round 1 think (solved): 10 solved",
        "round 1 train: 10 examples",
    ):
        assert told in finished.err
    assert "Warning" not in finished.err and "\x1b" not in finished.out + finished.err


def test_a_finished_run_leaves_what_the_readme_promises(finished: Finished) -> None:
    for name in ("config.toml", "problems.jsonl", "heldout.jsonl", "best", "report.md", "round-0/evaluate.json"):
        assert (finished.path / name).is_file()
    stages = {f"round-1/{stage}.json" for stage in ("think", "prune", "train", "evaluate", "round")}
    assert all((finished.path / name).is_file() for name in stages)
    assert not list(finished.path.rglob("*.partial"))


def test_a_finished_run_goes_on_with_nothing_and_says_the_same(tpt: Tpt, finished_copy: Path) -> None:
    before = {path: path.read_bytes() for path in finished_copy.rglob("*.jsonl") if path.parent.name != "logs"}
    code, out, _ = tpt("run", finished_copy)
    assert code == 0 and "gain [95 %]" in out
    assert before == {path: path.read_bytes() for path in before}


def test_status_says_how_far_a_run_is(tpt: Tpt, finished: Finished, finished_copy: Path) -> None:
    told = json.loads(tpt("status", finished.path, "--format", "json").out)
    assert told["rounds"]["round-1"] == dict.fromkeys(("think", "prune", "train", "evaluate"), "done")
    assert told["finished rounds"] == 2 and told["next"] == "the one round is done"
    for name in ("train.json", "evaluate.json", "round.json"):
        (finished_copy / "round-1" / name).unlink()
    out = tpt("status", finished_copy).out
    assert (
        "round-1: done: think, prune; to do: train, evaluate" in out and f"go on with: tpt run {finished_copy}" in out
    )


def test_show_lists_problems_and_shows_one(tpt: Tpt, finished: Finished) -> None:
    scores = json.loads(tpt("show", finished.path, "--round", "1", "--format", "json").out)
    assert len(scores) >= 20 and all("correct" in score for score in scores.values())
    example = json.loads((finished.path / "round-1" / "examples.jsonl").read_text().splitlines()[0])
    code, out, err = tpt("show", finished.path, "--round", "1", "--problem", example["problem_id"])
    assert (code, err) == (0, "")
    assert example["messages"][0]["content"] in out and "CORRECT (format kept" in out and "trained on" in out
    table = json.loads(
        tpt("show", finished.path, "--round", "1", "--problem", example["problem_id"], "--format", "json").out
    )
    assert [t["sample"] for t in table["traces"] if t["trained_on"]] == [example["sample"]]


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u2066\r\ud800 #### 5"


def test_hostile_model_output_comes_out_escaped(tpt: Tpt, finished_copy: Path) -> None:
    path = finished_copy / "round-1" / "traces.jsonl"
    traces = read_records(path, Trace)
    spoilt = [Trace(t.problem_id, t.sample, HOSTILE, "stop", t.completion_tokens, t.seed) for t in traces]
    replace_records(path, spoilt)
    reseal(finished_copy)
    problem_id = traces[0].problem_id
    text = tpt("show", finished_copy, "--round", "1", "--problem", problem_id)
    assert text.code == 0 and "\\u{1b}]0;owned" in text.out and "\\u{202e}gnp" in text.out
    table = tpt("show", finished_copy, "--round", "1", "--problem", problem_id, "--format", "json")
    assert json.loads(table.out)["traces"][0]["completion"] == HOSTILE
    for out in (text.out, table.out):
        assert out == printable(out)


def test_a_hostile_answer_in_verify_comes_out_escaped(
    tpt: Tpt, tmp_path: Path, problem_file: Callable[..., Path]
) -> None:
    problems = problem_file("p.jsonl", [{"id": "a", "question": "q", "answer": "5"}])
    traces = problem_file("t.jsonl", [{"problem_id": "a", "completion": "#### 7\u202e \x9b1m"}])
    code, out, _ = tpt("verify", problems, traces)
    assert code == 0 and out == printable(out) and json.loads(out)["problem_id"] == "a"


def test_verify_judges_by_another_rule_when_asked(tpt: Tpt, problem_file: Callable[..., Path]) -> None:
    problems = problem_file("p.jsonl", [{"id": "a", "question": "q", "answer": "5", "kind": "number"}])
    traces = problem_file("t.jsonl", [{"problem_id": "a", "completion": "#### 5\nNo:\n#### 6"}])
    outcomes = [json.loads(tpt("verify", problems, traces, *kind).out) for kind in ([], ["--kind", "paper"])]
    assert [each["outcome"] for each in outcomes] == ["WRONG", "CORRECT"]


def test_report_prints_the_table_and_writes_markdown(tpt: Tpt, finished_copy: Path) -> None:
    (finished_copy / "report.md").unlink()
    code, out, err = tpt("report", finished_copy)
    assert (code, err) == (0, "") and "pass@2" in out
    assert (finished_copy / "report.md").read_text().startswith("# copy\n")
    table = json.loads(tpt("report", finished_copy, "--format", "json").out)
    assert [row["round"] for row in table["rows"]] == [0, 1]
    assert all(to_table(from_table(RoundRecord, each)) == each for each in table["rounds"])
    base = table["rounds"][0]["evaluate"]
    assert sum(base["outcomes"].values()) == base["problems"] * base["samples"] == 20


def test_a_run_without_rounds_yet_can_be_asked_too(tpt: Tpt, finished_copy: Path) -> None:
    for index in (0, 1):
        shutil.rmtree(finished_copy / f"round-{index}")
    assert "No round is finished yet." in tpt("report", finished_copy).out
    assert json.loads(tpt("status", finished_copy, "--format", "json").out)["best"] is None


def test_check_reports_golds_and_overlap(tpt: Tpt, problem_file: Callable[..., Path]) -> None:
    good = problem_file(
        "good.jsonl", [{"q": "How many is 2 and 3?", "answer": "5"}, {"q": "And 4 and 4?", "answer": 8}]
    )
    held = problem_file("held.jsonl", [{"q": "How many is 2 and 9?", "answer": "11"}])
    code, out, err = tpt("check", good, "--against", held, "--column", "question=q", "--format", "json")
    found = json.loads(out)
    assert (code, err) == (0, "") and found["ok"] is True
    assert (found["train"]["problems"], found["heldout"]["problems"]) == (2, 1)
    bad = problem_file("bad.jsonl", [{"question": "How many?", "answer": "a few"}])
    code, out, err = tpt("check", bad)
    assert (code, err) == (1, "") and "ok: no" in out and "a few" in out
    assert tpt("check", bad, "--kind", "exact").code == 0


def test_commands_share_the_options_of_a_source(tpt: Tpt, problem_file: Callable[..., Path], tmp_path: Path) -> None:
    """Of nested rows: check, verify and import read them, and a run's config takes the same options."""
    mine = problem_file("mine.jsonl", [{"task": {"q": ["Which?"], "a": "blue"}, "id": 3}])
    columns = ("--column", "question=task.q[0]", "--column", "answer=task.a", "--kind", "exact")
    assert tpt("check", mine, *columns).code == 0
    traces = problem_file("traces.jsonl", [{"problem_id": 3, "completion": "The answer is blue"}])
    code, out, err = tpt("verify", mine, traces, *columns)
    assert (code, err) == (0, "") and json.loads(out)["outcome"] == "CORRECT"
    code, out, err = tpt("import", traces, "--to", tmp_path / "in", "--problems", mine, *columns)
    assert (code, err) == (0, "") and "exact: 1" in out
    renamed = problem_file("renamed.jsonl", [{"which": 3, "said": "The answer is blue"}])
    mapped = (*columns, "--column", "problem_id=which", "--column", "completion=said")
    code, out, err = tpt("verify", mine, renamed, *mapped)
    assert (code, err) == (0, "") and json.loads(out)["outcome"] == "CORRECT"
    problems = load_config(QUICKSTART, source_overrides(["question=task.q[0]", "answer=task.a"], "exact")).problems
    assert (problems.columns, problems.kind) == ({"question": "task.q[0]", "answer": "task.a"}, "exact")
    refused = tpt("run", QUICKSTART, "--dry-run", "--column", "answr=a", "--set", f"problems.train={mine}")
    assert refused.code == 1 and "'answr' is unknown. Did you mean 'answer'" in refused.err


def test_verify_judges_traces_of_any_tool(tpt: Tpt, problem_file: Callable[..., Path]) -> None:
    problems = problem_file(
        "p.jsonl", [{"id": "a", "question": "q", "answer": "5"}, {"id": 2, "question": "r", "answer": "6"}]
    )
    rows = [
        {"problem_id": "a", "completion": "#### 5", "model": "other"},
        {"problem_id": "a", "completion": "The answer is 5."},
        {"problem_id": 2, "completion": "#### 7", "sample": 4},
        {"problem_id": "a", "completion": "hm"},
    ]
    code, out, err = tpt("verify", problems, problem_file("t.jsonl", rows))
    assert (code, err) == (0, "")
    verdicts = [from_table(Verdict, json.loads(line)) for line in out.splitlines()]
    assert [(v.problem_id, v.sample, v.outcome, v.strict) for v in verdicts] == [
        ("a", 0, Outcome.CORRECT, True),
        ("a", 1, Outcome.CORRECT, False),
        ("2", 4, Outcome.WRONG, False),
        ("a", 2, Outcome.NO_ANSWER, False),
    ]


@pytest.mark.parametrize(
    ("log", "verdicts"),
    [
        ("lm_eval.jsonl", {"marbles-0": "WCCC", "marbles-1": "WCCC", "marbles-2": "CCCW"}),
        ("inspect.eval", {"marbles-0": "CW", "marbles-1": "WC", "marbles-2": "CW"}),
        ("batch_output.jsonl", {"marbles-0": "CW", "marbles-1": "WC", "marbles-2": "CW"}),
        ("verifiers.jsonl", {"marbles-0": "WC", "marbles-1": "WC", "marbles-2": "CC"}),
    ],
)
def test_verify_reads_the_logs_that_import_reads(tpt: Tpt, log: str, verdicts: dict[str, str]) -> None:
    code, out, err = tpt("verify", LOGS / "problems.jsonl", LOGS / log)
    assert (code, err) == (0, "failed requests left out: 1\n" if log.startswith("batch") else "")
    found: dict[str, str] = {}
    for verdict in (from_table(Verdict, json.loads(line)) for line in out.splitlines()):
        found[verdict.problem_id] = found.get(verdict.problem_id, "") + str(verdict.outcome)[0]
    assert {key: "".join(sorted(value)) for key, value in found.items()} == {
        key: "".join(sorted(value)) for key, value in verdicts.items()
    }


def test_verify_is_told_what_a_file_is(tpt: Tpt, fails: Callable[..., str], problem_file: Callable[..., Path]) -> None:
    problems = problem_file("p.jsonl", [{"id": "a", "question": "q", "answer": "5"}])
    row = {"problem_id": "a", "completion": "#### 5", "messages": [{"role": "assistant", "content": "#### 6"}]}
    file = problem_file("t.jsonl", [row])
    asked = [json.loads(tpt("verify", problems, file, *layout).out)["outcome"] for layout in ([], ["--from", "rows"])]
    assert asked == ["CORRECT", "CORRECT"]
    assert "no row of lm-eval, which has doc, target and resps" in fails("verify", problems, file, "--from", "lm-eval")
    twice = problem_file("twice.jsonl", [{**row, "sample": 1}, {**row, "sample": 1}])
    assert "line 2: sample 1 of problem 'a' was there before" in fails("verify", problems, twice)


def test_pass_at_k_reads_any_verdicts(tpt: Tpt, finished: Finished) -> None:
    path = finished.path / "round-1" / "evaluate" / "verdicts.jsonl"
    code, out, err = tpt("pass-at-k", path, "--format", "json")
    rows = json.loads(out)
    assert (code, err) == (0, "") and [row["k"] for row in rows] == [1, 2]
    reported = json.loads((finished.path / "round-1" / "round.json").read_text())["evaluate"]
    assert rows[0]["strict"] == pytest.approx(reported["pass_at_k"]["1"]["mean"], abs=1e-4)
    table = tpt("pass-at-k", path, "--k", "2").out.split()
    assert table[-5] == "2"


def test_stages_can_be_done_one_by_one(tpt: Tpt, finished_copy: Path) -> None:
    before = (finished_copy / "round-1" / "examples.jsonl").read_bytes()
    for name in ("prune.json", "examples.jsonl"):
        (finished_copy / "round-1" / name).unlink()
    counts = json.loads(tpt("prune", finished_copy, "--round", "1", "--format", "json").out)
    assert counts["examples"] == 10 and (finished_copy / "round-1" / "examples.jsonl").read_bytes() == before
    # What comes after it was made from the same examples, so it is still done.
    assert tpt("train", finished_copy, "--round", "1").code == 0


def test_a_run_can_be_lengthened_by_rounds_alone(tpt: Tpt, finished: Finished, tmp_path: Path) -> None:
    plan = json.loads(
        tpt("run", finished.path, "--out", tmp_path / "new", "--dry-run", "--set", "rounds=3", "--format", "json").out
    )
    assert plan["rounds"] == 3 and plan["run directory"] == str(tmp_path / "new")


def test_a_reader_that_hangs_up_is_no_error(finished: Finished) -> None:
    command = [*ENTRY, "show", str(finished.path), "--round", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def begun(run: Path, what: str) -> bool:
    """Whether the run has reached a point: its server just started, or traces are coming in."""
    if what == "server":
        return (run / "heldout.jsonl").exists()
    path = run / "round-0" / "evaluate" / "traces.jsonl"
    return path.exists() and path.stat().st_size > 0


@pytest.mark.parametrize(
    ("what", "to_group"),
    [("server", True), ("sampling", True), ("sampling", False)],
    ids=["starting", "group", "run only"],
)
def test_ctrl_c_ends_everything_and_says_how_to_go_on(what: str, to_group: bool, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Enough samples to last well beyond the interrupt.
    overrides = sets(*TINY, "evaluate.samples=400", "evaluate.ks=[1]")
    process = subprocess.Popen(
        [*ENTRY, "run", str(QUICKSTART), "--out", str(run), *overrides],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (begun(run, what) and descendants(process.pid)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        children = descendants(process.pid)
        asked = time.monotonic()
        if to_group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
        assert time.monotonic() - asked < 3
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 130
    assert out == "" and f"interrupted; nothing is lost. Go on with: tpt run {run}" in err
    assert "Traceback" not in err and "Error" not in err, err
    assert (run / "lock").read_bytes() == b"", "the lock was given back"


def test_ctrl_c_in_any_other_command_is_130_too(finished: Finished) -> None:
    code = "import os, signal; from tpt.cli import app, watch"
    code += "; watch.run_status = lambda run: os.kill(os.getpid(), signal.SIGINT)"
    command = [sys.executable, "-c", f"{code}; app.main()", "status", str(finished.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 130 and "Traceback" not in done.stderr
