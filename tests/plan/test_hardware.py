"""Data sheets, rooflines and the arithmetic of a token."""

from __future__ import annotations

import pytest
from transformers import LlamaConfig

from tpt.config import TrainConfig
from tpt.errors import ConfigError
from tpt.plan.flops import cost_of
from tpt.plan.hardware import BANDWIDTH_SHARE, GPUS, STEP_S, GpuSpeed, known_gpu, parse_gpu
from tpt.sft.memory import Shape, shape_of


@pytest.fixture(scope="module")
def shape() -> Shape:
    """Two layers of hidden size 64; 4 query heads and 2 key heads of 16."""
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=1000,
        tie_word_embeddings=True,
    )
    return shape_of(config)


def test_the_arithmetic_of_a_token_is_that_of_its_products(shape: Shape) -> None:
    cost = cost_of(shape, TrainConfig(), width=2)
    layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128
    assert cost.multiplied == 2 * layer + 64 * 1000
    # Query times key and weight times value: 2 operations each, for every head's 16 numbers, 4 heads, 2 layers.
    assert cost.forward(100) == 2 * cost.multiplied + 100 * 2 * 2 * 16 * 4 * 2
    assert cost.training(100) == 3 * cost.forward(100)
    assert cost.kv_bytes == 2 * 2 * 2 * 2 * 16


def test_an_adapter_and_gradient_checkpointing_change_training_alone(shape: Shape) -> None:
    full, lora, again = (
        cost_of(shape, TrainConfig(**settings), width=2)
        for settings in ({}, {"method": "lora", "lora_rank": 4}, {"gradient_checkpointing": True})
    )
    assert lora.forward(9) == full.forward(9) == again.forward(9)
    assert (lora.train_factor, full.train_factor, again.train_factor) == (2, 3, 4)
    assert full.trained_weights == shape.parameters
    assert lora.trained_weights == 4 * 2 * (2 * 128 + 2 * 96 + 3 * 192)


def test_one_row_is_bound_by_memory_and_many_by_arithmetic() -> None:
    config = LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8
    )
    cost = cost_of(shape_of(config), TrainConfig(), width=2)
    gpu = GPUS["h100"]
    speed = GpuSpeed(gpu, cost, "vllm", 1, 1, 0.35)
    one = speed.step_s(1, 0) - STEP_S["vllm"]
    assert one == pytest.approx(cost.weight_bytes / (gpu.bandwidth * 1e9 * BANDWIDTH_SHARE))
    assert speed.step_s(4096, 0) > 4 * speed.step_s(256, 0)
    assert GpuSpeed(gpu, cost, "vllm", 4, 1, 0.35).step_s(1, 0) < speed.step_s(1, 0)
    hours = speed.train_s(1_000_000, 1000, 1) / 3600
    assert hours == pytest.approx(1e9 * cost.training(500) / (989e12 * 0.35) / 3600, rel=0.01)


@pytest.mark.parametrize(
    ("text", "found"), [("h100", ("h100", 1)), ("H100:8", ("h100", 8)), ("a100-40:2", ("a100-40", 2))]
)
def test_a_gpu_is_named_with_its_count(text: str, found: tuple[str, int]) -> None:
    gpu, count = parse_gpu(text)
    assert (gpu.name, count) == found


@pytest.mark.parametrize("text", ["h1000", "", "h100:0", "h100:-1", "h100:x", "h100:", "h100:9999999", "h100:2:2"])
def test_a_misspelt_gpu_is_refused_with_what_is_known(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_gpu(text)
    assert "--gpu" in str(error.value)
    assert "a100-40, a100, h100" in str(error.value) or "whole count" in str(error.value)


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100-PCIE-40GB", "a100-40"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 3090", "3090"),
        ("AMD Instinct MI300X OAM", "mi300x"),
    ],
)
def test_a_drivers_name_means_one_gpu(driver: str, name: str) -> None:
    found = known_gpu(driver)
    assert found is not None
    assert found.name == name
    assert known_gpu("Quadro K600") is None
