"""Count what keeps the package readable, and fail where it is over its limits: ``python -m tools.house [--root CHECKOUT]``.

Lines of code are those with a token that is neither a comment nor part of a docstring.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

LIMITS = {
    "files at the top": 14,
    "longest file": 400,
    "longest function": 60,
    "doubled public names": 9,
    "import circles": 0,
}
_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def counts(package: Path) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Return the figures by name, and the public names that two modules or more define, with these modules."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    trees = {path: ast.parse(text) for path, text in files.items()}
    doubled = _doubled(trees, package)
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
    found = {
        "files at the top": len(list(package.glob("*.py"))),
        "folders at the top": len(list(package.glob("*/__init__.py"))),
        "files": len(files),
        "lines": sum(text.count("\n") for text in files.values()),
        "lines of code": sum(_code_lines(text, trees[path]) for path, text in files.items()),
        "longest file": max(text.count("\n") for text in files.values()),
        "longest function": max((node.end_lineno or 0) - node.lineno + 1 for node in functions),
        "doubled public names": len(doubled),
        "import circles": _in_circles(trees, package),
    }
    return found, doubled


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DOCUMENTED = (ast.Module, ast.ClassDef, *_FUNCTIONS)


def _code_lines(text: str, tree: ast.Module) -> int:
    words = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in _SILENT
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(tree):
        bodies = [node.body] if isinstance(node, _DOCUMENTED) else []
        for statement in (each for body in bodies for each in body):
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                words -= set(range(statement.lineno, (statement.end_lineno or 0) + 1))
    return len(words)


def _doubled(trees: dict[Path, ast.Module], package: Path) -> dict[str, list[str]]:
    homes: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        for node in () if package / "examples" in path.parents else tree.body:
            if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_") and node.name != "main":
                homes[node.name].append(str(path.relative_to(package)))
    return {name: where for name, where in sorted(homes.items()) if len(where) > 1}


def _in_circles(trees: dict[Path, ast.Module], package: Path) -> int:
    """Return how many modules import themselves, directly or through others, at import time."""
    graph = {_name(path, package): set(_imported(tree)) for path, tree in trees.items()}
    graph = {name: {each for each in needed if each in graph and each != name} for name, needed in graph.items()}
    done: set[str] = set()
    while ready := {name for name, needed in graph.items() if name not in done and needed <= done}:
        done |= ready
    return len(graph) - len(done)


def _name(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module != "tpt":
                yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def main() -> None:
    """Print the figures; exit with 1 where one is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    found, doubled = counts(parser.parse_args().root / "tpt")
    over = [name for name, limit in LIMITS.items() if found[name] > limit]
    for name, value in found.items():
        limit = f"   at most {LIMITS[name]}" if name in LIMITS else ""
        print(f"{name:22}{value:8,}{limit}{'   OVER' if name in over else ''}")
    for name, where in doubled.items():
        print(f"  {name}: {', '.join(where)}")
    sys.exit(bool(over))


if __name__ == "__main__":
    main()
