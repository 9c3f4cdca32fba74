"""A rehearsal on a tiny model: what cannot end is told before the first sample, in run, dry run and plan alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from command_line import QUICKSTART, TINY, Tpt, sets
from huggingface_hub.errors import StrictDataclassError
from tiny_checkpoints import TOKENS, save_with_tokenizer
from transformers import (
    BertConfig,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    Lfm2Config,
    Llama4TextConfig,
    LlamaConfig,
    MambaConfig,
    MptConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3MoeConfig,
    RwkvConfig,
)

from tpt import Run
from tpt.config import parse_config
from tpt.errors import GateError
from tpt.gate import rehearse
from tpt.model import tiny
from tpt.model.tiny import tiny_model
from tpt.records import Problem
from tpt.run.directory import RunDir
from tpt.sampling.header import run_header

PROBLEM = Problem("p/1", "How many are 2 and 3?", "5")
HEADS: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA = LlamaConfig(**TOKENS, **HEADS, hidden_size=32, intermediate_size=48, num_hidden_layers=3)
MOE = Qwen3MoeConfig(**TOKENS, **HEADS, hidden_size=32, moe_intermediate_size=16, num_experts=8, num_hidden_layers=2)
BERT = BertConfig(**TOKENS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
FOREIGN: dict[str, PreTrainedConfig] = {
    "bloom": BloomConfig(**TOKENS, hidden_size=32, n_layer=2, n_head=4),
    "lfm2": Lfm2Config(
        **TOKENS, **HEADS, hidden_size=32, intermediate_size=48, num_hidden_layers=2, layer_types=["conv", "full_attention"]
    ),
    "llama4": Llama4TextConfig(
        **TOKENS, **HEADS, hidden_size=32, head_dim=8, intermediate_size=48, intermediate_size_mlp=48, num_hidden_layers=4,
        num_local_experts=2, attention_chunk_size=16,
    ),
    "mamba": MambaConfig(**TOKENS, hidden_size=32, num_hidden_layers=2, state_size=8),
    "rwkv": RwkvConfig(**TOKENS, hidden_size=32, num_hidden_layers=2, attention_hidden_size=32, context_length=128),
}  # fmt: skip
PLAIN_TURNS = "{% for m in messages %}{{ m['content'] }}{% endfor %}"

LARGE: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(num_hidden_layers=80, hidden_size=8192, num_attention_heads=64, num_key_value_heads=8),
    "qwen2": Qwen2Config(),
    "gemma3": Gemma3TextConfig(num_hidden_layers=62),
    "gpt2": GPT2Config(n_layer=48, n_embd=1600, n_head=25),
    "mpt": MptConfig(d_model=4096, n_layers=32, n_heads=32),
    "moe": Qwen3MoeConfig(num_hidden_layers=48),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_architecture_has_a_tiny_relative_of_its_own_class(name: str) -> None:
    config = LARGE[name]
    model = tiny_model(config)
    assert model is not None and type(model.config) is type(config)
    text, whole = model.config.get_text_config(), config.get_text_config()
    assert text.vocab_size == whole.vocab_size
    assert sum(weight.numel() for weight in model.parameters()) < 60e6
    assert set(getattr(text, "layer_types", None) or []) == set(getattr(whole, "layer_types", None) or [])
    assert whole.num_hidden_layers > text.num_hidden_layers


@pytest.mark.parametrize(
    "refusal", [KeyError("x"), NotImplementedError(), StrictDataclassError("x"), ZeroDivisionError()]
)
def test_a_family_that_refuses_to_be_small_has_no_relative(refusal: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "random_model", Mock(side_effect=refusal))
    assert tiny_model(LARGE["qwen2"], small_text=True) is None


@pytest.mark.parametrize("fault", [MemoryError(), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_no_refusal_of_a_family_is_not_taken_for_one(
    fault: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny, "random_model", Mock(side_effect=fault))
    with pytest.raises(type(fault)):
        tiny_model(LARGE["qwen2"], small_text=True)


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"method": "lora", "lora_targets": "q_proj,layers.2.mlp.up_proj"},
        {"method": "dora", "adapter": "keep"},
        {"precision": "bfloat16", "interpolate": 0.5, "packing": False, "gradient_checkpointing": True},
        {"learning_rate": 1e-9, "batch_size": 64, "micro_batch_size": 64},
        {"max_length": 4},
    ],
)
def test_what_can_end_is_rehearsed_with_the_run_s_own_settings(train: dict[str, Any], tmp_path: Path) -> None:
    model = save_with_tokenizer(LLAMA, tmp_path / "model")
    found = rehearse(parse_config({"model": str(model), "train": train}), PROBLEM, cache=None, folder=tmp_path)
    assert found.ok, found.said
    assert found.said.startswith("loaded, decoded, trained a step, saved and read again")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("name", FOREIGN)
def test_families_that_generate_decodes_are_trained_and_the_header_says_so(name: str, tmp_path: Path) -> None:
    model = save_with_tokenizer(FOREIGN[name], tmp_path / "model")
    config = parse_config({"model": str(model), "engine": {"name": "hf", "device": "cpu"}})
    found = rehearse(config, PROBLEM, cache=None, folder=tmp_path)
    assert found.ok, found.said
    run = RunDir(tmp_path / "run")
    run.path.mkdir()
    for path in (run.problems, run.heldout):
        path.write_text("")
    assert "engine hf on cpu in float32, by transformers' generate, which is slow: " in run_header(run, config)
    assert "transformers" not in run_header(run, config.model_copy(update={"model": "embedded"}))


@pytest.mark.parametrize(
    ("config", "table", "said"),
    [
        (LLAMA, {"method": "lora", "lora_targets": "c_attn"}, "train step fails: .*c_attn.* not found"),
        (
            LLAMA,
            {"method": "lora", "lora_targets": "layers.7.mlp.up_proj"},
            r"names 'layers.7.mlp.up_proj', which this",
        ),
        (MOE, {"method": "lora"}, "weights of several experts"),
        (BERT, {}, "decode step fails: .*encoder"),
        (LLAMA.__class__(**{**LLAMA.to_dict(), "vocab_size": 100}), {}, "the model knows 100 tokens"),
    ],
)
def test_what_cannot_end_is_told(config: PreTrainedConfig, table: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = save_with_tokenizer(config, tmp_path / "model")
    found = rehearse(parse_config({"model": str(model), "train": table}), PROBLEM, cache=None)
    assert not found.ok
    with pytest.raises(GateError, match=said):
        raise GateError(found.said)
    assert 'stop.gate = "warn"' in found.said


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "q_proj,lm_head"])
@pytest.mark.parametrize("adapter", ["merge", "keep"])
def test_an_adapter_on_tied_embeddings_is_refused(target: str, adapter: str, tmp_path: Path) -> None:
    tied = LlamaConfig(**{**LLAMA.to_dict(), "tie_word_embeddings": True})
    train = {"method": "lora", "lora_targets": target, "adapter": adapter}
    model = save_with_tokenizer(tied, tmp_path / "tied")
    found = rehearse(parse_config({"model": str(model), "train": train}), PROBLEM, cache=None)
    assert not found.ok and "tied embeddings" in found.said


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_adapter_on_embeddings_of_their_own_is_merged_rightly(target: str, tmp_path: Path) -> None:
    train = {"method": "lora", "lora_targets": target, "interpolate": 0.25}
    model = save_with_tokenizer(LLAMA, tmp_path / "untied")
    for adapter in ("merge", "keep"):
        config = parse_config({"model": str(model), "train": {**train, "adapter": adapter}})
        found = rehearse(config, PROBLEM, cache=None)
        assert found.ok, found.said


def test_run_dry_run_and_plan_tell_the_same(fails: Callable[..., str], tmp_path: Path) -> None:
    overrides = sets(*TINY, "train.method='lora'", "train.lora_targets='c_attn'")
    out = tmp_path / "run"
    asked = (["run", QUICKSTART, "--dry-run"], ["plan", QUICKSTART], ["run", QUICKSTART])
    told = [fails(*command, "--out", out, *overrides, code=2) for command in asked]
    assert all("the train step fails" in each and "c_attn" in each for each in told)
    assert not (out / "round-0" / "evaluate" / "traces.jsonl").exists()


def test_the_gate_s_key_decides_and_it_is_done_once(tmp_path: Path) -> None:
    table: dict[str, Any] = {
        "rounds": 1,
        "threads": 1,
        "problems": {"max_train": 8, "max_heldout": 4},
        "think": {"max_tokens": 8},
        "prune": {"correct_only": False, "require_format": False, "size": 2},
        "evaluate": {"samples": 1, "max_tokens": 8},
        "stop": {"gate": "warn"},
    }
    run = Run(tmp_path / "run", parse_config(table))
    killed = run.dir.path / ".rehearsal-of-a-process-that-was-killed" / "model"
    killed.mkdir(parents=True)
    rounds = run.rounds()
    next(rounds)
    rounds.close()  # type: ignore[attr-defined]
    kept = json.loads(run.dir.rehearsal.read_text())
    assert kept["ok"] and kept["seconds"] > 0
    stamp = run.dir.rehearsal.stat().st_mtime_ns
    assert not list(run.dir.path.glob(".rehearsal-*"))
    assert [record.index for record in Run(tmp_path / "run").rounds()] == [0, 1]
    assert run.dir.rehearsal.stat().st_mtime_ns == stamp
    off = Run(tmp_path / "off", parse_config({**table, "rounds": 0, "problems": {"train": "", "max_heldout": 4}}))
    list(off.rounds())
    assert not off.dir.rehearsal.exists()


def test_a_dry_run_says_what_a_start_would_find(tpt: Tpt, fails: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "new"
    command = ["run", QUICKSTART, "--out", out, "--dry-run", "--format", "json"]
    found = json.loads(tpt(*command, *sets(*TINY)).out)
    assert found["rehearsal"].startswith("loaded, decoded, trained a step")
    assert found["engine"].startswith("hf, ") and found["longest prompt and completion"] > 64
    assert set(found["memory"]) == {"think", "train", "evaluate"} and "GB" in found["disk"]
    assert not out.exists()
    (tmp_path / "file").write_text("")
    assert "is no folder" in fails("run", QUICKSTART, "--out", tmp_path / "file" / "x", "--dry-run", *sets(*TINY))
    assert "no such folder" in fails("run", QUICKSTART, "--dry-run", *sets(*TINY, "model='./nowhere'"))
    too_long = sets(*TINY, "engine.max_length=20")
    for command in (["run", QUICKSTART, "--dry-run"], ["run", QUICKSTART], ["plan", QUICKSTART]):
        assert "the 20 positions of engine.max_length" in fails(*command, "--out", out, *too_long, code=2)
