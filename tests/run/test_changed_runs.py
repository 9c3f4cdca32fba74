"""A finished run whose files were changed: every command that reads it says which, and copies of it work."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Tpt
from resealed import edit_json, reseal

from tpt.errors import StaleStageError
from tpt.rounds import Run, best_round
from tpt.run import outputs
from tpt.run.directory import RunDir
from tpt.run.manifest import require_unchanged_run
from tpt.system.jsonl import read_json, write_json

Edit = Callable[[Path], None]


def replaced(old: str, new: str) -> Edit:
    """Changes the first line that has the text."""

    def edit(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def flip(path: Path) -> None:
    """Change one bit, the size staying what it is."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def another_score(path: Path) -> None:
    counts = read_json(path)["counts"]
    counts["report"]["pass_at_k"]["1"]["mean"] = 0.999
    edit_json(path, counts=counts)


def another_record(path: Path) -> None:
    evaluate = read_json(path)["evaluate"]
    evaluate["pass_at_k"]["1"]["mean"] = 0.999
    edit_json(path, evaluate=evaluate)


def quiet(path: Path, edit: Edit) -> None:
    """Edit a file, its size and time of change staying what they were."""
    then = path.stat()
    edit(path)
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert path.stat().st_size == then.st_size


VERDICTS = "round-1/evaluate/verdicts.jsonl"


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("report",),
        ("report", "--html"),
        ("report", "--compare", "OTHER"),
        ("show", "--round", "1"),
        ("show", "--round", "0"),
        ("export", "--to", "OUT", "--round", "1"),
        ("score",),
        ("plan",),
        ("audit",),
        ("run",),
        ("evaluate", "--round", "1"),
        ("verify-run",),
    ],
    ids=lambda command: " ".join(command),
)
def test_every_reader_says_which_file_was_changed(
    command: tuple[str, ...], finished_copy: Path, finished: object, tmp_path: Path, tpt: Tpt
) -> None:
    replaced('"WRONG"', '"CORRECT"')(finished_copy / VERDICTS)
    names = {"OTHER": finished_copy, "OUT": tmp_path / "out"}
    result = tpt(command[0], finished_copy, *(names.get(each, each) for each in command[1:]))
    assert result.code == 1
    assert VERDICTS in (result.out if command[0] == "verify-run" else result.err)
    assert not (tmp_path / "out").exists()


def test_pass_at_k_of_a_run_s_verdicts(finished_copy: Path, fails: Callable[..., str]) -> None:
    path = finished_copy / "round-0" / "evaluate" / "greedy" / "verdicts.jsonl"
    replaced('"WRONG"', '"CORRECT"')(path)
    assert "greedy/verdicts.jsonl, of the evaluate stage of round 0: changed" in fails("pass-at-k", path.parent)


def test_the_library_says_so_too(finished_copy: Path) -> None:
    replaced('"WRONG"', '"CORRECT"')(finished_copy / VERDICTS)
    with pytest.raises(StaleStageError, match=r"verdicts\.jsonl, of the evaluate stage of round 1: changed"):
        Run(finished_copy).records()
    with pytest.raises(StaleStageError, match=r"verdicts\.jsonl, of the evaluate stage of round 1: changed"):
        list(Run(finished_copy, Run(finished_copy).config).rounds())


