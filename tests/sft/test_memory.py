"""The estimate of training memory: right counts, parts that match what autograd keeps, and refusals that help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import Gemma2Config, LlamaConfig, LlamaForCausalLM, PreTrainedConfig

from tpt.chat import PromptTemplate
from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.records import Example, Problem
from tpt.sft.memory import (
    GIB,
    Plan,
    Shape,
    _activations,
    _check_loading,
    _group_limits,
    available_bytes,
    check_fits,
    estimate,
    fit_report,
    shape_of,
)
from tpt.train import Start, train

GEMMA_2_2B = Gemma2Config(
    vocab_size=256000,
    hidden_size=2304,
    intermediate_size=9216,
    num_hidden_layers=26,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=256,
)
GEMMA_2_9B = Gemma2Config(
    vocab_size=256000,
    hidden_size=3584,
    intermediate_size=14336,
    num_hidden_layers=42,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=256,
)
LLAMA_70B = LlamaConfig(
    vocab_size=128256,
    hidden_size=8192,
    intermediate_size=28672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
)


@pytest.fixture(scope="module")
def shapes() -> dict[str, Shape]:
    return {"2b": shape_of(GEMMA_2_2B), "9b": shape_of(GEMMA_2_9B), "70b": shape_of(LLAMA_70B)}


def test_parameters_are_those_of_the_published_models(shapes: dict[str, Shape]) -> None:
    counts = {name: shape.parameters for name, shape in shapes.items()}
    assert counts == {"2b": 2_614_341_888, "9b": 9_241_705_984, "70b": 70_553_706_496}


def test_full_training_keeps_sixteen_bytes_a_weight(shapes: dict[str, Shape]) -> None:
    shape = shapes["2b"]
    one = estimate(shape, Plan(micro_batch_size=2, length=1600))
    assert one.weights + one.gradients + one.optimizer == 16 * shape.parameters
    eight = estimate(shape, Plan(micro_batch_size=2, length=1600, devices=8))
    assert eight.weights + eight.gradients + eight.optimizer == 2 * shape.parameters
    assert eight.activations == one.activations


def test_gemma_2_2b_needs_an_adapter_or_more_devices_on_24_gb(shapes: dict[str, Shape]) -> None:
    plan = Plan(micro_batch_size=2, length=1600)
    with pytest.raises(TrainError) as refused:
        fit_report(shapes["2b"], plan, available=24 * GIB)
    said = str(refused.value)
    assert "there are 24.0 GiB (cuda)" in said
    assert "optimizer 19.5" in said
    assert 'train.method = "lora"' in said
    assert "train.devices = 4" in said
    assert "train.gradient_checkpointing = true:" not in said, "43 GiB are too many"
    lora = Plan(micro_batch_size=1, length=1600, method="lora", gradient_checkpointing=True)
    assert fit_report(shapes["2b"], lora, available=24 * GIB).total < 8 * GIB
    assert fit_report(shapes["2b"], plan, available=80 * GIB).total > 48 * GIB


def test_gemma_2_9b_and_llama_70b_over_devices(shapes: dict[str, Shape]) -> None:
    settings: dict[str, Any] = {"micro_batch_size": 1, "length": 1600, "gradient_checkpointing": True}
    assert 100 * GIB < estimate(shapes["9b"], Plan(**settings)).total < 160 * GIB
    fit_report(shapes["9b"], Plan(**settings, devices=4), available=80 * GIB)
    with pytest.raises(TrainError, match=r"train\.devices = 32"):
        fit_report(shapes["70b"], Plan(**settings, devices=8), available=80 * GIB)
    fit_report(shapes["70b"], Plan(**settings, devices=32), available=80 * GIB)
    fit_report(shapes["70b"], Plan(**settings, method="qlora"), available=80 * GIB)
    with pytest.raises(TrainError, match="qlora"):
        fit_report(shapes["70b"], Plan(**settings, method="lora"), available=80 * GIB)


def test_whole_logits_of_a_large_vocabulary_are_counted(shapes: dict[str, Shape]) -> None:
    tiled = estimate(shapes["2b"], Plan(micro_batch_size=2, length=1600))
    whole = estimate(shapes["2b"], Plan(micro_batch_size=2, length=1600, whole_logits=True))
    assert whole.logits - tiled.logits > 2 * 1600 * 256000 * 12


@pytest.mark.parametrize(
    "changed",
    [
        {"micro_batch_size": 1},
        {"length": 400},
        {"gradient_checkpointing": True},
        {"method": "lora"},
        {"devices": 2},
        {"optimizer": "adamw_8bit"},
    ],
)
def test_what_is_said_to_save_memory_does(changed: dict[str, Any], shapes: dict[str, Shape]) -> None:
    before: dict[str, Any] = {"micro_batch_size": 2, "length": 1600}
    for shape in shapes.values():
        assert estimate(shape, Plan(**before | changed)).total < estimate(shape, Plan(**before)).total


def test_there_may_be_nothing_that_fits(shapes: dict[str, Shape]) -> None:
    with pytest.raises(TrainError, match="Nothing short of a smaller model"):
        fit_report(shapes["70b"], Plan(micro_batch_size=1, length=1600, device="cpu"), available=8 * GIB)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["whole", "checkpointed"])
def test_activations_are_what_autograd_keeps(precision: Any, checkpointing: bool) -> None:
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
    )
    plan = Plan(micro_batch_size=2, length=200, precision=precision, gradient_checkpointing=checkpointing, device="cpu")
    kept = _kept_bytes(config, plan)
    guessed = _activations(shape_of(config), plan)
    if checkpointing:
        # Autograd keeps the layers' inputs; the layer that is computed anew comes on top in the backward pass.
        guessed -= 2 * _one_layer(shape_of(config), plan)
    assert guessed == pytest.approx(kept, rel=0.1)


def _one_layer(shape: Shape, plan: Plan) -> int:
    from dataclasses import replace

    whole = replace(plan, gradient_checkpointing=False)
    more = replace(shape, layers=shape.layers + 1)
    return _activations(more, whole) - _activations(shape, whole)


def _kept_bytes(config: PreTrainedConfig, plan: Plan) -> int:
    """Count what the backbone's forward pass saves for the backward pass, weights and their rounded copies apart."""
    model = LlamaForCausalLM(config).train()
    if plan.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    shapes = {tuple(weight.shape) for weight in model.parameters() if weight.dim() == 2}
    shapes |= {shape[::-1] for shape in shapes}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tuple(tensor.shape) not in shapes:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = torch.randint(0, 64, (plan.micro_batch_size, plan.length))
    rounded = torch.autocast("cpu", torch.bfloat16, enabled=plan.precision == "bfloat16")
    with saved_tensors_hooks(pack, lambda tensor: tensor), rounded:
        output = model.model(ids)
    assert output.last_hidden_state.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def test_a_model_spec_is_checked_by_its_config_alone() -> None:
    plan = Plan(micro_batch_size=1, length=128, device="cpu", precision="float32")
    found = check_fits("embedded", plan)
    assert found.weights == found.gradients == found.snapshot == found.optimizer // 2
    with pytest.raises(TrainError, match=r"a device, and there are 0\.0 GiB"):
        check_fits("embedded", plan, available=2**20)


