"""Which keys of a config may name a function of the user's own, and the names that they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tpt.config.run_config import RunConfig
from tpt.problems.spec import is_named_source
from tpt.system.own_code import absolute_name, is_own_code, load_own_code, own_code_digest

OWN_CODE_KEYS = (
    *("problems.train", "problems.heldout", "problems.kind", "engine.name", "think.order", "think.hint_by"),
    *("prune.pick", "prune.keep", "prune.weigh", "train.trainer", "train.loss"),
)
_SOURCES = ("problems.train", "problems.heldout")


def own_code_of(config: RunConfig, *keys: str) -> dict[str, str]:
    """Return key to the function that it names, of those keys that name one; all keys where none are given."""
    found = {}
    for key in keys or OWN_CODE_KEYS:
        section, _, name = key.partition(".")
        function, _, _ = str(getattr(getattr(config, section), name)).partition("?")
        if is_own_code(function) and not (key in _SOURCES and is_named_source(function)):
            found[key] = function
    return found


def require_own_code(config: RunConfig) -> None:
    """Import every function that a config names.

    Raises:
        OwnCodeError: one cannot be imported.
    """
    for function in own_code_of(config).values():
        load_own_code(function)


def own_code_settings(config: RunConfig, *keys: str) -> dict[str, Any]:
    """Return what a stage's settings say of the functions it uses: their files' digests; {} where it uses none.

    Raises:
        OwnCodeError: there is no such file.
    """
    digests = {key: own_code_digest(function) for key, function in own_code_of(config, *keys).items()}
    return {"own_code": digests} if digests else {}


def with_absolute_own_code(config: RunConfig, *, folder: Path | None = None) -> RunConfig:
    """Return the config with the files of functions named by their absolute paths.

    Relative paths start from ``folder`` where there is such a file; else, and without a folder, from the working
    directory.
    """
    for key in own_code_of(config):
        section_name, _, name = key.partition(".")
        section = getattr(config, section_name)
        function, mark, parameters = getattr(section, name).partition("?")
        # An absolute path stays what it is.
        beside = str(folder / function) if folder and (folder / function.rpartition(":")[0]).is_file() else function
        section = section.model_copy(update={name: absolute_name(beside) + mark + parameters})
        config = config.model_copy(update={section_name: section})
    return config
