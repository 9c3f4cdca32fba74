"""Modules import only from lower levels, and heavy libraries only where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import tpt
from tools import house

PACKAGE = Path(tpt.__file__).parent
DESIGN = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
LAYERS = DESIGN[DESIGN.index("```layers\n") :].split("```")[1].splitlines()[1:]
"""The page's list, from the bottom up: parts of one layer do not import each other, and a folder counts as one part."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
HEAVY = {
    "torch",
    "transformers",
    "trl",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "gguf",
    "numba",
    "llvmlite",
}
HEAVY_PARTS = {"engines", "sft", "model", "cluster.train", "system.memory"}
"""Where heavy libraries may be imported when the file is: as folders, or as single files."""


@cache
def files() -> dict[str, Path]:
    """Dotted name below tpt to file."""
    found = {}
    for path in sorted(set(PACKAGE.rglob("*.py")) - set((PACKAGE / "examples").rglob("*.py"))):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def package(module: str) -> str:
    return module.split(".")[0]


@cache
def imports(name: str, *, top_level_only: bool) -> frozenset[str]:
    """Full names that a file imports; ``from tpt import x`` counts as ``tpt.x``."""
    tree = ast.parse(files()[name].read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            assert node.module is not None
            if node.module == "tpt":
                found.update(f"tpt.{alias.name}" for alias in node.names)
            else:
                found.add(node.module)
    return frozenset(found)


def own_imports(name: str, *, top_level_only: bool = False) -> set[str]:
    return {
        each.removeprefix("tpt.") for each in imports(name, top_level_only=top_level_only) if each.startswith("tpt.")
    }


def test_every_module_has_a_level() -> None:
    assert {package(name) for name in files()} == set(LEVEL)


@pytest.mark.parametrize("name", files())
def test_a_module_imports_only_from_lower_levels(name: str) -> None:
    here = package(name)
    wrong = {each for each in own_imports(name) if package(each) != here and LEVEL[package(each)] >= LEVEL[here]}
    assert not wrong, f"tpt.{name} (layer {LEVEL[here]}) imports {sorted(wrong)}"


@pytest.mark.parametrize("name", files())
def test_heavy_libraries_are_imported_at_the_top_only_where_they_belong(name: str) -> None:
    heavy = {each for each in imports(name, top_level_only=True) if package(each) in HEAVY}
    assert not heavy or {name, package(name)} & HEAVY_PARTS, f"tpt.{name} imports {sorted(heavy)}"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        name: {each for each in own_imports(name) if each in files() and each != name} | _parents_beside(name)
        for name in files()
    }
    done: set[str] = set()
    while ready := {name for name, needed in graph.items() if name not in done and needed <= done}:
        done |= ready
    assert not graph.keys() - done, f"in a circle, or behind one: {sorted(graph.keys() - done)}"


def _parents_beside(name: str) -> set[str]:
    """Importing a.b runs a first, unless the importer is inside a itself."""
    packages = {package(each) for each in own_imports(name, top_level_only=True) if "." in each}
    return {each for each in packages if each != package(name) and each in files()}


@pytest.mark.parametrize("module", ["tpt", "tpt.cli.app"])
def test_importing_the_package_and_the_command_line_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


def test_the_public_names_are_there() -> None:
    assert sorted(tpt.__all__) == list(tpt.__all__)
    assert all(getattr(tpt, name) is not None for name in tpt.__all__)


def test_the_house_is_within_its_limits() -> None:
    """See: python -m tools.house."""
    found, doubled = house.counts(PACKAGE)
    over = {name: found[name] for name, limit in house.LIMITS.items() if found[name] > limit}
    assert not over, doubled
