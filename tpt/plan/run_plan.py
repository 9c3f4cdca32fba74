"""What a run will cost, told before anything is spent: tokens, arithmetic, time, memory, disk and price.

Nothing is sampled or trained. What cannot be known is assumed, and every assumption is said; once a run has finished
stages, what they measured takes the assumptions' place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tpt.config import RunConfig
from tpt.mix import wanted_size
from tpt.plan.actuals import Compared, compare_stages, corrected
from tpt.plan.assumptions import PlanOptions, assumptions
from tpt.plan.hardware import GPUS, Hardware
from tpt.plan.history import Belief, History, read_history
from tpt.plan.memory import Fit, free_for_slots, memory_of, sampling_fit, training_fit
from tpt.plan.power import Power, power_of
from tpt.plan.sampling import Lengths
from tpt.plan.stages import START_S, Setting, StagePlan, disk_bytes, plan_stages
from tpt.plan.target_machine import choose_engine, choose_hardware, hardware_text, precisions, speed_of
from tpt.plan.work import Work, open_work
from tpt.run.directory import RunDir
from tpt.scoring.solve_rates import SOLVE_RATE, Rates


@dataclass(frozen=True, slots=True)
class Total:
    """All stages together."""

    sampled_tokens: int
    trained_tokens: int
    flops: float
    seconds: float | None
    """None where some stage's is not known."""

    @property
    def tokens(self) -> int:
        """All of them, sampled or trained on."""
        return self.sampled_tokens + self.trained_tokens


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will take; with finished stages in it, those are as measured."""

    outline: dict[str, Any]
    hardware: str
    assumptions: list[str]
    stages: list[StagePlan]
    total: Total
    memory: list[Fit]
    fits: bool
    fits_on: list[str]
    """GPUs that it would fit on, as many of them, where it does not fit on those planned for."""
    disk: dict[str, int]
    """Bytes."""
    price: float | None
    devices: int
    reality: list[Compared]
    """Finished stages against the plan that was possible before the run."""
    before: Total
    """The same total as it was planned before the run."""
    power: Power
    """What the held-out problems can show."""
    may_stop: bool
    """Whether the rounds are enough for ``stop.patience`` to end the run before the last."""


def outline(config: RunConfig, out: Path, *, train: int, heldout: int, left_out: int | None = None) -> dict[str, Any]:
    """Return what a run does, in numbers; ``left_out``: bad problems, where they were looked for."""
    size = wanted_size(config.prune, 1)
    return {
        "run directory": str(out),
        "exists": RunDir(out).exists(),
        "model": config.model,
        "rounds": config.rounds,
        "training problems": train,
        "held-out problems": heldout,
        **({} if left_out is None else {"bad problems left out": left_out}),
        "samples a round, at most": train * config.think.samples,
        "examples a round": "all that are solved" if size is None else size,
        "held-out samples a round": heldout * (config.evaluate.samples + config.evaluate.greedy_samples),
    }


def plan_run(config: RunConfig, out: Path, options: PlanOptions) -> RunPlan:
    """Plan a run; one that is there is read, never written.

    Raises:
        ConfigError: no such GPU is known.
        ModelError: the model's config cannot be read.
        ProblemError: the problems cannot be read.
        RunError: the run's files are damaged.
    """
    hardware = choose_hardware(config, options.gpu, options.mfu)
    work = open_work(config, out, engine=choose_engine(config, hardware), completion_tokens=options.completion_tokens)
    width, precision = precisions(work, hardware)
    guess = _guess(work, options)
    history = read_history(RunDir(out), config)
    newest = history.belief(config.rounds, guess)
    slots, fits = _memory(hardware, work, newest, width=width, precision=precision)
    speed = thinking = None
    if all(fit.fits for fit in fits):
        timed = partial(speed_of, work, hardware, slots=slots["think"], width=width, precision=precision)
        speed = timed(weights=config.evaluate.weights)
        if config.engine.weights != config.evaluate.weights:
            thinking = timed(weights=config.engine.weights, samples_only=True)
    setting = Setting(
        work=work,
        hardware=hardware,
        speed=speed,
        thinking=thinking or speed,
        width=width,
        slots=slots,
        sampled_here=work.engine != "server" or hardware.gpu is not None,
    )
    before = plan_stages(setting, lambda index: guess)
    expected = plan_stages(setting, lambda index: history.belief(index, guess)) if history.done else before
    stages = corrected(expected, history, hardware.gpu)
    total = _total(stages, setting)
    hours = None if total.seconds is None else total.seconds / 3600
    return RunPlan(
        outline=outline(config, out, train=work.train.count, heldout=work.heldout.count),
        hardware=hardware_text(hardware),
        assumptions=assumptions(setting, options, history, is_to_come=not all(stage.done for stage in stages)),
        stages=stages,
        total=total,
        memory=fits,
        fits=all(fit.fits for fit in fits),
        fits_on=_fitting_gpus(hardware, work, newest, width=width, precision=precision)
        if hardware.gpu is not None and speed is None
        else [],
        disk=disk_bytes(setting, stages),
        price=None if options.price is None or hours is None else options.price * hardware.devices * hours,
        devices=hardware.devices,
        reality=compare_stages(before, history),
        before=_total(before, setting),
        may_stop=0 < config.stop.patience < config.rounds,
        power=power_of(
            config,
            _scored_rates(history, guess),
            problems=work.heldout.count,
            asked=None if options.detect is None else options.detect / 100,
        ),
    )


def _scored_rates(history: History, guess: Belief) -> Rates:
    """Return the solve rates of the held-out problems: as the last evaluation showed them."""
    return history.evaluated[max(history.evaluated)].rates if history.evaluated else guess.rates


def _guess(work: Work, options: PlanOptions) -> Belief:
    rate = SOLVE_RATE if options.solve_rate is None else options.solve_rate
    config = work.config
    return Belief(
        Rates.of_mean(rate),
        Lengths.guessed(work.completion, config.think.max_tokens),
        Lengths.guessed(work.completion, config.evaluate.max_tokens),
    )


def _memory(
    hardware: Hardware, work: Work, belief: Belief, *, width: int, precision: Literal["float32", "bfloat16"]
) -> tuple[dict[str, int], list[Fit]]:
    """Return the slots of the stages that sample, and whether every stage fits."""
    on_gpu = hardware.gpu is not None
    free_memory = memory_of(hardware, work)
    free = free_for_slots(work, free_memory, width=width, on_gpu=on_gpu)
    slots = {stage: work.slots(stage, free=free, width=width) for stage in ("think", "evaluate")}
    fits = [training_fit(work, free_memory, belief.think.longest_kept, precision=precision, on_gpu=on_gpu)]
    if work.engine != "server":
        fits.append(sampling_fit(work, "evaluate", free_memory, slots=slots["evaluate"], width=width, on_gpu=on_gpu))
        if work.config.data.source_of(work.config.rounds) == "self":
            fits.insert(0, sampling_fit(work, "think", free_memory, slots=slots["think"], width=width, on_gpu=on_gpu))
    return slots, [_enough_devices(fit, hardware, work) for fit in fits]


def _enough_devices(fit: Fit, hardware: Hardware, work: Work) -> Fit:
    """Return a stage's fit, refused where the config asks for more devices than are planned for."""
    config = work.config
    wanted = config.train.devices if fit.stage == "train" else config.engine.tensor_parallel_size
    if hardware.gpu is None or wanted <= hardware.devices:
        return fit
    said = f"the config asks for {wanted} devices and {hardware.devices} are planned for: --gpu {hardware.gpu.name}:{wanted}"
    return replace(fit, fits=False, instead=said)


def _fitting_gpus(
    hardware: Hardware, work: Work, belief: Belief, *, width: int, precision: Literal["float32", "bfloat16"]
) -> list[str]:
    fits = {
        name: _memory(replace(hardware, gpu=gpu), work, belief, width=width, precision=precision)[1]
        for name, gpu in GPUS.items()
    }
    return [name for name, each in fits.items() if all(fit.fits for fit in each)]


def _total(stages: list[StagePlan], setting: Setting) -> Total:
    seconds = [stage.seconds for stage in stages if stage.seconds is not None]
    return Total(
        sampled_tokens=sum(stage.tokens for stage in stages if stage.stage != "train"),
        trained_tokens=sum(stage.tokens for stage in stages if stage.stage == "train"),
        flops=sum(stage.flops for stage in stages),
        seconds=sum(seconds) + START_S[setting.device] if len(seconds) == len(stages) else None,
    )