@pytest.mark.parametrize(
    ("name", "edit", "how"),
    [
        ("round-1/checkpoint/model.safetensors", flip, "changed"),
        ("round-1/checkpoint/model.safetensors", cut, "changed"),
        ("round-1/checkpoint/model.safetensors", Path.unlink, "missing"),
        ("round-1/checkpoint/adapter_config.json", lambda path: path.write_text("{}"), "added"),
        ("round-1/checkpoint/tokenizer.json", flip, "changed"),
        ("round-0/evaluate.json", another_score, "changed"),
        ("round-1/evaluate.json", another_score, "changed"),
        ("round-1/evaluate/traces.jsonl", replaced("completion", "completioN"), "changed"),
        ("round-1/evaluate/diversity.jsonl", cut, "changed"),
        ("round-0/evaluate/greedy/traces.jsonl", Path.unlink, "missing"),
        ("round-1/verdicts.jsonl", lambda path: path.write_text(path.read_text() * 2), "changed"),
        ("round-1/examples.jsonl", flip, "changed"),
        ("heldout.jsonl", replaced('"answer": "', '"answer": "1'), "changed"),
        ("problems.jsonl", replaced('"answer": "', '"answer": "1'), "changed"),
    ],
)
def test_any_output_of_any_stage(
    name: str, edit: Edit, how: str, finished_copy: Path, fails: Callable[..., str]
) -> None:
    edit(finished_copy / name)
    told = fails("status", finished_copy)
    assert f"  {name}, of the " in told and f": {how}\n" in told
    assert f"tpt verify-run {finished_copy}" in told


def test_a_record_that_is_not_what_its_stages_say(finished_copy: Path, fails: Callable[..., str], tpt: Tpt) -> None:
    another_record(finished_copy / "round-1" / "round.json")
    assert "round.json: not what the manifests of the round's stages say" in fails("report", finished_copy)
    assert "round.json: not what" in tpt("verify-run", finished_copy).out
    assert tpt("run", finished_copy).code == 0
    assert tpt("report", finished_copy).code == 0, "it was made again"


def test_another_best_round(finished_copy: Path, tpt: Tpt) -> None:
    (finished_copy / "best").write_text("round-7\n", encoding="utf-8")
    result = tpt("verify-run", finished_copy)
    assert result.code == 1 and "best: says 'round-7', and it is round-" in result.out


def test_a_stage_done_again_alone_brings_the_record_with_it(finished_copy: Path, tpt: Tpt) -> None:
    (finished_copy / "round-1" / "evaluate.json").unlink()
    assert tpt("evaluate", finished_copy, "--round", "1").code == 0
    assert tpt("report", finished_copy).code == 0


