"""What sampling works with, opened from the config: engine and judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tpt.config import EngineConfig, EvaluateConfig, RunConfig, ThinkConfig
from tpt.engines import Engine, Sampling
from tpt.errors import EngineError, OwnCodeError
from tpt.model.adapter_folder import seen_by_all
from tpt.model.chat import Chat, open_chat
from tpt.records import Problem
from tpt.sandbox.bubblewrap import hide_source
from tpt.system.child_python import is_installed
from tpt.system.own_code import call_own_code
from tpt.verifiers import Judge
from tpt.verifiers.judge import judge

EngineName = Literal["hf", "vllm", "server", "ray", "own"]

_LENGTH_STEP = 16
_SHARED_SLOTS = 32
"""Of a replica that may share its machine's memory with others."""


def open_engine(
    config: RunConfig, model: str, *, longest: int, cache: Path | None = None, chat: Chat | None = None
) -> Engine:
    """Load a model into the config's engine.

    ``longest``: prompt + completion in tokens. ``chat`` is on the model's tokenizer; None: opened here, as in a
    replica, whose process has none. ``cache`` keeps GGUF models dequantised.
    """
    settings, max_length = config.engine, _checked_length(config.engine, longest)
    name = engine_name(config)
    if name == "ray":
        return _open_ray(config, model, cache=cache, max_length=max_length)
    chat = chat or open_chat(config.asked_prompt, model, cache)
    if name == "own":
        return open_own(config.engine.name, model, chat, settings, max_length)
    if name == "server":
        from tpt.engines.server.engine import ServerEngine

        return ServerEngine(model, chat, settings, max_length=max_length, is_base=model == config.model)
    if name == "vllm":
        from tpt.engines.vllm import open_vllm

        return open_vllm(model, chat, settings, max_length=max_length, cache=cache)
    from tpt.engines.hf.opening import open_hf

    return open_hf(model, chat, settings, max_length=max_length, cache=cache)


def open_own(name: str, model: str, chat: Chat, settings: EngineConfig, max_length: int) -> Engine:
    """Return the engine that a function of the user's own opens for a model's spec.

    Raises:
        OwnCodeError: the function raises, or what it returns lacks a part of the engine protocol.
    """
    engine: Engine = call_own_code(name, model, chat, settings, max_length)
    missing = [
        part
        for part in ("guarantee", "slots", "add", "step", "cancel", "under_way", "describe", "close")
        if not hasattr(engine, part)
    ]
    if missing:
        raise OwnCodeError(
            f"engine.name = {name}: it returned {engine!r:.100}, which lacks {', '.join(missing)} of tpt.engines.Engine"
        )
    return engine


def _checked_length(settings: EngineConfig, longest: int) -> int:
    """Return ``rounded_length``, and refuse one that does not suffice, which a run is told by ``check_lengths`` before."""
    length = rounded_length(settings, longest)
    if length < longest:
        raise EngineError(
            f"engine.max_length = {length} is less than the {longest} tokens of prompt and completion: set it to {longest} "
            "or more, or to 0"
        )
    return length


def rounded_length(settings: EngineConfig, longest: int) -> int:
    """Return how many tokens an engine makes room for where the longest prompt + completion has so many."""
    return settings.max_length or -(-longest // _LENGTH_STEP) * _LENGTH_STEP


def engine_name(config: RunConfig) -> EngineName:
    """Return the engine that the config means here: ``auto`` is vLLM where it is installed and there is a GPU for it."""
    settings = config.engine
    if settings.name != "auto":
        known: tuple[EngineName, ...] = ("hf", "vllm", "server", "ray")
        return next((name for name in known if name == settings.name), "own")
    here = settings.batch_invariant or "int8" in (settings.weights, config.evaluate.weights)
    if here or settings.device == "cpu" or not is_installed("vllm"):
        return "hf"
    from tpt.model.load import resolve_device

    return "vllm" if resolve_device(settings.device).type == "cuda" else "hf"


def _open_ray(config: RunConfig, model: str, *, cache: Path | None, max_length: int) -> Engine:
    from tpt.cluster.engine import open_ray

    settings = config.engine
    if settings.replica_engine == "vllm" and not settings.replica_gpus and settings.device != "cpu":
        settings = settings.model_copy(update={"replica_gpus": settings.tensor_parallel_size})
    model, files = seen_by_all(model)
    replica_config = _replica_config(config, settings)
    opener = partial(_open_replica, replica_config, model, cache=cache and cache.resolve(), max_length=max_length)
    return open_ray(opener, settings, max_length=max_length, files=files)


def _open_replica(config: RunConfig, model: str, *, cache: Path | None, max_length: int) -> Engine:
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

    ``every_test``: see ``tpt.verifiers.judge.judge``.
    """
    for source in filter(None, (config.problems.train, config.problems.heldout)):
        hide_source(source)
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
        stop_strings=tuple(section.stop),
    )
