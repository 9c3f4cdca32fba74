"""Write docs/tree.md, a line for every file of the package as its docstring says it: ``python -m tools.tree``."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tree.md"
_HEAD = "# Every file of the package\n\nA line each, as the file itself says it; written by `python -m tools.tree`.\n\n"
_SKIPPED = {"__init__.py", "__main__.py"}


def page() -> str:
    """Return the page as it should be."""
    lines = [f"{'tpt/':32}the package", *_folder(ROOT / "tpt", 1)]
    return f"{_HEAD}```\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"


def _folder(folder: Path, depth: int) -> list[str]:
    lines = [_line(path, depth, path.name) for path in sorted(folder.glob("*.py")) if path.name not in _SKIPPED]
    for below in sorted(path.parent for path in folder.glob("*/__init__.py")):
        lines += [_line(below / "__init__.py", depth, f"{below.name}/"), *_folder(below, depth + 1)]
    return lines


def _line(path: Path, depth: int, name: str) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = said.split("\n\n")[0].replace("\n", " ").rstrip(".")
    return f"{'  ' * depth + name:32}{first}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
