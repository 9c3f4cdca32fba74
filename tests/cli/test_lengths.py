"""Prompts and completions that are too long for the model: refused before anything is written, and mended in place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import QUICKSTART, TINY, Tpt, sets

from tpt.config import load_config
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.run.manifest import write_manifest

Fails = Callable[..., str]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A config of one's own problems that sets no length."""
    for name, first in (("train", 2), ("heldout", 40)):
        rows = [f"What is {first} plus {number}?,{first + number}" for number in range(6)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["question,answer", *rows]) + "\n", encoding="utf-8")
    lines = ['model = "embedded"', "rounds = 1", "threads = 1", "[problems]"]
    lines += [f"{name} = {json.dumps(str(tmp_path / f'{name}.csv'))}" for name in ("train", "heldout")]
    path = tmp_path / "own.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_defaults_that_are_too_long_name_their_keys_and_leave_nothing(
    own: Path, tmp_path: Path, fails: Fails, tpt: Tpt
) -> None:
    out = tmp_path / "out"
    told = fails("run", own, "--out", out, code=2)
    assert "do not fit the 512 positions of the model 'embedded'" in told
    assert "  think.max_tokens = 512: with the longest prompt, " in told and "  evaluate.max_tokens = 512: with" in told
    assert "engine.max_length" not in told
    assert [path.name for path in out.iterdir()] == ["lock"]
    asked = int(told.split("evaluate.max_tokens = 512")[1].split("set it to ")[1].split()[0])
    lengths = ["think.max_tokens=60", f"evaluate.max_tokens={asked}", "evaluate.samples=1", "evaluate.greedy=false"]
    fitting = tpt("run", own, "--out", out, *sets(*lengths, "rounds=0", "evaluate.temperature=0"))
    assert fitting.code == 0, fitting.err


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["think.max_tokens=500"], "  think.max_tokens = 500: with the longest prompt, "),
        (["evaluate.max_tokens=2000"], "  evaluate.max_tokens = 2000: with the longest prompt, "),
        (["engine.max_length=600"], "engine.max_length = 600 is more than the 512 positions of the model 'embedded'"),
        (["engine.max_length=90"], "the 90 positions of engine.max_length:\n  evaluate.max_tokens = "),
        (["engine.max_length=5"], "leave problems out that are so long"),
        (
            ['evaluate.also=[{source="word_problems?split=heldout&seed=9&size=3", max_tokens=700}]'],
            "evaluate.also: max_tokens of ",
        ),
    ],
)
def test_keys_that_were_set(overrides: list[str], said: str, tmp_path: Path, fails: Fails) -> None:
    told = fails("run", QUICKSTART, "--out", tmp_path / "out", *sets(*TINY, *overrides), code=2)
    assert said in told
    assert not (tmp_path / "out" / "config.toml").exists()


def sampled(run: RunDir) -> None:
    place = run.round(0).scored
    place.path.mkdir(parents=True)
    place.traces.write_text('{"problem_id": "x"', encoding="utf-8")


def test_a_run_without_a_finished_stage_takes_another_config(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    Run(run.path, load_config(QUICKSTART, TINY)).prepare()
    run.round(0).evaluate.mkdir(parents=True)
    Run(run.path, load_config(QUICKSTART, [*TINY, "seed=5"])).prepare()
    assert load_config(run.config).seed == 5 and run.rounds() == []
    for number in (1, 2):
        sampled(run)
        Run(run.path, load_config(QUICKSTART, [*TINY, f"seed={5 + number}"])).prepare()
        kept = run.path / f"round-0.other-config-{number}" / "evaluate" / "traces.jsonl"
        assert run.rounds() == [] and kept.read_text(encoding="utf-8") == '{"problem_id": "x"'
    sampled(run)
    Run(run.path, load_config(QUICKSTART, [*TINY, "seed=7"])).prepare()
    assert run.round(0).scored.traces.exists(), "the same config goes on with what is there"


def test_finished_stages_are_never_set_aside(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    config = load_config(QUICKSTART, TINY)
    Run(run.path, config).prepare()
    write_manifest(run.round(0), "evaluate", inputs={}, outputs={}, settings={}, counts={})
    for lost in (run.config, run.problems):
        lost.unlink()
        Run(run.path, config).prepare()
        assert run.round(0).manifest("evaluate").exists() and lost.exists()
