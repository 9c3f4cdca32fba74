"""The trainer does what plain arithmetic says, and nothing else."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.utils import _telemetry
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from tpt.config import TrainConfig
from tpt.errors import TrainError
from tpt.sft import FitLog, Row, compare, fit, resolve_precision, snapshot
from tpt.sft.trainer import rate_at, warmup_steps

BuildModel = Callable[[], LlamaForCausalLM]
Train = Callable[..., tuple[LlamaForCausalLM, FitLog]]
CPU = torch.device("cpu")


@pytest.fixture
def train(build_model: BuildModel, tokenizer: Any) -> Train:
    """Trains a new small model."""

    def train(rows: list[Row], *, seed: int = 3, **settings: Any) -> tuple[LlamaForCausalLM, FitLog]:
        model = build_model()
        log = fit(model, tokenizer, rows, config=TrainConfig(**settings), seed=seed, progress=None)
        return model, log

    return train


def weights_of(model: LlamaForCausalLM) -> dict[str, Tensor]:
    return snapshot(model)


def test_one_step_is_adamw_on_the_mean_loss_of_the_completion_tokens(
    train: Train, build_model: BuildModel, rows: list[Row]
) -> None:
    settings = {"learning_rate": 1e-3, "batch_size": 6, "micro_batch_size": 2, "warmup_ratio": 0.0}
    trained, log = train(rows[:6], **settings, weight_decay=0.1, max_grad_norm=0.5)
    model = build_model()
    total = torch.tensor(0.0)
    for row in rows[:6]:
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
        total = total + cross_entropy(logits[:-1], torch.tensor(row.labels[1:]), reduction="sum")
    loss = total / sum(row.targets for row in rows[:6])
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    decayed = [p for name, p in model.named_parameters() if "norm" not in name]
    others = [p for name, p in model.named_parameters() if "norm" in name]
    torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=1e-3
    ).step()
    assert log.losses == [pytest.approx(loss.item(), abs=2e-5)]
    assert log.grad_norms == [pytest.approx(norm.item(), abs=2e-5)]
    for name, weight in weights_of(model).items():
        # Adam's first step has nearly the same size for every gradient, so a tiny gradient's rounding shows.
        assert torch.allclose(weight, weights_of(trained)[name], atol=2e-5), name


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_neither_micro_batches_nor_packing_change_the_result(train: Train, rows: list[Row], loss: str) -> None:
    """Rows have unequal numbers of targets, so a mean of the micro-batches' means would not be the step's mean."""
    settings = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 2, "loss": loss}
    some = sorted(rows, key=lambda row: row.targets)[::2] + rows[:8]
    assert len({row.targets for row in some}) > 5
    found = {}
    for micro, packing in ((1, False), (2, False), (8, False), (1, True), (8, True)):
        model, log = train(some, micro_batch_size=micro, packing=packing, **settings)
        assert log.steps == len(log.losses) == 5
        assert log.packed == packing
        assert (log.padding_tokens == 0) == (micro == 1 or packing)
        assert log.total_tokens == 2 * sum(len(row.input_ids) for row in some)
        assert log.target_tokens == 2 * sum(row.targets for row in some)
        found[micro, packing] = weights_of(model), log.losses, log.grad_norms
    weights, losses, norms = found.pop((1, False))
    for others, other_losses, other_norms in found.values():
        assert other_losses == pytest.approx(losses, abs=2e-5)
        assert other_norms == pytest.approx(norms, abs=2e-5)
        # Two epochs of Adam, whose first steps are as large for a tiny gradient as for a large one.
        assert max(float((weights[name] - others[name]).abs().max()) for name in weights) < 2e-5


def test_the_loss_goes_down(train: Train, rows: list[Row]) -> None:
    _, log = train(rows, learning_rate=1e-2, epochs=8, batch_size=8, micro_batch_size=8)
    assert log.losses[0] > 4.5
    assert log.losses[-1] < 3.0


def test_the_same_seed_gives_the_same_bits(train: Train, rows: list[Row]) -> None:
    settings = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 1}
    first, again, other = (weights_of(train(rows[:8], seed=seed, **settings)[0]) for seed in (2**40 + 7, 2**40 + 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_small_learning_rate_counts_in_float32_and_would_be_lost_in_bfloat16(
    build_model: BuildModel, tokenizer: Any, rows: list[Row]
) -> None:
    model = build_model()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
    before = snapshot(model)
    fit(model, tokenizer, rows[:8], config=TrainConfig(learning_rate=1e-6), seed=0, progress=None)
    change = compare(before, model)
    assert change.changed_share > 0.95
    assert change.changed_share_bfloat16 < 0.02
    assert 1e-6 < change.mean_relative_change < 1e-3


def test_a_model_in_bfloat16_is_refused(build_model: BuildModel, tokenizer: Any, rows: list[Row]) -> None:
    with pytest.raises(TrainError, match=r"holds model.embed_tokens.weight in torch.bfloat16; load it in float32"):
        fit(build_model().bfloat16(), tokenizer, rows, config=TrainConfig(), seed=0, progress=None)


def test_bfloat16_computes_about_the_same(train: Train, rows: list[Row]) -> None:
    settings = {"learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 4}
    exact, rounded = (train(rows[:8], precision=precision, **settings) for precision in ("float32", "bfloat16"))
    assert (exact[1].precision, rounded[1].precision) == ("float32", "bfloat16")
    assert rounded[1].losses != exact[1].losses
    assert rounded[1].losses == pytest.approx(exact[1].losses, rel=0.02)
    assert {weight.dtype for weight in rounded[0].parameters()} == {torch.float32}


def test_a_loss_that_is_no_number_ends_training(build_model: BuildModel, tokenizer: Any, rows: list[Row]) -> None:
    model = build_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("inf"))
    seen: list[int] = []
    with pytest.raises(TrainError, match=r"step 1 of 3: the loss is nan .* lower train.learning_rate"):
        fit(model, tokenizer, rows, config=TrainConfig(), seed=0, progress=lambda step, steps, loss: seen.append(step))
    assert seen == []


def test_rows_that_the_model_cannot_read(build_model: BuildModel, tokenizer: Any, rows: list[Row]) -> None:
    long = Row("p, sample 1", rows[0].input_ids * 10, rows[0].labels * 10)
    with pytest.raises(TrainError, match=rf"p, sample 1: it has {len(long.input_ids)} tokens and the model reads 256"):
        fit(build_model(), tokenizer, [long], config=TrainConfig(), seed=0, progress=None)
    foreign = Row("p, sample 1", [1, 9999, 2], [-100, 9999, 2])
    with pytest.raises(TrainError, match=r"gives the id 9999, but the model knows \d+ tokens"):
        fit(build_model(), tokenizer, [foreign], config=TrainConfig(), seed=0, progress=None)


def test_it_tells_its_progress_and_leaves_no_other_trace(
    build_model: BuildModel,
    tokenizer: Any,
    rows: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(_telemetry, "_start_telemetry_thread", lambda: calls.append("home"))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[tuple[int, int, float]] = []
    model = build_model()
    model.config.use_cache = True
    log = fit(
        model,
        tokenizer,
        rows,
        config=TrainConfig(),
        seed=0,
        progress=lambda step, steps, loss: seen.append((step, steps, round(loss, 5))),
    )
    assert seen == [(step, 3, loss) for step, loss in enumerate(log.losses, 1)]
    assert capfd.readouterr() == ("", "")
    assert calls == []
    assert os.listdir(tmp_path) == []
    assert model.config.use_cache is True


def test_warm_up_rises_to_the_peak_and_no_step_is_wasted() -> None:
    rates = [rate_at(step, steps=10, warmup=2, schedule="cosine") for step in range(10)]
    assert rates[:3] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
    assert all(earlier > later > 0 for earlier, later in itertools.pairwise(rates[2:]))
    assert [rate_at(step, steps=4, warmup=0, schedule="linear") for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert [rate_at(step, steps=3, warmup=1, schedule="constant") for step in range(3)] == [0.5, 1.0, 1.0]
    assert [warmup_steps(steps, 0.1) for steps in (1, 2, 10, 11, 25)] == [0, 1, 1, 2, 3]
    assert warmup_steps(10, 0.0) == 0


def test_a_small_model_computes_in_float32_on_a_cpu() -> None:
    assert resolve_precision("auto", hidden_size=128, device=CPU) == "float32"
    assert resolve_precision("bfloat16", hidden_size=128, device=CPU) == "bfloat16"
    assert resolve_precision("float32", hidden_size=4096, device=CPU) == "float32"
    fast = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    assert resolve_precision("auto", hidden_size=4096, device=CPU) == ("bfloat16" if fast else "float32")
