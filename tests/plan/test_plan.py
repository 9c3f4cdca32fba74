"""`tpt plan`, from the command line: on this machine, on named GPUs, on runs that are there, on models too large."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import QUICKSTART, TINY, Finished, Tpt, sets
from paper_models import GEMMA_2_2B, GEMMA_2_9B, LLAMA_70B
from resealed import reseal

from tpt.errors import ModelError
from tpt.plan.work import read_architecture
from tpt.run.directory import RunDir
from tpt.run.manifest import load_manifest

PAPER = ("engine.batch_invariant=false", "think.max_tokens=512", "evaluate.max_tokens=512", "train.batch_size=16")
Planned = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def planned(tpt: Tpt, tmp_path: Path) -> Planned:
    """Plans the quickstart's problems for a model of which there is only a config."""

    def call(model: Any, gpu: str, *overrides: str) -> tuple[int, dict[str, Any]]:
        model.save_pretrained(tmp_path / "model")
        changed = sets(f"model={tmp_path / 'model'}", *PAPER, *overrides)
        result = tpt("plan", QUICKSTART, "--out", tmp_path / "run", *changed, "--gpu", gpu, "--format", "json")
        assert not (tmp_path / "run").exists()
        return result.code, json.loads(result.out)

    return call


def _fits(plan: dict[str, Any]) -> dict[str, bool]:
    return {fit["stage"]: fit["fits"] for fit in plan["memory"]}


def test_a_paper_size_model_is_refused_where_it_does_not_fit(planned: Planned) -> None:
    code, plan = planned(GEMMA_2_2B, "rtx4090", "train.micro_batch_size=2")
    assert code == 1
    assert not plan["fits"]
    assert _fits(plan) == {"think": True, "train": False, "evaluate": True}
    train = next(fit for fit in plan["memory"] if fit["stage"] == "train")
    # Weights, gradients and two moments in float32 alone are 16 bytes of each of 2.6 billion weights.
    assert train["needed"] > 16 * 2.6e9
    assert 'train.method = "lora"' in train["instead"]
    assert "train.micro_batch_size = 1" in train["instead"]
    assert "h100" in plan["fits_on"]
    assert "rtx4090" not in plan["fits_on"]


def test_the_same_model_fits_a_larger_gpu_and_has_a_price(planned: Planned) -> None:
    code, plan = planned(GEMMA_2_2B, "h100", "train.micro_batch_size=2")
    assert code == 0
    assert all(_fits(plan).values())
    assert 60 < plan["total"]["seconds"] < 36000


def test_devices_that_the_config_asks_for_must_be_there(planned: Planned) -> None:
    settings = ("engine.tensor_parallel_size=4", "train.micro_batch_size=1", "train.method=lora")
    code, plan = planned(GEMMA_2_9B, "h100:2", *settings)
    assert code == 1
    assert _fits(plan) == {"think": False, "train": True, "evaluate": False}
    assert "--gpu h100:4" in plan["memory"][0]["instead"]
    code, plan = planned(GEMMA_2_9B, "h100:8", *settings)
    assert code == 0
    assert any("4 of 8 devices" in each for each in plan["assumptions"])


def test_a_model_that_no_gpu_holds_whole_needs_several(planned: Planned) -> None:
    _, plan = planned(LLAMA_70B, "h100:8", "train.method=lora", "train.micro_batch_size=1")
    assert _fits(plan) == {"think": False, "train": False, "evaluate": False}
    assert "engine.tensor_parallel_size = 4" in plan["memory"][0]["instead"]
    assert 'train.method = "qlora"' in plan["memory"][1]["instead"]
    settings = ("engine.tensor_parallel_size=8", "evaluate.probe=0")
    _, plan = planned(LLAMA_70B, "h100:8", "train.method=qlora", "train.micro_batch_size=1", *settings)
    assert all(_fits(plan).values())


def test_this_machine_is_timed_and_nothing_is_written(tpt: Tpt, tmp_path: Path, one_thread: None) -> None:
    known = ("--solve-rate", "0.34", "--price", "3600", "--format", "json")
    result = tpt("plan", QUICKSTART, "--out", tmp_path / "run", *known, *sets(*TINY))
    assert result.code == 0
    assert not (tmp_path / "run").exists()
    plan = json.loads(result.out)
    said = " ".join(plan["assumptions"])
    assert "Solve rate: 34% in the mean, given" in said
    assert "by the model's tokenizer" in said
    assert "the problems' own solutions" in said
    assert [stage["stage"] for stage in plan["stages"]] == ["evaluate", "think", "train", "evaluate"]
    assert all(stage["seconds"] > 0 for stage in plan["stages"])
    assert plan["price"] == pytest.approx(plan["total"]["seconds"])


