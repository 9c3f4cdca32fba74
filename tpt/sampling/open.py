"""What sampling works with, opened from the config: engine and judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tpt.config import EngineConfig, EvaluateConfig, RunConfig, ThinkConfig
from tpt.engines import Engine, Sampling
from tpt.model.adapter_folder import seen_by_all
from tpt.model.chat import prompt_template
from tpt.records import Problem
from tpt.system.child_python import is_installed
from tpt.verifiers import Judge
from tpt.verifiers.judge import judge

_LENGTH_STEP = 16


_SHARED_SLOTS = 32
"""Of a replica that may share its machine's memory with others."""


def open_engine(config: RunConfig, model: str, *, cache: Path, longest: int) -> Engine:
    """Load a model into the config's engine; ``longest`` is the longest prompt + completion in tokens."""
    max_length = config.engine.max_length or -(-longest // _LENGTH_STEP) * _LENGTH_STEP
    name = engine_name(config)
    if name == "server":
        return _open_server(config, model, cache=cache, max_length=max_length)
    if name == "ray":
        return _open_ray(config, model, cache=cache, max_length=max_length)
    if name == "vllm":
        return _open_vllm(config, model, cache=cache, max_length=max_length)
    return _open_hf(config, model, cache=cache, max_length=max_length)


def engine_name(config: RunConfig) -> Literal["hf", "vllm", "server", "ray"]:
    """Return the engine that the config means here: ``auto`` is vLLM where it is installed and there is a GPU for it."""
    settings = config.engine
    if settings.name != "auto":
        return settings.name
    if settings.batch_invariant or settings.device == "cpu" or not is_installed("vllm"):
        return "hf"
    from tpt.model.load import resolve_device

    return "vllm" if resolve_device(settings.device).type == "cuda" else "hf"


def _open_hf(config: RunConfig, model: str, *, cache: Path, max_length: int) -> Engine:
    from tpt.engines.hf.engine import HFSettings, open_hf

    settings = config.engine
    return open_hf(
        model,
        prompt_template(config),
        HFSettings(
            max_length=max_length,
            slots=settings.slots,
            batch_invariant=settings.batch_invariant,
            device=settings.device,
            dtype=settings.dtype,
            cache=cache,
        ),
    )


def _open_vllm(config: RunConfig, model: str, *, cache: Path, max_length: int) -> Engine:
    from tpt.engines.vllm import VLLMSettings, open_vllm

    settings = config.engine
    return open_vllm(
        model,
        prompt_template(config),
        VLLMSettings(
            max_length=max_length,
            slots=settings.slots,
            device=settings.device,
            dtype=settings.dtype,
            tensor_parallel_size=settings.tensor_parallel_size,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            options=settings.options,
            cache=cache,
        ),
    )


def _open_server(config: RunConfig, model: str, *, cache: Path, max_length: int) -> Engine:
    from tpt.engines.server.engine import ServerSettings, open_server

    settings = config.engine
    return open_server(
        model,
        prompt_template(config),
        ServerSettings(
            url=settings.url,
            max_length=max_length,
            served_model=settings.served_model,
            is_base=model == config.model,
            prompt=settings.prompt,
            concurrency=settings.concurrency,
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            api_key_env=settings.api_key_env,
            reload=settings.reload,
            options=settings.options,
            cache=cache,
        ),
    )


def _open_ray(config: RunConfig, model: str, *, cache: Path, max_length: int) -> Engine:
    from tpt.cluster.engine import open_ray

    settings = config.engine
    if settings.replica_engine == "vllm" and not settings.replica_gpus and settings.device != "cpu":
        settings = settings.model_copy(update={"replica_gpus": settings.tensor_parallel_size})
    model, files = seen_by_all(model)
    replica_config = _replica_config(config, settings)
    opener = partial(_open_replica, replica_config, model, cache=cache.resolve(), max_length=max_length)
    return open_ray(opener, settings, max_length=max_length, files=files)


def _open_replica(config: RunConfig, model: str, *, cache: Path, max_length: int) -> Engine:
    from tpt.model.load import use_threads

    use_threads(config.threads)
    return open_engine(config, model, cache=cache, longest=max_length)


def _replica_config(config: RunConfig, settings: EngineConfig) -> RunConfig:
    """Return the config that a replica opens its own engine by."""
    changes: dict[str, Any] = {"name": settings.replica_engine}
    if not settings.replica_gpus:
        changes["device"] = "cpu"
    if settings.replica_engine == "hf" and settings.replica_gpus != 1:
        # Its neighbours on the machine would count on the same free memory.
        changes["slots"] = settings.slots or _SHARED_SLOTS
    if settings.tensor_parallel_size > 1:
        # In a Ray worker vLLM might take Ray for its executor, and that for a cluster of its own.
        changes["options"] = {"distributed_executor_backend": "mp", **settings.options}
    threads = config.threads or settings.replica_cpus
    return config.model_copy(update={"engine": settings.model_copy(update=changes), "threads": threads})


@contextmanager
def open_judge(config: RunConfig, problems: Mapping[str, Problem], *, every_test: bool = False) -> Iterator[Judge]:
    """Give what judges traces of these problems: here, or on the nodes of a cluster that is joined for as long.

    Args:
        config: its ``verify`` says where, and within what limits.
        problems: id to problem.
        every_test: see ``tpt.verifiers.judge.judge``.
    """
    if config.verify.where == "here":
        yield partial(judge, limits=config.verify, every_test=every_test)
        return
    from tpt.cluster.judges import open_judges

    kinds = {problem.kind for problem in problems.values()}
    judges = open_judges(config.verify, config.engine, kinds, every_test=every_test)
    try:
        yield judges.judge
    finally:
        judges.close()


def sampling_of(section: ThinkConfig | EvaluateConfig) -> Sampling:
    """Return a section's sampling fields."""
    return Sampling(
        temperature=section.temperature,
        top_p=section.top_p,
        top_k=section.top_k,
        max_tokens=section.max_tokens,
    )
