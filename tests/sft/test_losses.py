"""The losses are the functions they say, and computing them on the targets alone changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear, log_softmax
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, LlamaForCausalLM

from tpt.config import TrainConfig
from tpt.sft import Row, target_loss
from tpt.sft.losses import TokenLoss, clipped_confidence, cross_entropy, focal, token_loss
from tpt.sft.target_loss import attach_target_loss, detach_target_loss, has_plain_head, target_loss_sum

LOSSES: dict[str, tuple[TokenLoss, Callable[[Tensor], Tensor]]] = {
    "cross_entropy": (cross_entropy, lambda log_p: -log_p),
    "focal": (focal(2.0), lambda log_p: -((1 - log_p.exp()) ** 2) * log_p),
    "focal_half": (focal(0.5), lambda log_p: -((1 - log_p.exp()) ** 0.5) * log_p),
    "clipped_confidence": (clipped_confidence(0.7), lambda log_p: -log_p.clamp(max=math.log(0.7))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_slope_are_the_formula_and_its_derivative(name: str) -> None:
    loss, formula = LOSSES[name]
    log_p = torch.tensor([0.001, 0.2, 0.5, 0.69, 0.71, 0.9, 0.999], dtype=torch.float64).log().requires_grad_()
    value, slope = loss(log_p)
    expected = formula(log_p)
    assert torch.allclose(value, expected)
    assert torch.allclose(slope, torch.autograd.grad(expected.sum(), log_p)[0])


def test_a_certain_token_has_a_finite_slope() -> None:
    for loss, _ in LOSSES.values():
        value, slope = loss(torch.tensor([0.0, -1e-9]))
        assert torch.isfinite(value).all()
        assert torch.isfinite(slope).all()


def test_at_their_ends_the_losses_are_cross_entropy() -> None:
    log_p = torch.tensor([0.01, 0.5, 0.99]).log()
    for loss in (focal(0.0), clipped_confidence(1.0)):
        for found, expected in zip(loss(log_p), cross_entropy(log_p), strict=True):
            assert torch.allclose(found, expected)


def test_a_sure_token_teaches_nothing_under_a_confidence_limit() -> None:
    _, slope = clipped_confidence(0.9)(torch.tensor([0.89, 0.91]).log())
    assert slope.tolist() == [-1.0, 0.0]


def test_the_config_names_the_loss() -> None:
    log_p = torch.tensor([0.3, 0.8]).log()
    assert token_loss(TrainConfig()) is cross_entropy
    found = token_loss(TrainConfig(loss="focal", focal_gamma=1.5))(log_p)
    assert torch.equal(found[0], focal(1.5)(log_p)[0])
    found = token_loss(TrainConfig(loss="clipped_confidence", confidence_limit=0.5))(log_p)
    assert torch.equal(found[0], clipped_confidence(0.5)(log_p)[0])


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradients_of_hidden_states_and_head_are_autograds(
    name: str, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tiles of three targets, so that there are several and the last is not full."""
    monkeypatch.setattr(target_loss, "TILE", 3 * 11)
    loss, formula = LOSSES[name]
    torch.manual_seed(1)
    parts = [torch.randn(size, requires_grad=True) for size in ((7, 5), (11, 5), (11,))]
    hidden, weight, bias = parts
    labels = torch.randint(0, 11, (7,))
    total = target_loss_sum(hidden, weight, labels, bias=bias, loss=loss, cap=cap)
    found = torch.autograd.grad(total * 0.25, parts)
    logits = linear(hidden, weight, bias)
    logits = logits if cap is None else torch.tanh(logits / cap) * cap
    expected = formula(log_softmax(logits, -1)[torch.arange(7), labels]).sum()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    for ours, theirs in zip(found, torch.autograd.grad(expected * 0.25, parts), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight = torch.randn(3, 4, requires_grad=True), torch.randn(6, 4)
    total = target_loss_sum(hidden, weight, torch.tensor([1, 2, 3]), bias=None, loss=cross_entropy, cap=None)
    total.backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert weight.grad is None


@pytest.fixture(params=["llama", "gemma2", "cohere"])
def any_model(request: pytest.FixtureRequest, build_model: Callable[[], LlamaForCausalLM]) -> Any:
    """Heads that are a plain product, one with softcapped logits, and one with scaled ones, which is left to itself."""
    if request.param == "llama":
        return build_model()
    small = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0}
    torch.manual_seed(0)
    if request.param == "gemma2":
        return AutoModelForCausalLM.from_config(Gemma2Config(**small, **heads, final_logit_softcapping=0.5))
    return AutoModelForCausalLM.from_config(CohereConfig(**small, **heads, logit_scale=0.25))


def test_the_loss_of_the_targets_alone_is_that_of_the_whole_logits(any_model: Any, rows: list[Row]) -> None:
    assert has_plain_head(any_model) == (any_model.config.model_type != "cohere")
    ids, labels = torch.tensor([rows[0].input_ids]), torch.tensor([rows[0].labels])
    expected = any_model(input_ids=ids, labels=labels).loss * rows[0].targets
    expected.backward()
    gradients = {name: weight.grad.clone() for name, weight in any_model.named_parameters()}
    any_model.zero_grad()
    attach_target_loss(any_model, cross_entropy)
    total = any_model(input_ids=ids, labels=labels, target_loss=True)
    total.backward()
    detach_target_loss(any_model)
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, weight in any_model.named_parameters():
        assert torch.allclose(weight.grad, gradients[name], atol=2e-4), name
    assert "forward" not in vars(any_model)
