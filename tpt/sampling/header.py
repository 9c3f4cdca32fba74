"""The line that a run begins with: which run, which model, on how many problems, by which engine in which number format."""

from __future__ import annotations

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
    return (
        f"{run.path}: model {config.model}; {learn:,} problems to learn from, {score:,} held out; {rounds}; {engine}; "
        f"how far it is: tpt status {run.path}"
    )


def _engine_text(run: RunDir, config: RunConfig) -> str:
    from tpt.model.load import load_architecture, resolve_device
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
    hidden_size = int(getattr(architecture.get_text_config(), "hidden_size", 0))
    numbers = resolve_precision(settings.dtype, hidden_size=hidden_size, device=device)
    said = f"engine {name} on {device.type} in {numbers}"
    if name == "hf":
        from tpt.engines.hf.opening import why_foreign

        # Of a small relative, within a second: the engine itself is opened by the first stage.
        reason = why_foreign(architecture)
        said += f", by transformers' generate, which is slow: {reason}" if reason else ""
    return said
