"""Config files: read with overrides and every value checked; written with every key explained."""

from __future__ import annotations

import copy
import difflib
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tpt.config.also_section import AlsoSource
from tpt.config.problem_sections import Shot
from tpt.config.run_config import PRESETS, RunConfig
from tpt.config.section import Section
from tpt.errors import ConfigError, did_you_mean
from tpt.system.folders import said_of

OFTEN_SET: dict[str, tuple[str, ...]] = {
    "": ("model", "rounds", "seed"),
    "problems": ("train", "heldout", "max_train", "max_heldout"),
    "prompt": ("system", "template"),
    "think": ("samples", "temperature", "max_tokens"),
    "prune": ("per_problem", "size"),
    "train": ("method", "learning_rate", "epochs", "batch_size"),
    "evaluate": ("samples", "temperature", "max_tokens"),
}
"""Section to the keys that most people set; "": keys of no section."""
_BRANCHES = ("constrained-int", "literal[", "function-after[")


def load_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a TOML file, apply ``--set`` overrides such as ``"think.samples=20"``, and check every value.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value is not allowed.
    """
    table = read_toml(path, missing="no such config file. Make one with: tpt init > run.toml")
    return parse_config(table, overrides, where=str(path))


def read_toml(path: Path, *, missing: str = "no such file") -> dict[str, Any]:
    """Return what a TOML file holds; ``missing`` is what to say of one that is not there.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        # Editors on Windows begin a file with a signature.
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: {missing}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}. Save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(said_of(error)) from None
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty. tpt init prints a config")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: lists or tables nested too deeply") from None


def parse_config(table: dict[str, Any], overrides: list[str] | None = None, *, where: str = "config") -> RunConfig:
    """Check a table of settings; ``where`` names it in errors."""
    table = copy.deepcopy(table)
    given = {_apply_override(table, override): f"--set {override}" for override in overrides or []}
    preset = table.get("preset", "tpt")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(
            f"{given.get('preset', where)}: preset = {preset!r} is not known, allowed: {', '.join(PRESETS)}."
            + did_you_mean(str(preset), PRESETS)
        )
    try:
        return RunConfig.model_validate(_merged(PRESETS[preset], table))
    except ValidationError as error:
        raise ConfigError(_explain(error, where, given)) from None


def render_toml(config: RunConfig, *, short: bool = False) -> str:
    """Write a config as TOML, each key under a comment that says what it means.

    ``short``: only the keys that most people set, and those with another value than the preset's; read again, it is the
    same config.
    """
    lines: list[str] = []
    sections: list[str] = []
    preset = PRESETS[config.preset]
    for name, field in RunConfig.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            keys = _render_keys(name, value, preset.get(name, {}), short=short)
            sections += ["", f"[{name}]  # {type(value).__doc__}", *keys] if keys else []
        elif not short or name in OFTEN_SET[""] or value != preset.get(name, field.default):
            lines += [f"# {field.description}", _render_value(name, value)]
    return "\n".join(lines + sections) + "\n"


def _render_keys(name: str, section: Section, preset: dict[str, Any], *, short: bool) -> list[str]:
    lines: list[str] = []
    for key, field in type(section).model_fields.items():
        value = section.model_dump()[key]
        default = preset.get(key, field.get_default(call_default_factory=True))
        if not short or key in OFTEN_SET.get(name, ()) or value != default:
            lines += [f"# {field.description}", _render_value(key, value)]
    return lines


def _render_value(key: str, value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(_render_value(name, item) for name, item in value.items())
        return f"{_toml_key(key)} = {{{inner}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        rows = ",\n".join("  " + _render_value("", item).partition("= ")[2] for item in value)
        return f"{_toml_key(key)} = [\n{rows},\n]"
    return tomli_w.dumps({key: value}).strip()


def _toml_key(key: str) -> str:
    return tomli_w.dumps({key: 0}).partition(" = ")[0]


def _apply_override(table: dict[str, Any], override: str) -> str:
    """Put an override into a table of settings and return its key."""
    key, equals, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not all([*sections, last]):
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set think.samples=20")
    target = table
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override}: {section!r} is a value, not a section")
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        found = {}
    except RecursionError:
        raise ConfigError(f"--set {key}: lists or tables nested too deeply") from None
    # A text of several lines may be TOML of several keys; it is a text all the same.
    target[last] = found["value"] if len(found) == 1 else text
    return ".".join([*sections, last])


def _merged(defaults: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for name, default in defaults.items():
        given = table.get(name, default)
        merged[name] = {**default, **given} if isinstance(default, dict) and isinstance(given, dict) else given
    return merged


def _explain(error: ValidationError, file: str, given: dict[str, str]) -> str:
    """Return a line for every mistake; ``given`` has the keys that did not come from the file, and what they came from."""
    lines: dict[str, str] = {}
    for item in error.errors():
        path = [str(part) for part in item["loc"]]
        # A union adds the name of each of its branches to the path; the key itself is what the user wrote.
        if path and path[-1].startswith(_BRANCHES) and path[:-1] != ["problems", "columns"]:
            path.pop()
        key = ".".join(path)
        where = next((said for name, said in given.items() if f"{key}.".startswith(f"{name}.")), file)
        if item["type"] == "extra_forbidden":
            where = next((said for name, said in given.items() if f"{name}.".startswith(f"{key}.")), where)
            lines[key] = f"{where}: unknown key {key!r}.{_meant(path)}"
        elif key in lines:
            lines[key] += f", or {_said(item)}"
        elif item["type"] == "value_error":
            lines[key] = f"{where}: {key + ': ' if key else ''}{item['ctx']['error']}"
        elif item["type"] == "missing":
            lines[key] = f"{where}: {key} is missing"
        else:
            lines[key] = f"{where}: {key} = {item['input']!r:.200}: {_said(item)}"
    return "\n".join(lines.values())


def _said(item: ErrorDetails) -> str:
    if item["type"] == "model_type":
        return "should be a section of keys"
    if item["type"] == "string_too_short":
        return "should not be empty"
    return item["msg"].removeprefix("Input ").strip()


def _meant(path: list[str]) -> str:
    """Say which key was meant: one of that name in another section, else one of a similar name in this one."""
    *section, name = path
    is_row = len(path) > 2
    elsewhere = [] if is_row else [key for key in _all_keys() if key.rpartition(".")[2] == name]
    if elsewhere:
        return f" Did you mean {' or '.join(map(repr, elsewhere))}?"
    prefix = "" if is_row else "".join(f"{each}." for each in section)
    close = difflib.get_close_matches(name, _known_keys(section), n=1, cutoff=0.6)
    return f" Did you mean {prefix + close[0]!r}?" if close else ""


def _all_keys() -> list[str]:
    fields = RunConfig.model_fields
    return [key for name in fields for key in (name, *(f"{name}.{inner}" for inner in _known_keys([name])))]


def _known_keys(path: list[str]) -> list[str]:
    model: type[BaseModel] = RunConfig
    for rows, of in ((["prompt", "few_shot"], Shot), (["evaluate", "also"], AlsoSource)):
        if path[:2] == rows:
            return list(of.model_fields)
    for name in path:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
