"""Adapters: trained, kept or merged, continued, resumed, and refused where they cannot work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from tpt.config import PromptConfig, TrainConfig
from tpt.engines.vllm import served_adapter as find_served
from tpt.errors import EngineError, ModelError, TrainError
from tpt.model.adapter_folder import base_to_name, find_adapter
from tpt.model.chat import Chat
from tpt.model.load import load_model, load_tokenizer
from tpt.records import Example, Problem
from tpt.sft import ResumePoint, Row, fit, snapshot
from tpt.sft.adapters import adapter_state, add_adapter, check_method
from tpt.train import Start, train

pytest.importorskip("peft", reason="adapters need peft")

Weights = dict[str, torch.Tensor]
Train = Callable[..., dict[str, Any]]
FAST = {"learning_rate": 5e-3, "batch_size": 8, "micro_batch_size": 4, "lora_rank": 4, "lora_alpha": 8}


@pytest.fixture
def do_train(examples: list[Example], problems: dict[str, Problem], tmp_path: Path) -> Train:
    """Trains the embedded model, or another, into a round of a run."""

    def do(out: str, start: str = "embedded", base: str | None = None, **settings: Any) -> dict[str, Any]:
        folder = tmp_path / "run" / out / "checkpoint"
        folder.parent.mkdir(parents=True, exist_ok=True)
        chat = Chat(load_tokenizer("embedded"), PromptConfig())
        return train(
            examples[:16],
            problems,
            config=TrainConfig(**{**FAST, **settings}),
            prompt=chat.prompt,
            start=Start(start, base=base),
            out=folder,
            seed=5,
        )

    return do


def weights_of(spec: Path | str) -> Weights:
    return snapshot(load_model(str(spec), dtype="float32", device="cpu"))


def assert_close(found: Weights, expected: Weights, *, atol: float = 1e-6) -> None:
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.allclose(found[name], weight, atol=atol), name


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_kept_and_merged_are_the_same_model(do_train: Train, tmp_path: Path, method: str) -> None:
    merged = do_train("merged", method=method, epochs=4)
    kept = do_train("kept", method=method, adapter="keep", epochs=4)
    assert kept["losses"] == merged["losses"]
    assert merged["loss_last"] < merged["loss_first"]
    run, base = tmp_path / "run", weights_of("embedded")
    trained = weights_of(run / "merged" / "checkpoint")
    assert_close(weights_of(run / "kept" / "checkpoint"), trained)
    # What the manifest says is measured on the weights as an engine will see them.
    changed = sum(int((trained[name] != base[name]).sum()) for name in base)
    parameters = sum(weight.numel() for weight in base.values())
    assert merged["parameters"] == kept["parameters"] == parameters
    assert merged["changed_share"] == kept["changed_share"] == pytest.approx(changed / parameters, abs=5e-4)
    size = sum(path.stat().st_size for path in (run / "kept" / "checkpoint").glob("*.safetensors"))
    assert size < 0.2 * (run / "merged" / "checkpoint" / "model.safetensors").stat().st_size
    adapter = load_file(run / "kept" / "checkpoint" / "adapter_model.safetensors")
    assert {weight.dtype for weight in adapter.values()} == {torch.float32}
    assert not any("lm_head" in name or "embed" in name for name in adapter)
    if method == "dora":
        with pytest.raises(EngineError, match="vLLM has no DoRA adapters"):
            find_served(str(run / "kept" / "checkpoint"))


def test_the_next_round_goes_on_with_the_adapter_and_the_run_can_move(do_train: Train, tmp_path: Path) -> None:
    do_train("round-1", method="lora", adapter="keep")
    first = tmp_path / "run" / "round-1" / "checkpoint"
    goes_on = do_train("round-2", start=str(first), method="lora", adapter="keep")
    second = find_adapter(str(tmp_path / "run" / "round-2" / "checkpoint"))
    assert second is not None
    assert second.base == "embedded"
    assert goes_on["changed_share"] > 0.9
    before, after = (load_file(place / "adapter_model.safetensors") for place in (first, second.folder))
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)

    # A whole model as the base of an adapter: a round that merged comes before one that keeps.
    do_train("round-3", start=str(second.folder), method="lora", adapter="merge")
    third = tmp_path / "run" / "round-3" / "checkpoint"
    do_train("round-4", start=str(third), method="lora", adapter="keep")
    expected = weights_of(tmp_path / "run" / "round-4" / "checkpoint")
    settings = json.loads((tmp_path / "run" / "round-4" / "checkpoint" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "../../round-3/checkpoint"
    (tmp_path / "run").rename(tmp_path / "moved")
    assert_close(weights_of(tmp_path / "moved" / "round-4" / "checkpoint"), expected, atol=0)


def test_full_training_goes_on_from_an_adapter(do_train: Train, tmp_path: Path) -> None:
    do_train("round-1", method="lora", adapter="keep")
    start = str(tmp_path / "run" / "round-1" / "checkpoint")
    counts = do_train("round-2", start=start, learning_rate=1e-4)
    assert counts["parameters"] == sum(weight.numel() for weight in weights_of("embedded").values())
    assert counts["mean_relative_change"] < 0.01


@pytest.mark.parametrize("adapter", ["keep", "merge"])
def test_interpolate_mixes_with_the_base(do_train: Train, tmp_path: Path, adapter: str) -> None:
    do_train("whole", method="lora", adapter=adapter)
    do_train("mixed", method="lora", adapter=adapter, interpolate=0.25)
    trained, mixed = (weights_of(tmp_path / "run" / name / "checkpoint") for name in ("whole", "mixed"))
    base = weights_of("embedded")
    assert_close(mixed, {name: 0.75 * trained[name] + 0.25 * base[name] for name in base})


def test_another_kind_of_adapter_is_not_gone_on_with(do_train: Train, tmp_path: Path) -> None:
    do_train("round-1", method="lora", adapter="keep")
    start = str(tmp_path / "run" / "round-1" / "checkpoint")
    with pytest.raises(TrainError, match=r"lora_rank = 4, .* cannot be trained on with lora_rank = 8, .*start_from"):
        do_train("round-2", start=start, method="lora", adapter="keep", lora_rank=8)
    with pytest.raises(TrainError, match=r"train.lora_targets = 'no_such'"):
        do_train("round-2", method="lora", lora_targets="no_such")
    shutil.copy(tmp_path / "run" / "round-1" / "checkpoint" / "tokenizer.json", tmp_path)
    (Path(start) / "adapter_config.json").write_text('{"r": 4}')
    with pytest.raises(ModelError, match="must name base_model_name_or_path and r"):
        load_model(start, dtype="auto", device="auto")


def test_a_killed_training_of_an_adapter_goes_on_to_the_same_bits(
    build_model: Callable[[], LlamaForCausalLM], tokenizer: Any, rows: list[Row], tmp_path: Path
) -> None:
    config = TrainConfig(**{**FAST, "batch_size": 4, "method": "lora", "lora_dropout": 0.1, "save_every_steps": 2})

    def adapter(point: ResumePoint | None, stop_at: int = 0) -> tuple[int, Weights]:
        model = build_model()
        add_adapter(model, config, seed=3)

        def progress(step: int, steps: int, loss: float) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        log = fit(model, tokenizer, rows[:20], config=config, seed=1, point=point, progress=progress)
        return log.resumed_at, adapter_state(model)

    point = ResumePoint(tmp_path, "key")
    with pytest.raises(KeyboardInterrupt):
        adapter(point, stop_at=3)
    kept = {path.name for path in (tmp_path / "checkpoint-2").iterdir()}
    assert "adapter_model.safetensors" in kept
    assert "model.safetensors" not in kept
    resumed_at, found = adapter(point)
    assert resumed_at == 2
    _, expected = adapter(None)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_an_adapter_is_float32_on_weights_in_bfloat16(
    build_model: Callable[[], LlamaForCausalLM], tokenizer: Any, rows: list[Row]
) -> None:
    model = build_model().bfloat16()
    config = TrainConfig(**{**FAST, "method": "lora", "precision": "bfloat16"})
    add_adapter(model, config, seed=0)
    log = fit(model, tokenizer, rows, config=config, seed=0)
    assert log.packed
    assert {w.dtype for w in model.parameters() if w.requires_grad} == {torch.float32}
    assert {w.dtype for w in model.parameters() if not w.requires_grad} == {torch.bfloat16}
    assert log.losses[-1] < log.losses[0]


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="qlora needs bitsandbytes")
def test_qlora_trains_on_four_bits_and_merges_into_the_whole_weights(do_train: Train, tmp_path: Path) -> None:
    kept = do_train("kept", method="qlora", adapter="keep", save_every_steps=1, epochs=4)
    merged = do_train("merged", method="qlora", epochs=4)
    assert merged["loss_last"] < merged["loss_first"]
    assert kept["losses"] == merged["losses"]
    run = tmp_path / "run"
    assert_close(weights_of(run / "kept" / "checkpoint"), weights_of(run / "merged" / "checkpoint"))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpt.sft.adapters.is_installed", lambda name: False)
    check_method(TrainConfig())
    with pytest.raises(TrainError, match=r'train.method = "dora" needs the package peft: pip install peft'):
        check_method(TrainConfig(method="dora"))
    monkeypatch.setattr("tpt.sft.adapters.is_installed", lambda name: name != "bitsandbytes")
    with pytest.raises(TrainError, match=r'train.method = "qlora" needs the package bitsandbytes'):
        check_method(TrainConfig(method="qlora"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "qlora", "devices": 2, "strategy": "fsdp2", "batch_size": 8}, "cannot be sharded"),
        ({"method": "dora", "adapter": "keep", "interpolate": 0.5}, "cannot be put into a DoRA adapter"),
        ({"lora_targets": " ,"}, "lora_targets is empty"),
        ({"batch_size": 8, "micro_batch_size": 2, "devices": 3}, "no multiple of micro_batch_size x devices = 2 x 3"),
    ],
)
def test_settings_that_cannot_work_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


def test_a_base_outside_of_the_run_is_named_by_its_place(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "round-1" / "checkpoint"
    (tmp_path / "base").mkdir()
    assert base_to_name(str(tmp_path / "base"), checkpoint) == str(tmp_path / "base")
    assert base_to_name("owner/name", checkpoint) == "owner/name"


def test_a_low_learning_rate_is_said(do_train: Train, capfd: pytest.CaptureFixture[str]) -> None:
    do_train("low", method="lora", learning_rate=1e-6)
    assert "an adapter wants 10 to 100 times the rate" in capfd.readouterr().err
