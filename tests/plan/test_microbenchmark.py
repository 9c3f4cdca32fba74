"""A timing that would take long is made short, and what it says is carried on to the whole."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from transformers import LlamaConfig

from tpt.model.tiny import random_model
from tpt.plan.microbenchmark import Load, Trial, TrialSpeed, _micro_batch, _training, affordable, time_model
from tpt.sft.losses import cross_entropy
from tpt.sft.target_loss import attach_target_loss

LOAD = Load(
    rows=64, prompt=60, prefix=20, completion=30, max_length=128, fixed=False, vocabulary_cut=False, dtype="float32",
    micro_batch_size=2, row_tokens=90, target_tokens=30, precision="float32", weights="full", head_weights=10_000,
    layer_weights=40_000,
)  # fmt: skip
TINY = LlamaConfig(
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=6,
    num_attention_heads=2,
    num_key_value_heads=2,
    vocab_size=160,
)
HUGE = 10**12
"""Weights of a layer, as none has them: no machine is fast enough."""

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_small_load_is_timed_as_it_is() -> None:
    load, foreseen = affordable(TINY, LOAD)
    assert load == LOAD and 0 < foreseen < 20


@pytest.mark.parametrize("fixed", [False, True])
def test_a_large_one_is_cut_down(fixed: bool) -> None:
    wanted = replace(LOAD, rows=256, prompt=900, completion=400, fixed=fixed, layer_weights=HUGE)
    load, foreseen = affordable(TINY, wanted)
    assert (load.rows, load.prompts, load.prompt - load.prefix, load.completion, load.trained) == (16, 8, 32, 32, 32)
    assert foreseen < wanted.seconds([1, 4], 1e10, 1e10)


@pytest.mark.parametrize("weights", ["full", "int8"])
def test_a_machine_that_is_too_slow_is_timed_at_one_depth(monkeypatch: pytest.MonkeyPatch, weights: str) -> None:
    load = affordable(TINY, replace(LOAD, weights=weights, layer_weights=HUGE, rows=256))[0]
    monkeypatch.setattr("tpt.plan.microbenchmark._MOST_S", 0.0)
    started = time.monotonic()
    trial = time_model(TINY, load)
    assert min(trial.step_s, trial.few_s, trial.prefill_s, trial.micro_batch_s, trial.update_s) > 0
    assert trial.few_rows == 8 and time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("trained", "timed"), [(256, [(1, 22), (2, 90)]), (90, [(1, 22), (1, 90)]), (40, [(1, 10), (1, 40)])]
)
def test_a_shorter_training_is_carried_on_without_what_does_not_grow(
    monkeypatch: pytest.MonkeyPatch, trained: int, timed: list[tuple[int, int]]
) -> None:
    asked: list[tuple[int, int]] = []

    def seconds(_model: object, _load: Load, rows: int, length: int) -> float:
        asked.append((rows, length))
        return 2.0 + 0.01 * rows * length

    monkeypatch.setattr("tpt.plan.microbenchmark._micro_batch", seconds)
    monkeypatch.setattr("tpt.plan.microbenchmark._seconds", lambda work: work())
    micro_batch_s, _ = _training(random_model(TINY), replace(LOAD, trained=trained))
    assert micro_batch_s == pytest.approx(2.0 + 0.01 * 180) and asked == timed


def test_only_targets_reach_the_vocabulary() -> None:
    model, seen = random_model(TINY).train(), []
    attach_target_loss(model, cross_entropy)
    model.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0].shape))
    _micro_batch(model, LOAD, 2, 90)
    assert seen == [(58, TINY.hidden_size)]  # the first token of a row is predicted by none


def test_a_speed_for_sampling_alone_trains_nothing() -> None:
    trial = time_model(TINY, replace(LOAD, trained=0))
    assert (trial.micro_batch_s, trial.update_s) == (0.0, 0.0) and min(trial.step_s, trial.prefill_s) > 0


def test_what_was_timed_on_fewer_rows_is_carried_on() -> None:
    trial = Trial(step_s=1.0, few_s=0.5, few_rows=8, prefill_s=0.1, micro_batch_s=1.0, update_s=0.0)
    load = replace(LOAD, rows=16)
    speed = TrialSpeed(trial, load, 256, 1.0)
    assert speed.step_s(16, 0) == 1.0 and speed.step_s(256, 0) == pytest.approx(0.5 + 248 * 0.0625)
    assert TrialSpeed(trial, replace(load, fixed=True), 256, 1.0).step_s(3, 0) == 16
    assert TrialSpeed(trial, replace(load, fixed=True), 16, 1.0).step_s(3, 0) == 1.0
