"""Bad input of every kind gives one clear message and an exit code, and leaves nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import ENTRY, QUICKSTART, TINY, Finished, Tpt, sets
from resealed import reseal

from tpt.config import load_config
from tpt.model import embedded
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.lock import lock

Fails = Callable[..., str]
ROW = {"id": "a", "question": "How many is 2 and 3?", "answer": "5"}
OTHER = {"id": "b", "question": "How many is 7 and 9?", "answer": "16"}


@pytest.fixture
def refused(fails: Fails, tmp_path: Path) -> Fails:
    """``tpt run`` with overrides: it must fail, and leave no config, problems or half-written files."""
    out = tmp_path / "refused"

    def call(*overrides: str, code: int = 1, dry: bool = False) -> str:
        dry_run = ["--dry-run"] if dry else []
        told = fails("run", QUICKSTART, "--out", out, *sets(*TINY, *overrides), *dry_run, code=code)
        assert [path.name for path in out.rglob("*")] in ([], ["lock"])
        return told

    return call


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "p.jsonl: no such file"),
        (b"", "the file is empty, or nothing but a header; expected at least one row"),
        (b"\xff\xfe\x00bad", "UTF-8"),
        (b'{"id": "a"', "line 1"),
        ((json.dumps(ROW) + "\n" + json.dumps({**OTHER, "id": "a"})).encode(), "line 2: id 'a' is already that of"),
        (
            json.dumps({"id": "a", "qestion": "q", "answer": "5"}).encode(),
            "no column 'question' for the question. Did you",
        ),
        (json.dumps({**ROW, "answer": ""}).encode(), "line 1: the answer (column 'answer') is missing or empty"),
        (json.dumps({**ROW, "answer": "some"}).encode(), "1 of 1 gold answers do not pass their own verifier"),
        (json.dumps({**ROW, "kind": "nmber"}).encode(), "no verifier for problems of kind 'nmber'"),
    ],
    ids=["missing", "empty", "not UTF-8", "not JSON", "id twice", "column", "no answer", "gold", "kind"],
)
def test_a_bad_problem_file(content: bytes | None, message: str, refused: Fails, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    if content is not None:
        path.write_bytes(content)
    told = refused(f"problems.train={path}", dry=True)
    assert message in told
    assert told == refused(f"problems.train={path}")


def test_training_and_held_out_problems_that_share_a_question(
    refused: Fails, problem_file: Callable[..., Path]
) -> None:
    train = problem_file("train.jsonl", [ROW, OTHER])
    held = problem_file("held.jsonl", [{**ROW, "id": "z", "question": "how many is 2 and 3"}])
    told = refused(f"problems.train={train}", f"problems.heldout={held}")
    assert "training and held-out problems share the question: training 'a'" in told


def test_an_unknown_source_or_column_field(refused: Fails) -> None:
    assert "Did you mean" in refused("problems.train=wrd_problems?split=train")
    assert "Did you mean 'split'" in refused("problems.train=word_problems?splt=train")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("think.sampls=3", "unknown key 'think.sampls'. Did you mean 'think.samples'?"),
        ("think.samples=0", "think.samples = 0: should be greater than or equal to 1"),
        ("nonsense", "--set nonsense: expected KEY=VALUE"),
        ("preset=distilled", "set data.file to another model's traces.jsonl"),
    ],
)
def test_a_bad_setting_is_exit_code_2(override: str, message: str, refused: Fails) -> None:
    assert message in refused(override, code=2)


def test_missing_and_damaged_config_files(fails: Fails, tmp_path: Path) -> None:
    assert "no such config file. Make one with: tpt init" in fails("run", tmp_path / "none.toml", code=2)
    (tmp_path / "bad.toml").write_text("rounds = ")
    assert "bad.toml: not valid TOML" in fails("run", tmp_path / "bad.toml", code=2)
    assert "not a run directory (no config.toml)" in fails("run", tmp_path)
    assert "no example 'quikstart', there are: " in fails("init", "quikstart", code=2)


@pytest.mark.parametrize("command", ["status", "report", "think", "prune", "train", "evaluate", "show"])
def test_a_folder_that_is_no_run(command: str, fails: Fails, tmp_path: Path) -> None:
    rounds = [] if command in ("status", "report") else ["--round", "1"]
    assert "not a run directory (no config.toml). Start one with: tpt run" in fails(command, tmp_path / "no", *rounds)
    assert not (tmp_path / "no").exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the embedded model's folder, to be spoilt."""
    return shutil.copytree(embedded.FOLDER, tmp_path / "model")


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run directory with nothing done yet."""

    def make(*overrides: str) -> Path:
        Run(tmp_path / "run", load_config(QUICKSTART, [*TINY, *overrides])).prepare()
        return tmp_path / "run"

    return make


def test_a_model_folder_that_is_no_model(model: Path, prepared: Callable[..., Path], fails: Fails, tpt: Tpt) -> None:
    run = prepared(f"model={model}")

    def told() -> str:
        return fails("evaluate", run, "--round", "0")

    weights = model / "model.safetensors"
    weights.rename(model / "pytorch_model.bin")
    assert "only pytorch_model.bin, a pickle file, which can run code when it is read" in told()
    (model / "pytorch_model.bin").rename(weights)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).rename(model / f"kept-{name}")
    assert "the folder has no tokenizer" in told()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / f"kept-{name}").rename(model / name)
    (model / "config.json").rename(model / "other.json")
    assert "the folder has no config.json, so it holds no model" in told()
    assert not (run / "round-0").exists() and not (run / "base.json").exists()
    # Put right, the same run goes on.
    (model / "other.json").rename(model / "config.json")
    assert tpt("evaluate", run, "--round", "0").code == 0


def test_a_model_without_a_chat_template_works(model: Path, prepared: Callable[..., Path], tpt: Tpt) -> None:
    (model / "chat_template.jinja").unlink(missing_ok=True)
    settings = model / "tokenizer_config.json"
    table = json.loads(settings.read_text())
    table.pop("chat_template", None)
    settings.write_text(json.dumps(table))
    run = prepared(f"model={model}", "problems.max_heldout=2")
    code, out, _ = tpt("evaluate", run, "--round", "0", "--format", "json")
    assert code == 0 and json.loads(out)["report"]["problems"] == 2


def test_a_model_error_comes_through_the_stage_server_and_the_config_can_be_put_right(
    model: Path, tmp_path: Path, fails: Fails
) -> None:
    out = tmp_path / "run"
    (model / "config.json").unlink()
    told = fails("run", QUICKSTART, "--out", out, *sets(*TINY, f"model={model}"))
    assert "the folder has no config.json, so it holds no model" in told and "Traceback" not in told
    # Nothing was made from that config, so another one may take its place.
    Run(out, load_config(QUICKSTART, [*TINY, "problems.max_train=30"])).prepare()
    assert load_config(out / "config.toml").model == "embedded"
    assert len((out / "problems.jsonl").read_text().splitlines()) == 30


def test_a_run_directory_of_another_config(finished: Finished, fails: Fails) -> None:
    before = (finished.path / "config.toml").read_bytes()
    told = fails("run", QUICKSTART, "--out", finished.path, *sets(*TINY, "think.samples=9", "seed=5"))
    assert "holds a run with another config" in told and "think.samples: 4 there, 9 now" in told
    assert "seed: 0 there, 5 now" in told and "Use another directory (--out)" in told
    assert (finished.path / "config.toml").read_bytes() == before


@pytest.mark.parametrize("command", [["run"], ["prune", "--round", "1"]])
def test_a_second_process_on_the_same_run(
    command: list[str], finished_copy: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tpt.run.lock.lock.__wrapped__.__kwdefaults__", {"wait_s": 0.0})
    with lock(RunDir(finished_copy)):
        told = fails(command[0], finished_copy, *command[1:])
    assert "another process is writing this run: process " in told


def test_a_round_or_problem_that_is_not_there(finished: Finished, fails: Fails) -> None:
    assert "round 7 has no traces yet; rounds there: 0, 1" in fails("show", finished.path, "--round", "7")
    first = json.loads((finished.path / "problems.jsonl").read_text().splitlines()[0])["id"]
    told = fails("show", finished.path, "--round", "1", "--problem", first[:-1])
    assert f"no problem {first[:-1]!r}. Did you mean '" in told
    assert "round 0 has no think stage" in fails("think", finished.path, "--round", "0")
    told = fails("evaluate", finished.path, "--round", "3")
    assert "round 3 has no trained model yet. Do its train stage first" in told
    assert not (finished.path / "round-7").exists() and not (finished.path / "round-3").exists()


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"inputs": 3}', "\x00"])
@pytest.mark.parametrize("name", ["think", "prune"])
def test_a_damaged_manifest(name: str, content: str, finished_copy: Path, fails: Fails) -> None:
    (finished_copy / "round-1" / f"{name}.json").write_text(content)
    told = fails("prune", finished_copy, "--round", "1")
    assert f"{name}.json: damaged" in told and "Delete it to have it made again" in told


@pytest.mark.parametrize("content", ["", "{}", '{"index": 1}', "[1]"])
def test_a_damaged_round_record(content: str, finished_copy: Path, fails: Fails) -> None:
    (finished_copy / "round-1" / "round.json").write_text(content)
    for command in ("status", "report"):
        assert "Delete it to have it made again" in fails(command, finished_copy)


def test_a_damaged_base_record(finished_copy: Path, fails: Fails) -> None:
    (finished_copy / "base.json").write_text("{}")
    assert "base.json: damaged" in fails("think", finished_copy, "--round", "1")


def test_traces_tampered_with_after_think_was_done(finished_copy: Path, fails: Fails) -> None:
    path = finished_copy / "round-1" / "traces.jsonl"
    path.write_text(path.read_text().replace("####", "###"))
    told = fails("prune", finished_copy, "--round", "1")
    assert "traces.jsonl: changed since" in told and "Put it back, or delete" in told
    path.write_text("[]\n")
    reseal(finished_copy)
    problem = json.loads((finished_copy / "problems.jsonl").read_text().splitlines()[0])["id"]
    told = fails("show", finished_copy, "--round", "1", "--problem", problem)
    assert "traces.jsonl, line 1: not a Trace record: expected an object" in told
    path.unlink()
    assert "traces.jsonl: missing, though" in fails("prune", finished_copy, "--round", "1")


def test_other_problems_than_those_sampled(finished_copy: Path, fails: Fails) -> None:
    path = finished_copy / "problems.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    assert "problems.jsonl: changed since the run began" in fails("think", finished_copy, "--round", "1")


def test_a_missing_checkpoint(finished_copy: Path, fails: Fails) -> None:
    shutil.rmtree(finished_copy / "round-1" / "checkpoint")
    (finished_copy / "round-1" / "evaluate.json").unlink()
    told = fails("evaluate", finished_copy, "--round", "1")
    assert "checkpoint: missing, though" in told and "Delete" in told


def test_k_beyond_the_samples(finished: Finished, fails: Fails) -> None:
    path = finished.path / "round-1" / "evaluate" / "verdicts.jsonl"
    assert "pass@5 needs at least 5 samples of every problem; problem" in fails("pass-at-k", path, "--k", "1,5")
    for wrong in ("0", "a", "1,,2", "-1"):
        assert "expected whole numbers from 1 on" in fails("pass-at-k", path, f"--k={wrong}", code=2)
    assert "no such file" in fails("pass-at-k", path.with_name("none.jsonl"))
    assert "not a Verdict record" in fails("pass-at-k", path.with_name("traces.jsonl"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem_id": "a"}, "no column for the completion. Name it: --column completion=COLUMN. Columns there"),
        ({"problem_id": "a", "completion": None}, "line 1: the completion (column 'completion') is missing"),
        (["a"], "line 1: expected a JSON object with one problem's columns, got a list"),
        ({"problem_id": "aa", "completion": "5"}, "line 1: no problem 'aa' in"),
        ({"problem_id": "a", "completion": "5", "sample": "x"}, "line 1: the sample must be a whole number, got 'x'"),
    ],
)
def test_traces_that_cannot_be_verified(
    row: Any, message: str, fails: Fails, problem_file: Callable[..., Path]
) -> None:
    assert message in fails("verify", problem_file("p.jsonl", [ROW]), problem_file("t.jsonl", [row]))


def test_trace_files_that_cannot_be_read(fails: Fails, problem_file: Callable[..., Path], tmp_path: Path) -> None:
    problems, path = problem_file("p.jsonl", [ROW]), tmp_path / "t.jsonl"
    assert "t.jsonl: no such file" in fails("verify", problems, path)
    for content, message in (
        (b"\xff\n", "not UTF-8: byte 0xff"),
        (b"[" * 100_000, "line 1: JSON nested too deeply"),
        (b"{\n", "not valid JSON"),
    ):
        path.write_bytes(content)
        assert message in fails("verify", problems, path)
    assert "p.jsonl: there is no column 'question'" in fails("check", problem_file("p.jsonl", [{"q": 1}]))
    assert "expected FIELD=COLUMN" in fails("check", problems, "--column", "question", code=2)


def without(run: Path, *names: str, **settings: str) -> None:
    """Forget stages of round 1, and change settings of the run's config."""
    for name in names:
        (run / "round-1" / name).unlink()
    config = run / "config.toml"
    text = config.read_text()
    for old, new in settings.items():
        lines = [line for line in text.splitlines() if line.startswith(f"{old} = ")]
        assert len(lines) == 1
        text = text.replace(lines[0], f"{old} = {new}")
    config.write_text(text)


