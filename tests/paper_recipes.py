"""The recipes of the paper that ship as examples, and what tests ask of their names."""

from __future__ import annotations

from pathlib import Path

from tpt.config import RunConfig, load_config

FOLDER = Path(__file__).parents[1] / "examples" / "paper"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.toml"))
ARMS = sorted(path.stem for path in (FOLDER / "arms").glob("*.toml"))
FAMILY = {"gemma": "gemma2", "llama": "llama3"}


def recipe(name: str) -> RunConfig:
    return load_config(FOLDER / f"{name}.toml")


def is_code(name: str) -> bool:
    return name.startswith("codecontests")


def family(name: str) -> str:
    return next(family for part, family in FAMILY.items() if part in name)
