"""An option of the config has its default there and nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

import tpt
from tpt.config import RunConfig

PACKAGE = Path(tpt.__file__).parent
ROOMS = ("",)
"""Folders and files that keep the rule; ``("",)`` is the whole package."""
ALLOWED: dict[tuple[str, str], str] = {
    ("engines/scripted.py", "slots"): "an engine for tests, which no config opens",
    ("cli/samples.py", "columns"): "options of commands that read no config; empty, as a list that may be repeated",
    ("cli/samples.py", "model"): "whether a check samples the model, not which",
    ("cli/samples.py", "kind"): "of commands that read no config; empty, the source's own",
    ("cli/samples.py", "problems"): "a source of gold answers; left out, the samples' own",
    ("cli/runs.py", "columns"): "overrides of the config's, where some are given",
    ("cli/runs.py", "kind"): "likewise",
    ("cli/runs.py", "problems"): "a source to score on; left out, the run's own",
    ("compare/arms.py", "preset"): "an arm's preset is its name, a run's is a choice",
    ("export/__init__.py", "dtype"): "of the files written, not of the arithmetic",
    ("sft/memory.py", "device"): "what the config's auto has become",
    ("sft/memory.py", "devices"): "likewise",
    ("sft/memory.py", "precision"): "likewise",
    ("sft/memory.py", "optimizer"): "a family of optimizers, not the config's choice of one",
    ("records.py", "weights"): "of scores of before there was a choice",
    ("records.py", "kind"): "what an older file of problems leaves out",
    ("records.py", "source"): "likewise",
}
"""File and name to the reason why it is no option of the config after all."""


def options(section: type[BaseModel] = RunConfig) -> Iterator[str]:
    """Names of the fields of the config and of all its sections."""
    for name, field in section.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from options(field.annotation)


def declared(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Parameters of a function with their defaults, fields of a class with theirs."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        positional = [*node.args.posonlyargs, *node.args.args]
        yield from zip([each.arg for each in positional][::-1], node.args.defaults[::-1], strict=False)
        yield from zip([each.arg for each in node.args.kwonlyargs], node.args.kw_defaults, strict=True)
    elif isinstance(node, ast.ClassDef):
        for each in node.body:
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                yield each.target.id, each.value


def is_literal(default: ast.expr | None) -> bool:
    """None is none: it says that nothing was given."""
    if default is None:
        return False
    try:
        return ast.literal_eval(default) is not None
    except ValueError:
        return False


def second_defaults(path: Path) -> list[str]:
    file, names = str(path.relative_to(PACKAGE)), set(options())
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    found = [name for node in nodes for name, default in declared(node) if name in names and is_literal(default)]
    # A seed of one's own is no second home of the run's: nothing that a run draws goes by it.
    return [name for name in found if (file, name) not in ALLOWED and name != "seed"]


@pytest.mark.parametrize("room", ROOMS)
def test_no_option_has_a_second_default(room: str) -> None:
    paths = sorted((PACKAGE / room).rglob("*.py")) if (PACKAGE / room).is_dir() else [PACKAGE / room]
    assert paths
    found = {str(path): names for path in paths if path.parent.name != "config" and (names := second_defaults(path))}
    assert not found


def test_the_rule_sees_what_it_is_about(tmp_path: Path) -> None:
    """A parameter, a keyword and a field; not None, not what is computed, not other names."""
    code = """
def a(timeout_s=600.0, other=1, *, slots: int = 0, url=None, retries=count()): ...
class B:
    device: str = "auto"
    dtype: str
"""
    found = [name for node in ast.walk(ast.parse(code)) for name, value in declared(node) if is_literal(value)]
    assert found == ["other", "timeout_s", "slots", "device"]
    assert {"timeout_s", "slots", "device"} <= set(options())