def test_fewer_solved_problems_than_wanted(finished_copy: Path, fails: Fails, tpt: Tpt) -> None:
    # The sampling stops at prune.size, so what was sampled no longer suits a larger one.
    without(finished_copy, "prune.json", "examples.jsonl", size="30", if_short='"stop"')
    told = fails("prune", finished_copy, "--round", "1")
    assert "10 problems have a keepable trace, 30 were wanted (prune.size)" in told
    assert 'prune.if_short = "stop" ends the run here' in told and "Raise think.samples" in told
    assert not list((finished_copy / "round-1").glob("examples.jsonl*"))
    without(finished_copy, if_short='"continue"')
    code, _, err = tpt("prune", finished_copy, "--round", "1")
    assert code == 0 and "30 were wanted" in err and "going on with 10" in err


def test_all_solved_problems_are_never_too_few(finished_copy: Path, tpt: Tpt) -> None:
    without(finished_copy, "prune.json", "examples.jsonl", size='"all"', if_short='"stop"')
    code, _, err = tpt("prune", finished_copy, "--round", "1")
    assert code == 0 and "wanted" not in err


def test_no_problem_solved_at_all(prepared: Callable[..., Path], fails: Fails, tpt: Tpt) -> None:
    # One token is no answer.
    run = prepared("think.max_tokens=1", "think.samples=1", "problems.max_train=3")
    assert tpt("think", run, "--round", "1").code == 0
    told = fails("prune", run, "--round", "1")
    assert "0 problems have a keepable trace, 10 were wanted" in told
    assert f"Nothing is left to train on: look at the traces with: tpt show {run} --round 1" in told
    assert not (run / "round-1" / "examples.jsonl").exists()


