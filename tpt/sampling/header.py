"""The line that a run begins with: which run, which model, on how many problems, by which engine in which number format."""

from __future__ import annotations

from pathlib import Path

from tpt.config import RunConfig
from tpt.errors import TPTError
from tpt.run.directory import RunDir
from tpt.sampling.open import engine_name
from tpt.system.jsonl import count_lines


def run_header(run: RunDir, config: RunConfig) -> str:
    """Return the line; what cannot be found out is left for the stage that fails by it."""
    learn, score = (count_lines(path) for path in (run.problems, run.heldout))
    rounds = f"{config.rounds} round{'' if config.rounds == 1 else 's'}"
    try:
        engine = _engine_text(run, config)
    except (TPTError, OSError):
        engine = f"engine {config.engine.name}"
    line = (
        f"{run.path}: model {config.model}; {learn:,} problems to learn from, {score:,} held out; {rounds}; {engine}; "
        f"how far it is: tpt status {run.path}"
    )
    return "\n".join(filter(None, (line, slow_format(config, run.path / "cache"))))


def slow_format(config: RunConfig, cache: Path | None) -> str:
    """Return what a number format that the config asks for costs where this machine's CPU emulates it; empty elsewhere."""
    from tpt.model.load import load_architecture, resolve_device
    from tpt.model.number_format import emulation_text

    settings, options = config.engine, []
    if settings.dtype == "bfloat16" and engine_name(config) in ("hf", "vllm"):
        options.append("engine.dtype")
    if config.rounds and config.train.precision == "bfloat16" and config.train.where == "here":
        options.append("train.precision")
    try:
        if not options or resolve_device(settings.device).type != "cpu":
            return ""
        return emulation_text(load_architecture(config.model, cache=cache), options)
    except (TPTError, OSError):
        return ""


def _engine_text(run: RunDir, config: RunConfig) -> str:
    from tpt.model.load import load_architecture, resolve_device
    from tpt.model.shape import width_of
    from tpt.sft import resolve_precision

    settings, name = config.engine, engine_name(config)
    if name == "server":
        return f"engine server at {settings.url}"
    if name == "own":
        return f"engine {settings.name}"
    if name == "ray":
        return f"engine ray, replicas of {settings.replica_engine}"
    device = resolve_device(settings.device)
    architecture = load_architecture(config.model, cache=run.path / "cache")
    numbers = resolve_precision(settings.dtype, hidden_size=width_of(architecture), device=device)
    said = f"engine {name} on {device.type} in {numbers}"
    if settings.weights != "full":
        said += f", thinks in {settings.weights}"
    if config.evaluate.weights != "full":
        said += f", scores in {config.evaluate.weights}"
    if name == "hf":
        from tpt.engines.hf.opening import why_foreign

        # Of a small relative, within a second: the engine itself is opened by the first stage.
        reason = why_foreign(architecture)
        said += f", by transformers' generate, which is slow: {reason}" if reason else ""
    return said