def test_a_finished_run_is_planned_against_what_it_measured(tpt: Tpt, finished: Finished, one_thread: None) -> None:
    plan = json.loads(tpt("plan", finished.path, "--format", "json").out)
    done = [stage for stage in plan["stages"] if stage["done"]]
    assert len(done) == len(plan["stages"]) == len(plan["reality"]) == 4
    run = RunDir(finished.path)
    think = load_manifest(run.round(1).manifest("think"))["counts"]
    tokens = think["completion_tokens"] + think["surplus_tokens"] + think["cancelled_tokens"]
    assert (done[1]["tokens"], done[1]["seconds"]) == (tokens, think["wall_s"])
    assert plan["reality"][1]["tokens_ratio"] == tokens / plan["reality"][1]["planned_tokens"]
    text = tpt("plan", finished.path).out
    assert "planned before the run, and measured:" in text
    assert "as it looks now" in text


def test_a_run_under_way_plans_the_rest_with_its_lengths(tpt: Tpt, finished_copy: Path, one_thread: None) -> None:
    for stage in ("train", "evaluate"):
        (finished_copy / "round-1" / f"{stage}.json").unlink()
    plan = json.loads(tpt("plan", finished_copy, "--format", "json").out)
    assert [stage["done"] for stage in plan["stages"]] == [True, True, False, False]
    first, last = plan["stages"][0], plan["stages"][3]
    assert last["tokens"] == pytest.approx(first["tokens"], rel=0.1)
    assert first["seconds"] / 4 < last["seconds"] < 4 * first["seconds"]


def test_a_damaged_run_is_said_to_be_damaged(fails: Callable[..., str], finished_copy: Path) -> None:
    verdicts = finished_copy / "round-1" / "verdicts.jsonl"
    verdicts.write_text("".join(verdicts.read_text(encoding="utf-8").splitlines(True)[1:]), encoding="utf-8")
    assert "round-1/verdicts.jsonl, of the think stage of round 1: changed" in fails("plan", finished_copy)
    reseal(finished_copy)
    assert "without a verdict" in fails("plan", finished_copy)
    manifest = finished_copy / "round-1" / "think.json"
    manifest.write_text('{"inputs": {}, "outputs": {}, "counts": {"completion_tokens": 1}}', encoding="utf-8")
    assert f"{manifest}: damaged" in fails("plan", finished_copy)


@pytest.mark.parametrize(
    ("override", "examples", "samples"),
    [
        ("prune.growth=2", [10, 20, 40], None),
        ("data.mode=accumulate", [10, 20, 30], None),
        ("think.sampler=fixed", [10, 10, 10], 160),
    ],
)
def test_the_policies_are_counted(planned: Planned, override: str, examples: list[int], samples: int | None) -> None:
    settings = [each for each in TINY if not each.startswith(("rounds", "engine"))]
    _, plan = planned(
        GEMMA_2_2B, "h100", *settings, "rounds=3", "train.micro_batch_size=1", "problems.max_train=40", override
    )
    found = [stage["samples"] for stage in plan["stages"] if stage["stage"] == "train"]
    # Of 40 problems not more can be solved than the model solves.
    assert all(few <= most for few, most in zip(found, examples, strict=True))
    assert found[1] >= examples[1] * 0.8
    if samples is not None:
        assert {stage["samples"] for stage in plan["stages"] if stage["stage"] == "think"} == {samples}


def test_what_cannot_be_planned_is_said(fails: Callable[..., str], tmp_path: Path) -> None:
    said = fails("plan", QUICKSTART, "--gpu", "h1000", code=2)
    assert "there are: a100-40, a100, h100" in said
    assert "Did you mean 'h100'?" in said
    for option in ("--price", "--completion-tokens", "--detect", "--solve-rate", "--mfu"):
        for number in ("inf", "nan"):
            fails("plan", QUICKSTART, "--gpu", "h100", option, number, code=2)
    said = fails("plan", QUICKSTART, "--out", tmp_path, *sets("model=./nowhere"))
    assert "put it into a folder and give that, --set model=FOLDER" in said
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"the model's config\.json is enough"):
        read_architecture(str(tmp_path))
