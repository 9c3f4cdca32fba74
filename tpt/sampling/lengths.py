"""Whether prompts and completions fit the model, told before anything is sampled, in the words of the config."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tpt.config import PromptConfig, RunConfig
from tpt.errors import ConfigError
from tpt.model.chat import open_chat
from tpt.records import Problem
from tpt.sampling.open import engine_name, rounded_length


class Asked(NamedTuple):
    """Problems that are put to the model alike."""

    key: str
    """The config's key of the longest completion, such as ``think.max_tokens``."""
    max_tokens: int
    prompt: PromptConfig
    problems: Iterable[Problem]


def check_lengths(config: RunConfig, asked: Iterable[Asked], *, cache: Path) -> None:
    """Raise ConfigError where the longest prompt and completion of some problems do not fit model and engine.

    A server knows its own model's context, and is asked when it is opened.
    """
    given, positions = config.engine.max_length, _positions(config, cache)
    if positions and given > positions:
        raise ConfigError(
            f"engine.max_length = {given} is more than the {positions} positions of the model {config.model!r}. Set it to "
            f"{positions} or less, or to 0: as long as the problems need"
        )
    limit = given or positions
    wrong = [said for each in asked if limit and (said := _complaint(config, each, limit, cache))]
    if wrong:
        whose = "engine.max_length" if given else f"the model {config.model!r}"
        more = (
            "raise engine.max_length, or set it to 0: as long as the problems need"
            if given
            else "choose a model with more"
        )
        raise ConfigError(
            f"prompts and completions do not fit the {limit} positions of {whose}:\n"
            + "\n".join(f"  {each}" for each in wrong)
            + f"\nOr {more}"
        )


def _complaint(config: RunConfig, asked: Asked, limit: int, cache: Path) -> str:
    """Return what is wrong with the lengths of some problems, or ""."""
    chat = open_chat(asked.prompt, config.model, cache)
    longest, problem_id = max(((len(chat.prompt_ids(each)), each.id) for each in asked.problems), default=(0, ""))
    needed = longest + asked.max_tokens
    if max(needed, rounded_length(config.engine, needed)) <= limit:
        return ""
    room = limit - longest
    while room > 0 and rounded_length(config.engine, longest + room) > limit:
        room -= 1
    fix = f"set it to {room} or less" if room > 0 else "leave problems out that are so long"
    return (
        f"{asked.key} = {asked.max_tokens}: with the longest prompt, {longest} tokens of problem {problem_id!r}, that "
        f"makes {needed}; {fix}"
    )


def _positions(config: RunConfig, cache: Path) -> int:
    """Return how many positions the model has where that is what limits this config's engine, else 0."""
    from tpt.model.load import load_architecture

    engine = engine_name(config)
    if engine == "server":
        return 0
    architecture: Any = load_architecture(config.model, cache=cache).get_text_config()
    parameters = getattr(architecture, "rope_parameters", None) or getattr(architecture, "rope_scaling", None) or {}
    is_vllm = engine == "vllm" or (engine == "ray" and config.engine.replica_engine == "vllm")
    if is_vllm and "factor" in parameters:
        # It stretches them by that.
        return 0
    return int(getattr(architecture, "max_position_embeddings", None) or 0)
