"""Quantised checkpoints: dequantised to the weights that they stand for, or refused by the name of their method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from tpt.errors import ModelError
from tpt.model import load

BLOCK = 16


def changed_config(folder: Path, **keys: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def to_block_fp8(folder: Path) -> None:
    """Store every linear layer as 8-bit codes with one scale a block, as DeepSeek-V3 does."""
    weights = load_file(folder / "model.safetensors")
    for name in [name for name in weights if name.endswith("_proj.weight")]:
        rows, columns = weights[name].shape
        blocks = weights[name].reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
        scales = blocks.abs().amax(dim=(1, 3)) / torch.finfo(torch.float8_e4m3fn).max
        codes = (blocks / scales[:, None, :, None]).reshape(rows, columns)
        weights[name] = codes.to(torch.float8_e4m3fn)
        weights[f"{name}_scale_inv"] = scales
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(torch.tensor([[2, 3, 4, 5]])).logits
    return found


@torch.no_grad()
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_block_fp8_is_dequantised(folder: Path, tmp_path: Path, dtype: str) -> None:
    plain = logits(load.load_model(str(folder), dtype="float32", device="cpu"))
    to_block_fp8(folder)
    settings = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK], "activation_scheme": "dynamic"}
    changed_config(folder, quantization_config=settings)
    model = load.load_model(str(folder), dtype=dtype, device="cpu")
    assert {each.dtype for each in model.parameters()} == {getattr(torch, dtype)}
    assert torch.allclose(logits(model).float(), plain, atol=0.1 * plain.abs().max().item())
    saved = tmp_path / "saved"
    model.save_pretrained(saved)
    assert "quantization_config" not in json.loads((saved / "config.json").read_text())
    again = LlamaForCausalLM.from_pretrained(saved, dtype=getattr(torch, dtype))
    assert torch.equal(logits(again), logits(model))


def test_a_quantised_checkpoint_is_not_quantised_again(folder: Path) -> None:
    to_block_fp8(folder)
    changed_config(folder, quantization_config={"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]})
    with pytest.raises(ModelError, match=r'quantised already.*train.method = "lora"'):
        load.load_quantised(str(folder), compute=torch.float32, device=torch.device("cpu"), cache=None)


def test_codes_whose_config_names_no_method_are_refused(folder: Path) -> None:
    to_block_fp8(folder)
    with pytest.raises(ModelError, match=r"has 14 weights that LlamaForCausalLM does not know, such as .*scale_inv"):
        load.load_model(str(folder), dtype="auto", device="cpu")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"quant_method": "gptq", "bits": 4}, r"quantised by gptq: .*take the checkpoint it was quantised from"),
        ({"quant_method": "awq", "bits": 4}, r"quantised by awq"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            r'quantised by bitsandbytes: .*train.method = "qlora"',
        ),
        ({"load_in_8bit": True}, r"quantised by bitsandbytes"),
        ({"quant_method": "one-bit-someday"}, r"quantised by one-bit-someday"),
        ({"bits": 3}, r"quantised by an unnamed method"),
    ],
)
def test_what_cannot_be_dequantised_is_refused_by_name(folder: Path, settings: dict[str, Any], said: str) -> None:
    changed_config(folder, quantization_config=settings)
    with pytest.raises(ModelError, match=said):
        load.load_model(str(folder), dtype="auto", device="cpu")


@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.q_proj.bias", "model.layers.2.mlp.up_proj.weight", "score.weight"]
)
def test_weights_that_the_architecture_does_not_know_are_refused(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors") | {name: torch.ones(4)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"does not know, such as '{name}'"):
        load.load_model(str(folder), dtype="auto", device="cpu")


def test_buffers_that_older_versions_saved_are_no_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors") | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    load.load_model(str(folder), dtype="auto", device="cpu")


@pytest.mark.parametrize("stored", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8, torch.int32])
def test_codes_without_a_named_method_are_refused(folder: Path, stored: torch.dtype) -> None:
    """All weights are there under their own names, so that nothing but their type gives them away."""
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("up_proj.weight"))
    weights[name] = weights[name].to(stored)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"model.safetensors stores '{name}' as .*names no quantization_config"):
        load.load_model(str(folder), dtype="float32", device="cpu")


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_ordinary_types_are_taken(folder: Path, stored: torch.dtype) -> None:
    weights = {name: weight.to(stored) for name, weight in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load.load_model(str(folder), dtype="float32", device="cpu").dtype == torch.float32
