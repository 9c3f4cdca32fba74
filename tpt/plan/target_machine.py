"""Which hardware a run is planned for, in which precision, and how fast that is."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Literal

from tpt.config import RunConfig
from tpt.errors import ConfigError, ForeignModelError
from tpt.plan.hardware import GIB, GPUS, Engine, GpuSpeed, Hardware, Speed, known_gpu, parse_gpu
from tpt.plan.microbenchmark import Load, TrialSpeed, affordable, depths_of, time_model
from tpt.plan.work import Work
from tpt.sampling.open import engine_name
from tpt.system.terminal import tell

_TRIAL_BYTES = 4 * GIB
"""The most that timing a few layers may take."""
_TRIED_LAYERS = 4
_SAID_FROM_S = 2.0


def choose_hardware(config: RunConfig, gpu: str, mfu: float) -> Hardware:
    """Return the GPU that is named, or what this machine has.

    Raises:
        ConfigError: no such GPU is known.
    """
    if gpu:
        return Hardware(*parse_gpu(gpu), mfu)
    from tpt.model.load import resolve_device

    if resolve_device(config.engine.device).type == "cpu":
        return Hardware(None, 1, mfu)
    import torch

    name = torch.cuda.get_device_name()
    if (found := known_gpu(name)) is None:
        raise ConfigError(
            f"this machine's GPU, {name}, has no data sheet here; name the one closest to it: --gpu {', '.join(GPUS)}"
        )
    return Hardware(found, torch.cuda.device_count(), mfu)


def choose_engine(config: RunConfig, hardware: Hardware) -> Engine:
    """Return the engine; on a GPU that is elsewhere, ``auto`` is taken for vLLM; a replica's for Ray.

    Raises:
        ConfigError: the config's weights are for CPUs alone.
    """
    if hardware.gpu is not None and "int8" in (config.engine.weights, config.evaluate.weights):
        raise ConfigError(
            f'weights = "int8" is for CPUs, and this is planned for {hardware.gpu.name}: --set engine.weights=full --set '
            "evaluate.weights=full"
        )
    if hardware.gpu is not None and config.engine.name == "auto":
        return "hf" if config.engine.batch_invariant else "vllm"
    name = engine_name(config)
    if name == "own":
        raise ConfigError(
            f"what an engine of your own costs is not known here (engine.name = {config.engine.name}): plan with another, such "
            "as --set engine.name=hf"
        )
    return config.engine.replica_engine if name == "ray" else name


def precisions(work: Work, hardware: Hardware) -> tuple[int, Literal["float32", "bfloat16"]]:
    """Return the bytes of a weight while sampling, and the precision of training."""
    engine, train = work.config.engine, work.config.train
    if hardware.gpu is not None:
        return (4 if engine.dtype == "float32" else 2), ("float32" if train.precision == "float32" else "bfloat16")
    import torch

    from tpt.sft import resolve_precision

    hidden, here = work.shape.hidden, torch.device("cpu")
    sampling = resolve_precision(engine.dtype, hidden_size=hidden, device=here)
    return (2 if sampling == "bfloat16" else 4), resolve_precision(train.precision, hidden_size=hidden, device=here)


def hardware_text(hardware: Hardware) -> str:
    """Return what the hardware is, with its data sheet."""
    gpu = hardware.gpu
    if gpu is None:
        return "this machine's CPU"
    return (
        f"{hardware.devices} x {gpu.name}: {gpu.tflops:g} TFLOP/s in bfloat16, {gpu.bandwidth:,.0f} GB/s, {gpu.memory:g} GB "
        f"({gpu.source})"
    )


def speed_of(
    work: Work,
    hardware: Hardware,
    *,
    slots: int,
    width: int,
    precision: Literal["float32", "bfloat16"],
    weights: str,
    samples_only: bool = False,
) -> Speed | None:
    """Return how fast the hardware is: by its data sheet, or timed here.

    None where the model is too large to try, or is decoded by ``generate``.

    What is timed here is said on stderr first where it takes longer than a moment.
    """
    cost = work.cost(width)
    if hardware.gpu is not None:
        return GpuSpeed(
            gpu=hardware.gpu,
            cost=cost,
            engine=work.engine,
            sampling_devices=work.config.engine.tensor_parallel_size,
            training_devices=max(1, work.config.train.devices),
            mfu=hardware.mfu,
        )
    tried = work.shape.head_parameters + work.shape.projected * _TRIED_LAYERS // work.shape.layers
    if 16 * tried > _TRIAL_BYTES:
        return None
    from tpt.model.load import use_threads

    use_threads(work.config.threads)
    load = _load_of(work, slots, "bfloat16" if width == 2 else "float32", precision, weights)
    if samples_only:
        load = replace(load, trained=0)
    load, foreseen = affordable(work.architecture, load)
    if foreseen > _SAID_FROM_S:
        layers = " and ".join(map(str, depths_of(work.architecture)))
        tell(
            f"plan: timing {layers} of {work.shape.layers} layers on this processor: {load.rows} rows in {load.dtype}, weights "
            f"{load.weights}"
            + (f", and a training step of {load.trained} tokens in {load.precision}" if load.trained else "")
            + f"; about {foreseen:.0f} s, a minute at most",
            sys.stderr,
        )
    try:
        trial = time_model(work.architecture, load)
    except ForeignModelError:
        return None
    return TrialSpeed(trial, load, slots, cost.train_factor / 3)


def _load_of(work: Work, slots: int, dtype: str, precision: str, weights: str) -> Load:
    """Return what a run puts to the machine."""
    config, longest = work.config, work.config.train.max_length
    return Load(
        rows=slots,
        prompt=round(work.train.mean),
        prefix=work.train.prefix,
        completion=max(2, round(work.completion)),
        max_length=work.length("think"),
        fixed=config.engine.batch_invariant,
        vocabulary_cut=config.think.top_k > 0 or config.think.top_p < 1,
        dtype=dtype,
        micro_batch_size=config.train.micro_batch_size,
        row_tokens=round(min(longest, work.train.mean + work.completion)),
        target_tokens=round(min(longest, work.completion)),
        precision=precision,
        weights=weights,
        head_weights=work.shape.head_parameters,
        layer_weights=work.shape.projected // work.shape.layers,
    )
