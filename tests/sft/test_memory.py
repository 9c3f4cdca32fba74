"""The estimate of training memory: right counts, and parts that match what autograd keeps."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig, LlamaForCausalLM, PreTrainedConfig

from tools.embedded_model.tokenizer import build_tokenizer
from tpt.config import TrainConfig
from tpt.sft import Row, fit
from tpt.sft.adapters import adapter_state, add_adapter
from tpt.sft.memory import Plan, Shape, _activations, estimate, shape_of


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


def test_whole_logits_of_a_large_vocabulary_are_counted(shapes: dict[str, Shape]) -> None:
    tiled = estimate(shapes["2b"], Plan(micro_batch_size=2, length=1600))
    whole = estimate(shapes["2b"], Plan(micro_batch_size=2, length=1600, whole_logits=True))
    assert whole.head > 2 * 1600 * 256000 * 12 > tiled.head


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
    assert guessed == pytest.approx(kept, rel=0.1)


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


LLAMA = LlamaConfig(
    vocab_size=2048,
    hidden_size=128,
    intermediate_size=352,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
GEMMA = Gemma2Config(
    vocab_size=32000,
    hidden_size=64,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=32,
)


@pytest.mark.parametrize(
    "config, settings",
    [
        (LLAMA, {"precision": "float32"}),
        (LLAMA, {"precision": "bfloat16"}),
        (LLAMA, {"precision": "float32", "gradient_checkpointing": True}),
        (LLAMA, {"precision": "bfloat16", "gradient_checkpointing": True}),
        (LLAMA, {"precision": "float32", "method": "lora"}),
        (LLAMA, {"precision": "bfloat16", "method": "lora"}),
        (GEMMA, {"precision": "bfloat16"}),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else " ".join(map(str, value.values())),
)
def test_the_peak_of_a_training_is_what_torch_allocates(
    config: PreTrainedConfig, settings: dict[str, Any], fresh_process: ProcessPoolExecutor
) -> None:
    """All of it but the process itself, of two steps of two micro batches, by torch's own account."""
    plan = Plan(micro_batch_size=4, length=64, targets=4 * 56, device="cpu", **settings)
    found = estimate(shape_of(config), plan)
    peak = fresh_process.submit(_peak_of_a_training, config, settings).result(timeout=120)
    assert found.total - found.runtime == pytest.approx(peak, rel=0.1)


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """A process that has run nothing else: what earlier tests left in this one's torch would be in the account."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def _peak_of_a_training(config: PreTrainedConfig, settings: dict[str, Any]) -> int:
    """Train for two steps, and return the most bytes that were allocated at once."""
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 150, (16, 64), generator=source).tolist()
    rows = [Row(str(n), row, [-100] * 8 + row[8:]) for n, row in enumerate(ids)]
    wanted = TrainConfig(micro_batch_size=4, batch_size=8, **settings)
    tokenizer = build_tokenizer()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        # Built here, as what other threads allocate is not in the account, and loading has some.
        model = AutoModelForCausalLM.from_config(config)
        before = {}
        if wanted.method != "full":
            model = model.to(getattr(torch, wanted.precision))
            add_adapter(model, wanted, seed=0)
            before = adapter_state(model)
        log = fit(model, tokenizer, rows, config=wanted, seed=0)
    assert bool(before) == (wanted.method != "full")
    assert len(log.losses) == 2
    return _most(profiled)


def _most(profiled: profile) -> int:
    """Return the most bytes that were allocated at once."""
    results: Any = profiled.profiler
    changes = [
        (event.start_ns(), event.nbytes()) for event in results.kineto_results.events() if event.name() == "[memory]"
    ]
    return max(accumulate(size for _, size in sorted(changes)))