def test_completions_longer_than_the_engine_s_sequences(prepared: Callable[..., Path], fails: Fails) -> None:
    run = prepared("engine.max_length=90")
    told = fails("think", run, "--round", "1")
    assert "engine.max_length = 90 is less than the 130 tokens of prompt and completion: set it to 130 or more" in told
    assert not (run / "round-1" / "think.json").exists()


def test_a_data_file_that_is_not_there_or_of_other_problems(
    prepared: Callable[..., Path], fails: Fails, problem_file: Callable[..., Path], tmp_path: Path
) -> None:
    """Before anything is sampled, and again where the file changes while a run goes on."""
    row = {"problem_id": "x", "sample": 0, "completion": "", "finish_reason": "stop", "completion_tokens": 0, "seed": 0}
    ours = problem_file("ours.jsonl", [row | {"problem_id": "word_problems/train/00001"}])
    run = prepared("data.source=file", f"data.file={ours}")
    other = tmp_path / "other.jsonl"
    for rows, code, said in (
        (None, 2, ".jsonl': no such file"),
        ([row], 2, "no trace is of a problem of this run"),
        ([row, ROW], 1, ".jsonl, line 2: not a Trace record: unknown field"),
    ):
        for path, *command in (
            (ours, "think", run, "--round", "1"),
            (other, "run", QUICKSTART, "--out", tmp_path / "new"),
        ):
            path.unlink(missing_ok=True)
            if rows:
                problem_file(path.name, rows)
            given = sets(*TINY, "data.source=file", f"data.file={other}") if command[0] == "run" else []
            assert said in fails(*command, *given, code=code)
        assert not list(tmp_path.glob("new/round-*")), "nothing was sampled"


def test_a_full_disk_is_one_sentence(finished_copy: Path) -> None:
    without(finished_copy, "prune.json", "examples.jsonl")
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500)); from tpt.cli.app import main; main()"
    )
    command = [ENTRY[0], "-c", code, "prune", str(finished_copy), "--round", "1"]
    shutil.rmtree(finished_copy / "logs")
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr and "File too large" in done.stderr
    assert not list((finished_copy / "round-1").glob("examples.jsonl*"))
