"""A checkpoint is complete or absent, and says by itself how it stops."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from tpt.config import PromptConfig
from tpt.errors import TrainError
from tpt.model.chat import Chat
from tpt.sft import compare, save_checkpoint, snapshot

BuildModel = Callable[[], LlamaForCausalLM]


def test_a_checkpoint_is_what_plain_transformers_reads(build_model: BuildModel, chat: Chat, tmp_path: Path) -> None:
    model, out = build_model(), tmp_path / "checkpoint"
    model.generation_config.temperature = 0.3
    model.generation_config.do_sample = True
    save_checkpoint(model, chat, out)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}
    assert {path.name for path in out.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    generation = json.loads((out / "generation_config.json").read_text())
    del generation["transformers_version"]
    assert generation == {"bos_token_id": 1, "eos_token_id": [2], "pad_token_id": 0}
    loaded = AutoModelForCausalLM.from_pretrained(out)
    for name, weight in loaded.named_parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, model.get_parameter(name)), name
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert Chat(tokenizer, PromptConfig()).fingerprint() == chat.fingerprint()


def test_tied_embeddings_are_saved_once_and_tied_again(build_model: BuildModel, chat: Chat, tmp_path: Path) -> None:
    save_checkpoint(build_model(), chat, tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()


def test_an_earlier_checkpoint_is_replaced(build_model: BuildModel, chat: Chat, tmp_path: Path) -> None:
    model, out = build_model(), tmp_path / "out"
    save_checkpoint(model, chat, out)
    (out / "stray").touch()
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "torn.safetensors").touch()
    before = (out / "model.safetensors").read_bytes()
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    save_checkpoint(model, chat, out)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    assert not (out / "stray").exists()
    assert (out / "model.safetensors").read_bytes() != before


def test_a_folder_that_is_no_checkpoint_is_not_replaced(build_model: BuildModel, chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(TrainError, match="out: exists and is no checkpoint, so it is not replaced"):
        save_checkpoint(build_model(), chat, tmp_path / "out")
    assert (tmp_path / "out" / "thesis.tex").exists()


@pytest.mark.parametrize("failing", ["tokenizer", "rename"])
@pytest.mark.parametrize("there", [False, True])
def test_a_save_that_fails_leaves_what_was_there(
    failing: str, there: bool, build_model: BuildModel, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = build_model(), tmp_path / "out"
    if there:
        save_checkpoint(model, chat, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()} if there else {}

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if failing == "tokenizer":
        monkeypatch.setattr(chat.tokenizer, "save_pretrained", disk_full)
    else:
        monkeypatch.setattr(Path, "rename", disk_full)
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(model, chat, out)
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if there else [])
    assert {path.name: path.read_bytes() for path in out.glob("*")} == before


def test_what_changed_is_counted_to_the_bit(build_model: BuildModel) -> None:
    model = build_model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
    before = snapshot(model)
    with pytest.raises(TrainError, match=r"changed none of the \d+ weights. Raise train.learning_rate"):
        compare(before, model)
    with torch.no_grad():
        model.model.norm.weight[0] += 1.0
        model.model.norm.weight[1] += 1e-5
    change = compare(before, model)
    assert change.parameters == sum(weight.numel() for weight in model.parameters())
    assert change.changed_share * change.parameters == pytest.approx(2)
    assert change.changed_share_bfloat16 * change.parameters == pytest.approx(1)
    size = sum(float(weight.abs().sum()) for weight in before.values())
    assert change.mean_relative_change == pytest.approx(1.00001 / size, rel=1e-4)
    assert change.mean_relative_change_bfloat16 == pytest.approx(1.0 / size, rel=1e-4)


def test_halfway_between_two_bfloat16_numbers_a_tiny_update_is_seen_as_a_large_one(build_model: BuildModel) -> None:
    model = build_model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(1 + 2**-8)
    before = snapshot(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1e-6)
    change = compare(before, model)
    assert change.changed_share_bfloat16 == 1.0
    assert change.mean_relative_change == pytest.approx(1e-6, rel=0.1)
    assert change.mean_relative_change_bfloat16 == pytest.approx(2**-7, rel=0.01)
