"""Whether prompts and completions fit the model, told before anything is sampled, in the words of the config."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tpt.config import RunConfig
from tpt.errors import ConfigError
from tpt.model.chat import Chat
from tpt.records import Problem
from tpt.sampling.open import engine_name, rounded_length

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class Asked(NamedTuple):
    """Problems that are put to the model alike."""

    key: str
    """The config's key of the longest completion, such as ``think.max_tokens``."""
    max_tokens: int
    prompt: int
    """Tokens of the longest one."""
    problem_id: str
    """Whose that is."""

    @property
    def needed(self) -> int:
        """Tokens of the longest prompt and completion."""
        return self.prompt + self.max_tokens


def longest_prompt(chat: Chat, problems: Iterable[Problem]) -> tuple[int, str]:
    """Return the tokens of the longest prompt, and whose it is."""
    return max(((len(chat.prompt_ids(each)), each.id) for each in problems), default=(0, ""))


def check_lengths(config: RunConfig, asked: Sequence[Asked], architecture: PreTrainedConfig | None) -> int:
    """Return the tokens of the longest prompt and completion.

    ``architecture`` is the model's config; None for a server, which knows its own and is asked when it is opened.

    Raises:
        ConfigError: some do not fit.
    """
    given = config.engine.max_length
    positions = 0 if architecture is None else _positions(config, architecture)
    if positions and given > positions:
        raise ConfigError(
            f"engine.max_length = {given} is more than the {positions} positions of the model {config.model!r}. Set it to "
            f"{positions} or less, or to 0: as long as the problems need"
        )
    limit = given or positions
    wrong = [said for each in asked if limit and (said := _complaint(config, each, limit))]
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
    return max(each.needed for each in asked)


def _complaint(config: RunConfig, asked: Asked, limit: int) -> str:
    """Return what is wrong with the lengths of some problems, or ""."""
    if max(asked.needed, rounded_length(config.engine, asked.needed)) <= limit:
        return ""
    room = limit - asked.prompt
    while room > 0 and rounded_length(config.engine, asked.prompt + room) > limit:
        room -= 1
    fix = f"set it to {room} or less" if room > 0 else "leave problems out that are so long"
    return (
        f"{asked.key} = {asked.max_tokens}: with the longest prompt, {asked.prompt} tokens of problem {asked.problem_id!r}, "
        f"that makes {asked.needed}; {fix}"
    )


def _positions(config: RunConfig, architecture: PreTrainedConfig) -> int:
    """Return how many positions the model has where that is what limits this config's engine, else 0."""
    engine = engine_name(config)
    if engine == "server":
        return 0
    text: Any = architecture.get_text_config()
    parameters = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    is_vllm = engine == "vllm" or (engine == "ray" and config.engine.replica_engine == "vllm")
    if is_vllm and "factor" in parameters:
        # It stretches them by that.
        return 0
    return int(getattr(text, "max_position_embeddings", None) or 0)
