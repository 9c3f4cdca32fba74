"""Paths that are none, URLs in a path's place, and what the system says of a path: one sentence each, nothing written."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ENTRY, QUICKSTART, Finished, Tpt

from tpt.errors import RunError
from tpt.run.directory import RunDir
from tpt.system.folders import beside, said_of

Fails = Callable[..., str]
LOGS = Path(__file__).parents[1] / "data" / "logs"


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", QUICKSTART, "--out", ""],
        ["run", ""],
        ["status", ""],
        ["import", LOGS / "lm_eval.jsonl", "--to", ""],
        ["compare", "arms.toml", "--out", ""],
        ["pass-at-k", ""],
    ],
    ids=lambda arguments: " ".join(map(str, arguments[:1])),
)
def test_an_empty_path_is_never_the_current_folder(
    arguments: list[object], tpt: Tpt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tpt(*arguments)
    assert result.code == 2 and not result.out
    assert "the path is empty; the current folder is named ." in result.err
    assert not list(tmp_path.iterdir())


def test_a_url_is_no_file(
    tpt: Tpt, fails: Fails, finished: Finished, problem_file: Callable[..., Path], tmp_path: Path
) -> None:
    source = "https://example.org/data/mine.jsonl"
    for problems in (source, f"{source}?split=train", "https://example.org/data", "https://example.org/data.py:load"):
        told = fails("check", problems)
        assert "https://example.org/data" in told and "is a URL, and files are read from this machine" in told
        assert "hunter2" not in fails("check", problems.replace("//", "//me:hunter2@"))
    for code, sets in (
        (2, ["data.source=file", f"data.file={source}"]),
        (1, [f"problems.train={source}"]),
        (1, ["problems.kind=https://example.org/data/mine.py:judge"]),
    ):
        told = fails("run", QUICKSTART, "--out", tmp_path / "run", *(f"--set={each}" for each in sets), code=code)
        assert "https://example.org/data/mine." in told and "Download it and name the file" in told
    rows = problem_file("p.jsonl", [{"question": "How many is 2 and 3?", "answer": "5"}])
    for arguments in (["verify", rows, source], ["export", finished.path, "--to", "s3://bucket/model"]):
        result = tpt(*arguments)
        assert result.code == 2 and "is a URL; a path on this machine is wanted" in result.err


@pytest.mark.parametrize("address", ["https://huggingface.co/owner/name", "hf.co/owner/name/tree/main"])
def test_the_page_of_a_model_names_its_id(address: str, fails: Fails, tmp_path: Path) -> None:
    told = fails("plan", QUICKSTART, "--out", tmp_path / "run", "--gpu", "h100", "--set", f"model={address}")
    assert "it is no Hub id" in told and "Did you mean 'owner/name'?" in told


def test_files_in_the_place_of_others_are_told_apart(
    fails: Fails, finished: Finished, problem_file: Callable[..., Path], tmp_path: Path
) -> None:
    rows = problem_file("p.jsonl", [{"question": "How many is 2 and 3?", "answer": "5"}])
    for command in (["run"], ["plan"], ["check", "--model"]):
        told = fails(*command, rows, code=2)
        assert "a config, which is a TOML file, was expected" in told and f"'problems.train={rows}?split=train'" in told
    assert "a file, not a run directory" in fails("status", rows)
    for arguments in (["verify", rows, finished.path], ["check", rows, "--traces", finished.path]):
        assert f"is a run directory. Name the samples of a round: {finished.path}/round-1/traces.jsonl" in fails(
            *arguments
        )
    assert "is a run directory. Name a round's verdicts: " in fails("pass-at-k", finished.path)
    assert "no [[arm]] is there" in fails("compare", QUICKSTART, code=2)
    assert "a file, not a folder" in fails("import", LOGS / "lm_eval.jsonl", "--to", rows)
    told = fails("run", QUICKSTART, "--out", rows)
    assert told == f"error: {rows}: File exists. Name another path\n"
    told = fails("report", finished.path, "--html-to", tmp_path)
    assert f"error: {tmp_path}: Is a directory. Name another path" in told
    assert not beside(tmp_path).exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "question;answer\nHow many?;5\n", "parted by ',', not by ';'"),
        ("a.csv", "question\tanswer\nHow many?\t5\n", "not by '\\t'"),
        ("a.tsv", "question,answer\nHow many?,5\n", "parted by '\\t', not by ','"),
        ("a.csv", "question,answer\n", "the file is empty, or nothing but a header"),
        ("a.xlsx", "PK", "the file's name does not say what is in it"),
    ],
)
def test_what_spreadsheets_save(name: str, content: str, said: str, fails: Fails, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert said in fails("check", tmp_path / name)


def test_a_single_column_is_told_by_what_is_missing(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question\nHow many; is it 2, or 3?\n", encoding="utf-8")
    assert "2 cells, but the header names 1 column" in fails("check", tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("question\nHow many; is it 2?\n", encoding="utf-8")
    assert "there is no column 'answer' for the answer" in fails("check", tmp_path / "a.csv")


def test_a_link_to_nothing_is_told_as_one(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to(tmp_path / "gone.csv")
    assert "a link that leads to no file" in fails("check", tmp_path / "a.csv")


def test_what_the_system_says_becomes_a_sentence() -> None:
    assert said_of(OSError(28, "No space left on device", "x")) == (
        "x: No space left on device. Make room there, or use another disk"
    )
    assert said_of(OSError(13, "Permission denied", b"a\xff")).startswith("a")
    assert said_of(OSError(21, "Is a directory", "a.partial", None, "a")) == "a: Is a directory. Name another path"
    assert said_of(OSError(5, "Input/output error")) == "Input/output error"
    assert said_of(OSError("words of a library")) == "words of a library"


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}], ids=str)
def test_no_locale_breaks_what_is_printed(variables: dict[str, str], finished: Finished) -> None:
    environment = {**os.environ, "PYTHONCOERCECLOCALE": "0", **variables}
    done = subprocess.run([*ENTRY, "report", str(finished.path)], capture_output=True, env=environment, timeout=200)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert "±" in done.stdout.decode("utf-8")


@pytest.mark.parametrize(
    "arguments",
    [["run", QUICKSTART], ["run", QUICKSTART, "--dry-run"], ["score", "embedded", "word_problems?size=4"]],
    ids=["run", "dry run", "score"],
)
def test_a_folder_of_other_files_is_no_place_for_a_run(arguments: list[object], fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    said = " ".join(fails(*arguments, "--out", tmp_path, code=1).split())
    assert "a folder with other files in it, such as 'thesis.tex'" in said and f"--out {tmp_path}/run" in said
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["config.toml", "frozen.json", "logs", "round-0"])
def test_what_a_killed_run_was_writing_is_its_own(name: str, tmp_path: Path) -> None:
    beside(tmp_path / name).write_text("")
    RunDir(tmp_path).require_own()
    (tmp_path / f"{name}.partial").write_text("")
    with pytest.raises(RunError, match=rf"such as .{name}\.partial"):
        RunDir(tmp_path).require_own()


def test_a_page_takes_no_other_file_s_place(
    tpt: Tpt, fails: Fails, finished_copy: Path, problem_file: Callable[..., Path], tmp_path: Path
) -> None:
    mine = problem_file("p.jsonl", [{"question": "How many is 2 and 3?", "answer": "5"}])
    for path in (finished_copy / "config.toml", finished_copy / "round-1" / "traces.jsonl", mine):
        before = path.read_bytes()
        for command in (["report", finished_copy, "--html-to", path], ["audit", finished_copy, "--html", path]):
            result = tpt(*command)
            assert result.code == 2 and "no HTML page, so it is not replaced" in " ".join(
                result.err.replace("│", " ").split()
            )
        assert path.read_bytes() == before
    page = tmp_path / "with blanks é" / "page.html"
    for _ in range(2):
        assert tpt("report", finished_copy, "--html-to", page).code == 0
    assert tpt("audit", finished_copy, "--html", page).code == 0, "one page of ours by another"


def test_a_home_that_no_shell_spelt_out(
    tpt: Tpt, fails: Fails, problem_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    problem_file("p.jsonl", [{"id": "a", "question": "How many is 2 and 3?", "answer": "5"}])
    problem_file("t.jsonl", [{"problem_id": "a", "completion": "#### 5"}])
    (tmp_path / "right.py").write_text("def right(problem, completion):\n    return True\n")
    verified = tpt("verify", "~/p.jsonl", "~/t.jsonl", "--kind", "~/right.py:right")
    assert verified.code == 0 and '"CORRECT"' in verified.out
    assert tpt("import", "~/t.jsonl", "--problems=~/p.jsonl", "--to=~/in").code == 0
    assert (tmp_path / "in" / "import.json").is_file() and not (tmp_path / "~").exists()
    assert f"{tmp_path}/no: not a run directory" in fails("status", "~/no")
    assert f"{tmp_path}/p.jsonl: cannot be written" in fails("run", QUICKSTART, "--dry-run", "--out=~/p.jsonl")


def test_a_published_set_in_a_folder_of_an_absolute_path_is_no_url(tpt: Tpt, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"question": "How many is 2 and 3?", "answer": "2+3=5\\n#### 5"}\n')
    for source in (f"gsm8k:{tmp_path}?split=train", f"gsm8k:{tmp_path}/?split=train"):
        result = tpt("check", source)
        assert result.code == 0 and "problems: 1" in result.out


@pytest.mark.parametrize("out", ["file:///srv/run", "https://example.org/run", "hdfs://host/run"])
def test_a_dry_run_refuses_the_stores_that_a_run_refuses(
    out: str, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPT_CACHE", str(tmp_path))
    assert fails("run", QUICKSTART, "--dry-run", "--out", out) == fails("run", QUICKSTART, "--out", out)


def test_a_dry_run_refuses_a_link_to_nothing(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    assert "run is no folder" in fails("run", QUICKSTART, "--dry-run", "--out", tmp_path / "run")


def test_a_function_that_is_not_there_is_told_before_a_run(
    fails: Fails, problem_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def other():\n    pass\n")
    rows = problem_file("p.jsonl", [{"question": "How many is 2 and 3?", "answer": "5"}])
    assert "gone.py: no such file" in fails("check", rows, "--kind", "gone.py:judge")
    for key in ("think.order", "think.hint_by", "prune.keep", "train.loss", "problems.kind"):
        for command in (["check", QUICKSTART], ["run", QUICKSTART, "--dry-run", "--out", tmp_path / "run"]):
            assert "has no function 'judge', it has: other" in fails(*command, "--set", f"{key}=mine.py:judge")


def test_a_row_that_ends_early_hides_no_column(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,answer,level\nHow many is 2 and 3?\n", encoding="utf-8")
    assert "line 2: the answer (column 'answer') is missing or empty" in fails("check", tmp_path / "a.csv")
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    assert "Columns there: none." in fails("check", tmp_path / "a.json")
    assert "the problem source is empty" in fails("check", "")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.jsonl",
            gzip.compress(b'{"question": "a?", "answer": "1"}', mtime=0),
            "a gzip file, whose name must end in .gz",
        ),
        ("a.parquet", b"PK\x03\x04" + bytes(30), "a ZIP archive"),
        ("a.csv", b"PAR1" + bytes(30), "a Parquet file, whose name must end in .parquet"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.json", b"<!DOCTYPE HTML>\n<html>", "a web page"),
        ("a.jsonl.gz", b"<html><body>404", "a web page"),
        ("a.tsv", b"\x28\xb5\x2f\xfd" + bytes(30), "a Zstandard file"),
    ],
)
def test_what_a_file_really_is(name: str, content: bytes, said: str, fails: Fails, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    told = fails("check", tmp_path / name)
    assert f"{name}: by its first bytes this is " in told and said in told


@pytest.mark.parametrize("name", ["data-00000-of-00001.arrow", "dataset_dict.json"])
def test_a_folder_of_save_to_disk_says_what_to_write(name: str, fails: Fails, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    (tmp_path / "state.json").write_text("{}")
    assert "a folder of datasets' save_to_disk" in fails("check", tmp_path)