def test_a_copy_is_read_once(finished_copy: Path, tmp_path: Path, tpt: Tpt, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(finished_copy, tmp_path / "cp-r", copy_function=shutil.copyfile)
    read: list[Path] = []
    taken = outputs.digest
    monkeypatch.setattr(outputs, "digest", lambda path: read.append(path) or taken(path))
    assert tpt("status", copy).code == 0
    assert len(read) == len(set(read)) > 10
    monkeypatch.setattr(outputs, "_TAKEN", {})  # as in another process
    read.clear()
    assert tpt("report", copy).code == 0 and read == []
    replaced('"WRONG"', '"CORRECT"')(copy / VERDICTS)
    assert tpt("report", copy).code == 1 and len(read) <= 1
    shutil.copyfile(finished_copy / VERDICTS, copy / VERDICTS)
    assert tpt("report", copy).code == 0, "it is put back"


def test_an_untouched_run_is_not_read_at_all(finished_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shutil.copytree(finished_copy, finished_copy.with_name("kept"))
    # What was frozen before the first stage is older than its manifest.
    monkeypatch.setattr(outputs, "digest", lambda path: pytest.fail(f"{path} was read"))
    require_unchanged_run(RunDir(run))


def test_a_checkpoint_may_be_deleted(finished_copy: Path, tpt: Tpt, fails: Callable[..., str]) -> None:
    shutil.rmtree(finished_copy / "round-1" / "checkpoint")
    for command in ("status", "report", "run"):
        assert tpt(command, finished_copy).code == 0, command
    result = tpt("verify-run", finished_copy)
    assert result.code == 0 and "round 1 train: as it was written (the checkpoint is not here)" in result.out
    assert "checkpoint: missing, though" in fails("score", finished_copy, "--round", "1")
    (finished_copy / "round-1" / "evaluate.json").unlink()
    assert "checkpoint: missing, though" in fails("evaluate", finished_copy, "--round", "1")


def test_verify_run_reads_everything(finished_copy: Path, tpt: Tpt) -> None:
    result = tpt("verify-run", finished_copy)
    assert result.code == 0
    stages = [("0", "evaluate"), *(("1", stage) for stage in ("think", "prune", "train", "evaluate"))]
    assert result.out.splitlines() == [f"round {index} {stage}: as it was written" for index, stage in stages]
    quiet(finished_copy / "round-1" / "checkpoint" / "model.safetensors", flip)
    assert tpt("status", finished_copy).code == 0, "size and time of change are what they were"
    result = tpt("verify-run", finished_copy)
    assert result.code == 1
    assert "round 1 train: NOT what it was: round-1/checkpoint/model.safetensors changed" in result.out
    assert result.out.endswith("changed files:\n  round-1/checkpoint/model.safetensors changed\n")
    table = json.loads(tpt("verify-run", finished_copy, "--format", "json").out)
    assert table["ok"] is False and table["changed"] == ["round-1/checkpoint/model.safetensors changed"]


def test_verify_run_computes_the_scores_again(finished_copy: Path, tpt: Tpt) -> None:
    path = finished_copy / "round-1" / "evaluate.json"
    another_score(path)
    out = tpt("verify-run", finished_copy).out
    assert "round-1/evaluate.json changed" in out and "pass_at_k.1.mean is 0.999, and 0." in out
    reseal(finished_copy)
    result = tpt("verify-run", finished_copy)
    assert result.code == 1, "a manifest with the right digest and wrong numbers"
    assert "round 1 evaluate: NOT what it was: pass_at_k.1.mean is 0.999, and 0." in result.out


def as_earlier_versions_wrote(run: Path) -> None:
    """Manifests without records of their files; everything else is older than they are."""
    for path in run.glob("round-*/*.json"):
        if path.name != "round.json":
            table = read_json(path)
            write_json(path, {key: value for key, value in table.items() if key not in ("files", "digest")})


def test_runs_of_earlier_versions(finished_copy: Path, tpt: Tpt, fails: Callable[..., str]) -> None:
    as_earlier_versions_wrote(finished_copy)
    assert tpt("report", finished_copy).code == tpt("verify-run", finished_copy).code == 0
    for name in ("round-1/checkpoint/model.safetensors", VERDICTS):
        path = finished_copy / name
        before, then = path.read_bytes(), path.stat()
        flip(path)
        assert f"{name}, of the" in fails("report", finished_copy)
        os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
        assert name.rpartition("/")[0] in tpt("verify-run", finished_copy).out
        path.write_bytes(before)
    assert tpt("report", finished_copy).code == 0


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"a": 1}', "\0"])
def test_a_damaged_list_of_digests_is_made_again(content: str, finished_copy: Path, tpt: Tpt) -> None:
    known = finished_copy / "cache" / "digests.json"
    known.parent.mkdir(exist_ok=True)
    known.write_text(content, encoding="utf-8")
    os.utime(finished_copy / VERDICTS)
    assert tpt("status", finished_copy).code == 0
    assert VERDICTS in read_json(known)


def test_score_takes_the_best_round_by_the_verdicts_whatever_the_file_says(
    finished_copy: Path, tpt: Tpt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("tpt.cli.score.report_run", lambda run, format: asked.append(run))
    monkeypatch.setattr("tpt.rounds.Run.rounds", lambda self: [])
    best = best_round(RunDir(finished_copy), Run(finished_copy).records()).index
    for said in (f"round-{1 - best}\n", "round-7\n", "", "round-../../other\n", None):
        (finished_copy / "best").unlink(missing_ok=True)
        if said is not None:
            (finished_copy / "best").write_text(said, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        assert tpt("score", finished_copy).code == 0
        assert f"-round-{best}-" in asked[-1].path.name
