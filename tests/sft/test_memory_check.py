"""Whether a training fits: refusals that help, before anything is loaded, and none where nothing is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tpt.config import PromptConfig, TrainConfig
from tpt.errors import TrainError
from tpt.model.load import load_architecture
from tpt.records import Example, Problem
from tpt.sft.memory import GIB, Plan, Shape, estimate, shape_of
from tpt.sft.memory_check import check_host, fit_report
from tpt.train import Start, train


def test_gemma_2_2b_needs_an_adapter_or_more_devices_on_24_gb(shapes: dict[str, Shape]) -> None:
    plan = Plan(micro_batch_size=2, length=1600)
    with pytest.raises(TrainError) as refused:
        fit_report(shapes["2b"], plan, available=24 * GIB)
    said = str(refused.value)
    assert "there are 24.0 GiB (cuda)" in said
    assert "optimizer 19.5" in said
    assert 'train.method = "lora"' in said
    assert "train.devices = 4" in said
    assert "train.gradient_checkpointing = true:" not in said, "48 GiB are too many"
    lora = Plan(micro_batch_size=1, length=1600, method="lora", gradient_checkpointing=True)
    assert fit_report(shapes["2b"], lora, available=24 * GIB).total < 8 * GIB
    assert fit_report(shapes["2b"], plan, available=80 * GIB).total > 48 * GIB


def test_gemma_2_9b_and_llama_70b_over_devices(shapes: dict[str, Shape]) -> None:
    settings: dict[str, Any] = {"micro_batch_size": 1, "length": 1600, "gradient_checkpointing": True}
    assert 100 * GIB < estimate(shapes["9b"], Plan(**settings)).total < 170 * GIB
    fit_report(shapes["9b"], Plan(**settings, devices=4), available=80 * GIB)
    with pytest.raises(TrainError, match=r"train\.devices = 32"):
        fit_report(shapes["70b"], Plan(**settings, devices=8), available=80 * GIB)
    fit_report(shapes["70b"], Plan(**settings, devices=32), available=80 * GIB)
    fit_report(shapes["70b"], Plan(**settings, method="qlora"), available=80 * GIB)
    with pytest.raises(TrainError, match="qlora"):
        fit_report(shapes["70b"], Plan(**settings, method="lora"), available=80 * GIB)


def test_there_may_be_nothing_that_fits(shapes: dict[str, Shape]) -> None:
    with pytest.raises(TrainError, match="Nothing short of a smaller model"):
        fit_report(shapes["70b"], Plan(micro_batch_size=1, length=1600, device="cpu"), available=8 * GIB)


def test_a_model_spec_is_checked_by_its_config_alone() -> None:
    plan = Plan(micro_batch_size=1, length=128, device="cpu", precision="float32")
    shape = shape_of(load_architecture("embedded"))
    found = fit_report(shape, plan, available=None)
    assert found.weights == found.gradients == found.optimizer // 2 and not found.snapshot
    with pytest.raises(TrainError, match=r"a device, and there are 0\.0 GiB"):
        fit_report(shape, plan, available=2**20)


def test_a_training_that_cannot_fit_is_refused_before_anything_is_loaded(
    examples: list[Example], problems: dict[str, Problem], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(free: int) -> dict[str, Any]:
        monkeypatch.setattr("tpt.sft.memory_check.available_bytes", lambda device: free)
        config, prompt = TrainConfig(micro_batch_size=8), PromptConfig()
        return train(
            examples[:8], problems, config=config, prompt=prompt, start=Start("embedded"), out=tmp_path / "out", seed=0
        )

    with pytest.raises(TrainError, match=r"training would need about 0\.\d GiB a device, and there are 0\.4 GiB"):
        start(400 * 2**20)
    assert list(tmp_path.iterdir()) == []
    told = start(4 * GIB)["memory_estimate"]
    parts = [size for name, size in told.items() if name not in ("total", "available")]
    assert sum(parts) == pytest.approx(told["total"], abs=4)
    assert told["available"] == int(0.9 * 4096)


def test_the_host_holds_one_whole_model_to_load_and_two_to_save(shapes: dict[str, Shape]) -> None:
    plan, config = Plan(micro_batch_size=1, length=512, devices=8), TrainConfig()
    check_host(shapes["70b"], plan, config, available=530 * GIB)
    with pytest.raises(
        TrainError, match=r"would need about 526 GiB of .* each of 2 whole copies, and there are 500 GiB"
    ):
        check_host(shapes["70b"], plan, config, available=500 * GIB)
    with pytest.raises(TrainError, match=r"about 788 GiB .* 3 whole copies"):
        check_host(shapes["70b"], plan, TrainConfig(interpolate=0.1), available=530 * GIB)
    check_host(shapes["70b"], plan, TrainConfig(method="lora", adapter="keep"), available=270 * GIB)
    check_host(shapes["70b"], plan, config, available=None)
    on_cpus = Plan(micro_batch_size=1, length=512, devices=2, device="cpu")
    with pytest.raises(TrainError, match=r"about 58 GiB"):
        check_host(shapes["2b"], on_cpus, config, available=50 * GIB)


def test_nothing_is_refused_where_the_system_does_not_say_what_is_free(
    examples: list[Example], problems: dict[str, Problem], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tpt.sft.memory_check.available_bytes", lambda device: None)
    told = train(
        examples[:4],
        problems,
        config=TrainConfig(),
        prompt=PromptConfig(),
        start=Start("embedded"),
        out=tmp_path / "out",
        seed=0,
    )
    assert told["memory_estimate"]["available"] is None
    assert told["memory_estimate"]["total"] > 0
    assert told["peak_memory_mb"] > 0
