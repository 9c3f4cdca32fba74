"""What every stage of every round will take, from what is believed of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tpt.mix import human_size, own_size
from tpt.plan.hardware import Hardware, Speed
from tpt.plan.history import Belief
from tpt.plan.sampling import Draws, Lengths, Spent, simulate
from tpt.plan.work import Further, Prompts, Work
from tpt.scoring.drift import FEWEST, probe_room
from tpt.scoring.solve_rates import Rates

TRACE_S = 0.0004
"""Of every trace, besides decoding: its random stream, its text, its records and a plain verdict."""
_STAGE_S = {"cpu": 0.5, "cuda": 15.0}
"""To begin and end a stage's process."""
_ENGINE_S = {"hf": 0.0, "server": 0.0, "vllm": 45.0}
"""To start an engine on a GPU: memory profiling, graphs."""
_READ_BYTES_S = {"cpu": 5e8, "cuda": 1e9}
"""Weights read from disk and put where they belong."""
_DEQUANTISE_BYTES_S = 4e7
"""Of a GGUF file, once a run."""
START_S = {"cpu": 8.0, "cuda": 20.0}
"""To import the libraries, once a run."""
_TRACE_BYTES = 450
"""A trace and its verdict on disk, besides the completion's text."""
_TOKEN_BYTES = 4


