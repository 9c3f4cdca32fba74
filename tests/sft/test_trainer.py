"""Settings that need what is not here are refused before anything is computed; metrics stay here by default."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM, TrainerCallback
from transformers.integrations import integration_utils

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.sft import Row, fit, snapshot
from tpt.sft.trainer import check_installed, make_arguments

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"optimizer": "adamw_8bit"},
            r'train.optimizer = "adamw_8bit" needs a CUDA device, .* on cpu; set it to "adamw"',
        ),
        ({"liger": True}, "train.liger = true needs a CUDA device, .* set it to false"),
    ],
)
def test_what_needs_a_gpu_is_refused_on_a_cpu(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainError, match=message):
        check_installed(TrainConfig(**settings), CPU)


@pytest.mark.parametrize(
    ("settings", "package"),
    [
        ({"optimizer": "paged_adamw_8bit"}, "bitsandbytes"),
        ({"liger": True}, "liger-kernel"),
        ({"report_to": ["wandb"]}, "wandb"),
        ({"report_to": ["trackio"]}, "trackio"),
        ({"report_to": ["mlflow"]}, "mlflow"),
        ({"report_to": ["tensorboard"]}, "tensorboard"),
    ],
)
def test_a_missing_package_is_named(settings: dict[str, Any], package: str) -> None:
    if find_spec(package.replace("-", "_")) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(TrainError, match=f"pip install {package}"):
        check_installed(TrainConfig(**settings), torch.device("cuda"))


def test_nothing_is_reported_and_nothing_recomputed_unless_asked_for(tmp_path: Path) -> None:
    arguments = make_arguments(TrainConfig(), "float32", device=CPU, seed=0, folder=tmp_path)
    assert arguments.report_to == []
    assert not arguments.activation_checkpointing
    assert str(arguments.optim.value) == "adamw_torch_fused"


def test_a_tracker_gets_every_steps_metrics(
    build_model: Callable[[], LlamaForCausalLM], tokenizer: Any, rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in takes the place of trackio's callback, which is looked up by the tracker's name."""
    seen: list[dict[str, float]] = []

    class Tracker(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **unused: Any) -> None:
            seen.append(dict(logs))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "trackio", Tracker)
    monkeypatch.setattr("tpt.sft.trainer.is_installed", lambda name: True)
    log = fit(build_model(), tokenizer, rows, config=TrainConfig(report_to=["trackio"]), seed=0)
    steps = [entry for entry in seen if "loss" in entry]
    assert [round(entry["loss"], 5) for entry in steps] == log.losses
    assert {"loss", "grad_norm", "learning_rate"} <= steps[0].keys()


def test_the_log_has_a_line_a_step(
    build_model: Callable[[], LlamaForCausalLM], tokenizer: Any, rows: list[Row], tmp_path: Path
) -> None:
    path = tmp_path / "train_log.jsonl"
    log = fit(build_model(), tokenizer, rows, config=TrainConfig(), seed=0, log_path=path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert [line["loss"] for line in lines] == log.losses
    assert [line["learning_rate"] for line in lines] == log.learning_rates
    assert max(log.learning_rates) == 1e-6
    assert sum(line["target_tokens"] for line in lines) == log.target_tokens == sum(row.targets for row in rows)
    assert all(line["tokens_per_s"] > 0 and line["grad_norm"] > 0 for line in lines)


def test_recomputed_activations_change_nothing(
    build_model: Callable[[], LlamaForCausalLM], tokenizer: Any, rows: list[Row]
) -> None:
    weights = []
    for checkpointing in (False, True):
        model = build_model()
        config = TrainConfig(learning_rate=1e-3, gradient_checkpointing=checkpointing)
        fit(model, tokenizer, rows[:8], config=config, seed=0)
        weights.append(snapshot(model))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