def test_a_training_that_cannot_fit_is_refused_before_anything_is_loaded(
    examples: list[Example], problems: dict[str, Problem], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(free: int) -> dict[str, Any]:
        monkeypatch.setattr("tpt.sft.memory.available_bytes", lambda device: free)
        config, prompt = TrainConfig(micro_batch_size=8), PromptTemplate()
        return train(
            examples[:8], problems, config=config, prompt=prompt, start=Start("embedded"), out=tmp_path / "out", seed=0
        )

    with pytest.raises(TrainError, match=r"training would need about 0\.\d GiB a device, and there are 0\.4 GiB"):
        start(400 * 2**20)
    assert list(tmp_path.iterdir()) == []
    told = start(4 * GIB)["memory_estimate"]
    assert sum(size for name, size in told.items() if name != "total") == pytest.approx(told["total"], abs=4)


def test_loading_in_every_process_must_fit_the_host(shapes: dict[str, Shape]) -> None:
    plan = Plan(micro_batch_size=1, length=512, devices=8)
    _check_loading(shapes["9b"], plan, available=400 * GIB)
    with pytest.raises(TrainError, match=r"loading the model in 8 processes would need about 2\d\d\d GiB"):
        _check_loading(shapes["70b"], plan, available=1000 * GIB)


def test_free_memory_respects_the_control_groups(tmp_path: Path) -> None:
    assert 0 < available_bytes("cpu") < 2**50
    root, membership = tmp_path / "cgroup", tmp_path / "membership"
    job = root / "slice" / "job"
    job.mkdir(parents=True)
    membership.write_text("0::/slice/job\n")
    assert _group_limits(root, membership) == []
    (job / "memory.max").write_text("max\n")
    (job / "memory.current").write_text("5\n")
    assert _group_limits(root, membership) == []
    (root / "slice" / "memory.max").write_text("1000\n")
    (root / "slice" / "memory.current").write_text("400\n")
    assert _group_limits(root, membership) == [600]
    (root / "memory" / "old").mkdir(parents=True)
    (root / "memory" / "old" / "memory.limit_in_bytes").write_text("300\n")
    (root / "memory" / "old" / "memory.usage_in_bytes").write_text("500\n")
    membership.write_text("4:cpu,cpuacct:/other\n3:memory:/old\n")
    assert _group_limits(root, membership) == [0]
    assert _group_limits(root, tmp_path / "nothing") == []
