"""Rows end to end in one sequence are trained as if each were alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from tpt.sft.losses import cross_entropy
from tpt.sft.packing import Packed, Padded, use_packed_attention
from tpt.sft.target_loss import attach_target_loss

SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "pad_token_id": 0}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SMALL, **HEADS),
    "qwen2": Qwen2Config(**SMALL, **HEADS),
    "mistral, short window": MistralConfig(**SMALL, **HEADS, sliding_window=5),
    "gemma2, softcapped": Gemma2Config(**SMALL, **HEADS, head_dim=8, sliding_window=5, attn_logit_softcapping=0.5),
    "gemma3, short window": Gemma3TextConfig(**SMALL, **HEADS, head_dim=8, sliding_window=5, sliding_window_pattern=2),
}


def build(config: PreTrainedConfig) -> Any:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            # Random states hardly attend to anything; larger weights make them.
            weight.mul_(5 if weight.dim() > 1 else 1)
    return model


def random_rows(*lengths: int) -> list[dict[str, list[int]]]:
    source = torch.Generator().manual_seed(1)
    ids = [torch.randint(1, 64, (length,), generator=source).tolist() for length in lengths]
    return [{"input_ids": row, "labels": [-100, -100, *row[2:]]} for row in ids]


def loss_and_gradients(model: Any, batch: dict[str, Any]) -> tuple[float, dict[str, Tensor]]:
    model.zero_grad()
    total = model(**batch, use_cache=False, target_loss=True)
    total.backward()
    return total.item(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_and_gradients_are_those_of_the_rows_alone(name: str) -> None:
    """Padded by the model's own attention on one side, packed by ours on the other."""
    rows = random_rows(9, 13, 4, 500)
    model = build(CONFIGS[name])
    attach_target_loss(model, cross_entropy)
    expected, gradients = loss_and_gradients(model, Padded(pad_id=0)(rows))
    alone = sum(loss_and_gradients(model, Padded(pad_id=0)([row]))[0] for row in rows)
    assert use_packed_attention(model) is not None
    found, packed = loss_and_gradients(model, Packed(pad_id=7)(rows))
    assert found == pytest.approx(expected, rel=1e-5)
    assert found == pytest.approx(alone, rel=1e-5)
    for weight, gradient in gradients.items():
        assert torch.allclose(packed[weight], gradient, atol=2e-4 * float(gradient.abs().max())), weight


def test_what_stands_beside_a_row_cannot_be_seen() -> None:
    """The check that the test above could fail: without the rows' lengths the second row reads the first."""
    first, second, other = random_rows(9, 13, 9)
    model = build(CONFIGS["llama"])
    use_packed_attention(model)

    def states(batch: dict[str, Any]) -> Tensor:
        del batch["labels"]
        result: Tensor = model.base_model(**batch, use_cache=False).last_hidden_state[0, 9:]
        return result

    assert torch.equal(states(Packed(pad_id=7)([first, second])), states(Packed(pad_id=7)([other, second])))
    leaking = [Packed(pad_id=7)([each, second]) for each in (first, other)]
    for batch in leaking:
        del batch["row_lengths"]
    assert not torch.allclose(states(leaking[0]), states(leaking[1]))


def test_an_architecture_that_mixes_rows_is_found_out() -> None:
    model = build(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4, pad_token_id=0))
    assert use_packed_attention(model) is None


def test_collating_keeps_every_token() -> None:
    rows = random_rows(3, 5)
    packed, padded = Packed(pad_id=7)(rows), Padded(pad_id=7)(rows)
    assert packed["input_ids"].tolist() == [rows[0]["input_ids"] + rows[1]["input_ids"]]
    assert packed["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 3, 4]]
    assert packed["row_lengths"] == [3, 5]
    # A long one is filled up, so that few lengths come again and again.
    longer = Packed(pad_id=7)(random_rows(300, 290))
    assert longer["input_ids"].shape == longer["labels"].shape == longer["position_ids"].shape == (1, 640)
    assert longer["row_lengths"] == [300, 290, 50]
    assert set(longer["labels"][0, 590:].tolist()) == {-100} and set(longer["input_ids"][0, 590:].tolist()) == {7}
    assert padded["input_ids"].tolist() == [[*rows[0]["input_ids"], 7, 7], rows[1]["input_ids"]]
    assert padded["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert padded["labels"].tolist() == [[*rows[0]["labels"], -100, -100], rows[1]["labels"]]
