"""Weights between the trained model's and the base model's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaForCausalLM

from tpt.errors import TrainError
from tpt.sft import interpolate, snapshot


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_the_mixture_is_exact(build_model: Callable[[], LlamaForCausalLM], weight: float) -> None:
    """Halves and quarters of these weights are exact in float32, and both ends are the models themselves."""
    model = build_model()
    base = {name: torch.randn_like(tensor).bfloat16().float() for name, tensor in model.named_parameters()}
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(tensor.bfloat16())
    trained = snapshot(model)
    interpolate(model, base, weight)
    for name, mixed in model.named_parameters():
        expected = (1 - weight) * trained[name].double() + weight * base[name].double()
        assert torch.allclose(mixed.double(), expected, rtol=1e-6, atol=1e-8)
        if weight in (0.0, 1.0):
            assert torch.equal(mixed, base[name] if weight else trained[name])


def test_models_that_do_not_fit_each_other(build_model: Callable[[], LlamaForCausalLM]) -> None:
    model = build_model()
    base = snapshot(model)
    base["model.norm.weight"] = torch.ones(7)
    with pytest.raises(TrainError, match=r"train.interpolate = 0.5: .* they differ in 'model.norm.weight'"):
        interpolate(model, base, 0.5)