@dataclass(frozen=True, slots=True)
class StagePlan:
    """What one stage takes."""

    round: int
    stage: str
    """think, train, evaluate, or that which scores a further set of problems."""
    samples: int
    """Completions, or examples."""
    tokens: int
    """Sampled, those not needed included; or trained on, all epochs."""
    prompt_tokens: int
    """Read once for all samples of a problem; part of ``tokens`` in training."""
    flops: float
    seconds: float | None
    """None: nothing says how fast this would be."""
    done: bool = False
    """The numbers are measured."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a run's stages are planned."""

    work: Work
    hardware: Hardware
    speed: Speed | None
    thinking: Speed | None
    """The same with the weights that think, which scores need not be sampled with."""
    width: int
    """Bytes of a weight while sampling."""
    slots: dict[str, int]
    """By stage."""
    sampled_here: bool
    """False where a server samples whose speed is not known."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """What kind of device it is."""
        return "cpu" if self.hardware.gpu is None else "cuda"


def plan_stages(setting: Setting, belief: Callable[[int], Belief]) -> list[StagePlan]:
    """Return the stages of all rounds; ``belief`` says what to expect of a round."""
    planned = [_evaluate(setting, 0, belief(0))]
    examples = 0
    for index in range(1, setting.work.config.rounds + 1):
        expected = belief(index)
        spent = _think_spent(setting, index, expected)
        if spent is not None:
            planned.append(_think(setting, index, spent, expected))
        examples = _examples(setting.work, index, spent) + (
            examples if setting.work.config.data.mode == "accumulate" else 0
        )
        planned.append(_train(setting, index, examples, expected))
        planned.append(_evaluate(setting, index, expected))
    config = setting.work.config
    # Which round will be the best one is not known; any costs as much as the last.
    scored = range(config.rounds + 1) if config.evaluate.also_rounds == "all" else sorted({0, config.rounds})
    return planned + [_also(setting, index, each, belief(index)) for index in scored for each in setting.work.also]


def kind_of(stage: str) -> Literal["think", "train", "evaluate"]:
    """Return the stage that another one works like: what scores further problems works like evaluation."""
    return "think" if stage == "think" else "train" if stage == "train" else "evaluate"


def disk_bytes(setting: Setting, planned: list[StagePlan]) -> dict[str, int]:
    """Return what a run leaves on disk, and what it needs for a time."""
    work, config = setting.work, setting.work.config
    cost = work.cost(setting.width)
    kept = cost.trained_weights if config.train.adapter == "keep" else work.shape.parameters
    sampled = [stage for stage in planned if stage.stage != "train"]
    traces = sum(stage.samples * _TRACE_BYTES + stage.tokens * _TOKEN_BYTES for stage in sampled)
    # With best+last there are three for a moment: those two, and the new one.
    rounds = config.rounds if config.train.keep == "all" else min(config.rounds, 3)
    found = {"checkpoints": 4 * kept * rounds, "traces": traces}
    if config.model.endswith(".gguf"):
        found["model, dequantised"] = 4 * work.shape.parameters
    # Weights and two moments, and the next such checkpoint before the last one goes.
    found["while training"] = 2 * 4 * (work.shape.parameters + 2 * cost.trained_weights)
    return found


def _think_spent(setting: Setting, index: int, expected: Belief) -> Spent | None:
    """Return what sampling for training comes to; None when the traces come from elsewhere."""
    work, config = setting.work, setting.work.config
    if config.data.source_of(index) != "self":
        return None
    closed = human_size(config, index) if config.data.mix_problems == "apart" else 0
    per_problem = config.prune.per_problem
    draws = Draws(
        per_problem=1 if per_problem == "all" else per_problem,
        problems=work.train.count - closed,
        samples=config.think.samples,
        size=own_size(config, index) if config.think.sampler == "until_full" else None,
        sampler=config.think.sampler,
        slots=setting.slots["think"],
    )
    return simulate(draws, _keepable_rates(setting.work, expected.rates), expected.think)


def _keepable_rates(work: Work, rates: Rates) -> Rates:
    """Return how often a trace may be trained on, which is not how often it is right when wrong ones may be too."""
    policy = work.config.prune
    if policy.correct_only:
        return rates
    return Rates(rates.b, rates.a) if policy.wrong_only else Rates.of_mean(0.99)


def _examples(work: Work, index: int, spent: Spent | None) -> int:
    """Return how many new examples a round trains on."""
    policy = work.config.prune
    size = own_size(work.config, index)
    solved = (1,) * (work.solutions or work.train.count) if spent is None else spent.solved
    each = [hits if policy.per_problem == "all" else min(hits, policy.per_problem) for hits in solved[:size]]
    return min(sum(each), policy.max_examples or sum(each)) + human_size(work.config, index)


def _think(setting: Setting, index: int, spent: Spent, expected: Belief) -> StagePlan:
    return _sampled(setting, "think", index, spent, setting.work.train, expected.think)


def _evaluate(setting: Setting, index: int, expected: Belief) -> StagePlan:
    work, config = setting.work, setting.work.config
    draws = _scoring(setting, work.heldout.count, config.evaluate.samples)
    spent = simulate(draws, expected.rates, expected.evaluate)
    planned = _sampled(setting, "evaluate", index, spent, work.heldout, expected.evaluate)
    length = work.heldout.mean + spent.tokens / max(1, spent.samples)
    affordable = max(FEWEST, math.ceil(probe_room(spent.tokens) / length))
    count = min(config.evaluate.probe, work.heldout.count, affordable)
    texts = count * (2 if work.solutions else 1) * (2 if index else 1)
    seconds = planned.seconds
    if seconds is not None and setting.speed is not None:
        seconds += setting.speed.prefill_s(texts, length)
    flops = planned.flops + texts * length * work.cost(setting.width).forward(length / 2)
    return StagePlan(index, "evaluate", planned.samples, planned.tokens, planned.prompt_tokens, flops, seconds)


def _also(setting: Setting, index: int, further: Further, expected: Belief) -> StagePlan:
    """Return what a further set takes, its problems taken to be as hard as the held-out ones."""
    spent = simulate(_scoring(setting, further.prompts.count, further.samples), expected.rates, expected.evaluate)
    return _sampled(setting, further.stage, index, spent, further.prompts, expected.evaluate)


def _scoring(setting: Setting, problems: int, samples: int) -> Draws:
    """Return what scoring samples: so many of every problem, and the greedy one."""
    taken = samples + setting.work.config.evaluate.greedy_samples
    return Draws(problems, taken, None, "fixed", setting.slots["evaluate"], per_problem=taken)


def _sampled(setting: Setting, stage: str, index: int, spent: Spent, prompts: Prompts, lengths: Lengths) -> StagePlan:
    """Return what sampling takes."""
    work, speed = setting.work, setting.thinking if stage == "think" else setting.speed
    cost = work.cost(setting.width)
    context = prompts.mean + spent.tokens / max(1, spent.samples) / 2
    fixed = work.config.engine.batch_invariant
    own = prompts.mean if fixed else prompts.mean - prompts.prefix
    read = round(spent.prompts * own) + (0 if fixed else prompts.prefix)
    rows = sum(rows * steps for rows, steps in spent.busy)
    if fixed:
        rows = setting.slots[kind_of(stage)] * sum(steps for _, steps in spent.busy)
    flops = rows * cost.forward(context) + read * cost.forward(prompts.mean / 2)
    seconds = None
    if speed is not None and setting.sampled_here:
        seconds = sum(steps * speed.step_s(rows, context) for rows, steps in spent.busy)
        seconds += speed.prefill_s(spent.prompts, own) + spent.samples * TRACE_S + _opening_s(setting, index)
    return StagePlan(index, stage, spent.samples, spent.tokens, read, flops, seconds)


def _opening_s(setting: Setting, index: int) -> float:
    """Return the seconds until a stage's model is there, and after it has done its work."""
    seconds = _STAGE_S[setting.device] + 4 * setting.work.shape.parameters / _READ_BYTES_S[setting.device]
    if setting.device == "cuda":
        seconds += _ENGINE_S[setting.work.engine]
    if index == 0 and setting.work.config.model.endswith(".gguf"):
        seconds += 4 * setting.work.shape.parameters / _DEQUANTISE_BYTES_S
    return seconds


def _train(setting: Setting, index: int, examples: int, expected: Belief) -> StagePlan:
    work, config = setting.work, setting.work.config.train
    own = work.config.data.source_of(index) == "self"
    length = min(config.max_length, work.train.mean + (expected.think.kept_mean if own else work.completion))
    rows = examples * config.epochs
    steps = config.epochs * math.ceil(examples / config.batch_size)
    seconds = None
    if setting.speed is not None:
        seconds = setting.speed.train_s(rows, length, steps)
        seconds += _STAGE_S[setting.device] + 8 * work.shape.parameters / _READ_BYTES_S[setting.device]
    flops = rows * length * work.cost(setting.width).training(length / 2)
    tokens = round(rows * length)
    return StagePlan(index, "train", examples, tokens, round(rows * work.train.mean), flops, seconds)
