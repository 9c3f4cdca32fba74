"""The arms file: which arms, from which base, at what equal budget, with which seeds."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from tpt.config import PRESETS, RunConfig, Section, parse_config
from tpt.config.own_code_keys import with_absolute_own_code
from tpt.config.toml import read_toml
from tpt.errors import ConfigError, did_you_mean

VOTE = "majority-vote"
"""The arm that trains nothing: the base model's answers vote."""
GRPO = "grpo"
"""The arm that learns by reinforcement."""
ARM_KINDS = (*PRESETS, VOTE, GRPO)
MOST_ROUNDS = 4
"""An arm that is to spend a number of tokens does so many times the base's rounds, at most."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Budget = Literal["examples", "rounds", "tokens", "flops"] | Annotated[int, Field(gt=0)]


class ArmSection(Section):
    """One ``[[arm]]``."""

    name: str
    preset: str = ""
    """Empty: the name is a preset's."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Config keys, as dotted names or as sections; they win over the preset and over the budget."""


class SearchSection(Section):
    """``[search]``: every arm's learning rate is the best of these on training problems that are held back."""

    rates: list[Annotated[float, Field(gt=0)]] = Field(min_length=2)
    held_back: Annotated[int, Field(gt=0)]
    """Training problems that the rates are scored on, and that are not trained on meanwhile."""
    rounds: Annotated[int, Field(gt=0)]
    """That an arm does at each rate."""

    @field_validator("rates")
    @classmethod
    def _each_once(cls, rates: list[float]) -> list[float]:
        if len(set(rates)) < len(rates):
            raise ValueError(f"each rate once, got {rates}")
        return rates


class ArmsSection(Section):
    """The whole arms file."""

    config: str = ""
    """A run config beside this file, instead of ``base``."""
    base: dict[str, Any] = Field(default_factory=dict)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default_factory=lambda: [0, 1, 2], min_length=1)
    budget: Budget = "examples"
    """``examples``: as many training examples; ``rounds``: as many rounds, each preset with its own sizes; ``tokens``: as
    many sampled tokens as the reference arm; ``flops``: as much arithmetic to sample and train; or so many tokens."""
    reference: str = ""
    """Arm that the others are compared with; empty: the first."""
    search: SearchSection | None = None
    arm: list[ArmSection] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train (or not) from the base model."""

    name: str
    preset: str
    table: Mapping[str, Any]
    """Its config, without a seed."""
    rounds: int
    folder: Path
    """Where files of functions are looked for first."""

    @property
    def votes(self) -> bool:
        """Whether the arm trains nothing."""
        return self.preset == VOTE

    @property
    def reinforced(self) -> bool:
        """Whether the arm has no rounds, but one training by reinforcement."""
        return self.preset == GRPO

    def config(self, seed: int, *, rounds: int | None = None) -> RunConfig:
        """Return the run config of the arm with a seed; ``rounds``: other than planned."""
        table = {**self.table, "seed": seed, "rounds": self.rounds if rounds is None else rounds}
        return with_absolute_own_code(parse_config(table, where=f"arm {self.name!r}"), folder=self.folder)


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What is compared."""

    arms: list[Arm]
    """The reference arm first."""
    seeds: list[int]
    budget: str | int
    search: SearchSection | None = None
    """None: every arm trains at the rate that its config says."""

    @property
    def reference(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]


def load_arms(path: Path) -> StudyPlan:
    """Read an arms file and check every arm's config.

    Raises:
        ConfigError: the file cannot be read, a key, preset or arm is unknown, or the budget cannot be met.
    """
    table = read_toml(path)
    if "arm" not in table:
        raise ConfigError(
            f"{path}: no [[arm]] is there. An arms file has a base config, seeds and arms; tpt run takes a run config"
        )
    section = _section(table, str(path))
    base = read_toml(path.parent / section.config) if section.config else section.base
    if bool(section.config) == bool(section.base):
        raise ConfigError(f'{path}: give either config = "run.toml" or a [base] table with the keys of a run config')
    names = [each.name for each in section.arm]
    _check_names(names, section.reference, path)
    if len(set(section.seeds)) < len(section.seeds):
        raise ConfigError(f"{path}: seeds = {section.seeds}: each seed once")
    common = parse_config({**base, "preset": "tpt"}, where=f"{path}: base")
    arms = [_arm(each, base, common, section.budget, path) for each in section.arm]
    first = names.index(section.reference) if section.reference else 0
    _check_rates(section, path)
    plan = StudyPlan([arms[first], *arms[:first], *arms[first + 1 :]], section.seeds, section.budget, section.search)
    _check_budget(plan, common, path)
    return plan


