"""Two processes train as one does, end together, and go on together."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import LlamaConfig

from tpt.config import PromptConfig, TrainConfig
from tpt.errors import ModelError, TrainError
from tpt.model.load import load_model
from tpt.records import Example, Problem
from tpt.sft import check_devices, snapshot
from tpt.sft.trainable import _without_weights
from tpt.train import Start, train

Train = Callable[..., dict[str, Any]]
# 21 examples and 8 a step: the last step has 5, so one of two processes gets a micro-batch less in it.
SETTINGS = {"learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 2, "epochs": 2}


@pytest.fixture
def do_train(examples: list[Example], problems: dict[str, Problem], tmp_path: Path) -> Train:
    def do(out: str, progress: Any = None, start: str = "embedded", **settings: Any) -> dict[str, Any]:
        return train(
            examples[:21],
            problems,
            config=TrainConfig(**{**SETTINGS, **settings}),
            prompt=PromptConfig(),
            start=Start(start),
            out=tmp_path / out,
            seed=2,
            progress=progress,
        )

    return do


def assert_same_training(one: dict[str, Any], other: dict[str, Any], folders: list[Path]) -> None:
    assert len(one["losses"]) == len(other["losses"]) == 6
    assert other["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert other["grad_norms"] == pytest.approx(one["grad_norms"], rel=1e-3)
    assert other["target_tokens"] == one["target_tokens"]
    first, second = (snapshot(load_model(str(folder), dtype="float32", device="cpu")) for folder in folders)
    assert first.keys() == second.keys()
    distance = sum(float((first[name] - second[name]).norm()) ** 2 for name in first) ** 0.5
    base = snapshot(load_model("embedded", dtype="float32", device="cpu"))
    moved = sum(float((first[name] - base[name]).norm()) ** 2 for name in first) ** 0.5
    assert distance < 1e-3 * moved


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_train_as_one_does(do_train: Train, tmp_path: Path, strategy: str) -> None:
    steps: list[int] = []
    one = do_train("one/out")
    two = do_train("two/out", lambda step, steps_, loss: steps.append(step), devices=2, strategy=strategy)
    assert_same_training(one, two, [tmp_path / "one" / "out", tmp_path / "two" / "out"])
    assert steps == [1, 2, 3, 4, 5, 6]
    assert (one["devices"], two["devices"]) == (1, 2)
    assert two["changed_share"] == pytest.approx(one["changed_share"], abs=1e-3)
    names = [sorted(path.name for path in (tmp_path / each / "out").iterdir()) for each in ("one", "two")]
    assert names[0] == names[1]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["out", "train_log.jsonl"]
    assert (tmp_path / "two" / "train_log.jsonl").read_text().count("\n") == 6


def test_killed_with_kill_9_all_processes_end_and_the_next_go_on(do_train: Train, tmp_path: Path) -> None:
    settings = {"devices": 2, "strategy": "fsdp2", "method": "lora", "save_every_steps": 2}
    child = os.fork()
    if child == 0:

        def die(step: int, steps: int, loss: float) -> None:
            if step == 3:
                workers = psutil.Process().children(recursive=True)
                (tmp_path / "workers").write_text(" ".join(str(each.pid) for each in workers))
                os.kill(os.getpid(), signal.SIGKILL)

        do_train("killed/out", die, **settings)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    workers = [int(each) for each in (tmp_path / "workers").read_text().split()]
    assert len(workers) == 3
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in workers):
        assert time.monotonic() < deadline, "a training process outlived the one that asked for it"
        time.sleep(0.05)
    went_on = do_train("killed/out", **settings)
    # The step that was under way may have been saved before its processes saw that they were alone.
    assert went_on["resumed_at"] in (2, 4)
    one = do_train("one/out", method="lora")
    assert_same_training(one, went_on, [tmp_path / "one" / "out", tmp_path / "killed" / "out"])
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == ["out", "train_log.jsonl"]


def test_an_error_in_a_process_is_told_as_it_is(do_train: Train) -> None:
    with pytest.raises(ModelError, match=r"model = './nowhere'"):
        do_train("out", start="./nowhere", devices=2)


def test_one_process_killed_ends_all(do_train: Train) -> None:
    # Earlier tests in this process may have left some, such as a verifier's workers.
    others = set(psutil.Process().children(recursive=True))

    def kill_one(step: int, steps: int, loss: float) -> None:
        if step == 2:
            workers = [each for each in psutil.Process().children(recursive=True) if each not in others]
            workers[-1].kill()

    with pytest.raises(TrainError, match=r"ended without an answer .* memory: lower train.micro_batch_size"):
        # Long enough that they are still at work when what the first steps told has come through.
        do_train("out", kill_one, devices=2, epochs=100)
    assert set(psutil.Process().children(recursive=True)) <= others


def test_more_devices_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(TrainConfig(devices=2))
    with pytest.raises(TrainError, match=r"train.devices = 4, but there are 2 CUDA devices; set it to 2"):
        check_devices(TrainConfig(devices=4))
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(TrainError, match="needs Linux"):
        check_devices(TrainConfig(devices=2))


def test_the_processes_beside_the_first_take_no_memory_to_load(tmp_path: Path) -> None:
    """Their weights have addresses of their own, by which the optimizer's are found again, and no pages."""
    config = LlamaConfig(
        vocab_size=32000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=8, tie_word_embeddings=True
    )
    config.save_pretrained(tmp_path)
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    before = psutil.Process().memory_info().rss
    model = _without_weights(str(tmp_path), cache=None)
    weights = list(model.parameters())
    assert sum(weight.nbytes for weight in weights) > 600 * 2**20
    assert psutil.Process().memory_info().rss - before < 60 * 2**20
    assert len({weight.data_ptr() for weight in weights}) == len(weights)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not any(buffer.is_meta for buffer in model.buffers())