def _section(table: dict[str, Any], where: str) -> ArmsSection:
    try:
        return ArmsSection.model_validate(table)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            names = [str(part) for part in item["loc"]]
            sections: dict[str, type[Section]] = {"arm": ArmSection, "search": SearchSection}
            section = sections.get(names[0], ArmsSection) if len(names) > 1 else ArmsSection
            fields = section.model_fields
            hint = did_you_mean(names[-1], fields) if item["type"] == "extra_forbidden" else ""
            said = "unknown key" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Input ")
            lines.append(f"{where}: {'.'.join(names)}: {said}.{hint}")
        raise ConfigError("\n".join(lines)) from None


def _check_names(names: list[str], reference: str, path: Path) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{path}: arm name {name!r}: its runs' folder is named so; allowed are letters, digits, '.', '_', '-'"
            )
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two arms are named {name!r}; give each a name of its own")
    if reference and reference not in names:
        raise ConfigError(
            f"{path}: reference = {reference!r} is no arm, there are: {', '.join(names)}.{did_you_mean(reference, names)}"
        )


def _check_rates(section: ArmsSection, path: Path) -> None:
    """Raise where an arm has a learning rate of its own, though all are searched for."""
    for arm in section.arm if section.search else []:
        if "learning_rate" in _nested(arm.set, f"{path}: arm {arm.name!r}: set").get("train", {}):
            raise ConfigError(
                f"{path}: arm {arm.name!r}: set: train.learning_rate is searched for, as [search] says: leave it out, and put "
                "what it might be into search.rates"
            )


def _arm(section: ArmSection, base: dict[str, Any], common: RunConfig, budget: str | int, path: Path) -> Arm:
    """Put an arm's config together: the base, over it the preset, the budget, and the arm's own keys."""
    preset = section.preset or section.name
    if preset not in ARM_KINDS:
        key = "preset" if section.preset else "name"
        raise ConfigError(
            f"{path}: arm {section.name!r}: {key} = {preset!r} is no preset, allowed: {', '.join(ARM_KINDS)}."
            f"{did_you_mean(preset, ARM_KINDS)}"
        )
    own = _nested(section.set, f"{path}: arm {section.name!r}: set")
    if "seed" in own or "preset" in own:
        raise ConfigError(
            f"{path}: arm {section.name!r}: set: seed and preset are not to be set; see seeds, and preset"
        )
    defaults = PRESETS.get(preset, {})
    table = over({"stop": {"patience": 0}}, base)
    for layer in (defaults, _equal(preset, common, budget), own):
        table = over(table, layer)
    table["preset"] = preset if preset in PRESETS else "tpt"
    rounds = parse_config(table, where=f"{path}: arm {section.name!r}").rounds
    return Arm(section.name, preset, table, rounds, path.absolute().parent)


def _equal(preset: str, common: RunConfig, budget: str | int) -> dict[str, Any]:
    """Return the keys that give a preset the budget of the base's rounds."""
    rounds, size = common.rounds, common.prune.size
    if preset == "one-big-round":
        whole = 0 if size == "all" else size * rounds
        prune = {"per_problem": rounds, "size": "all", "max_examples": whole}
        return {"rounds": 1, "think": {"samples": common.think.samples * rounds}, "prune": prune}
    default = PRESETS.get(preset, {}).get("prune", {})
    if budget != "examples" or "size" not in default:
        return {"rounds": rounds}
    if default.get("per_problem", 1) == 1:
        return {"rounds": rounds, "prune": {"size": size}}
    return {"rounds": rounds, "prune": {"size": "all", "max_examples": size}}


def _check_budget(plan: StudyPlan, common: RunConfig, path: Path) -> None:
    reference = plan.reference
    if reference.preset not in PRESETS:
        raise ConfigError(
            f"{path}: the reference arm must have rounds: {reference.name!r} is {reference.preset}. Set reference"
        )
    if plan.budget == "examples" and common.prune.size == "all":
        raise ConfigError(
            f'{path}: budget = "examples" needs a number of examples, but base.prune.size = "all": give a number, or '
            'take budget = "tokens"'
        )
    by_reference = plan.budget in ("tokens", "flops") or (
        plan.budget == "examples" and any(arm.votes or arm.reinforced for arm in plan.arms)
    )
    if by_reference and reference.config(plan.seeds[0]).data.source != "self":
        raise ConfigError(
            f'{path}: budget = "tokens" or "flops", and the arms {VOTE} and {GRPO}, go by what the reference arm samples, '
            f"but {reference.name!r} samples nothing: set reference to another arm, or budget to a number of tokens"
        )


def _nested(keys: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return dotted keys as sections of sections."""
    nested: dict[str, Any] = {}
    for name, value in keys.items():
        *sections, last = name.split(".")
        table: dict[str, Any] = {last: value}
        for section in reversed(sections):
            table = {section: table}
        if not all([*sections, last]):
            raise ConfigError(f"{where}: {name!r} is no config key")
        nested = over(nested, table)
    return nested


def over(table: Mapping[str, Any], layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with another's keys in place of its own, section by section."""
    merged = copy.deepcopy(dict(table))
    for name, value in layer.items():
        before = merged.get(name)
        merged[name] = over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
