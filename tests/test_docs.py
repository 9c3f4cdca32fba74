"""What the README promises is there: the tree, the commands, the Python example, the examples."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from command_line import Finished

from tools import tree
from tpt.cli.app import app
from tpt.config import load_config

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_page_is_what_the_files_say() -> None:
    """Mend it with: python -m tools.tree."""
    assert tree.PAGE.read_text(encoding="utf-8") == tree.page()


def test_the_readme_shows_every_part() -> None:
    short = README[README.index("## The tree") :].split("```")[1]
    parts = [path.name for path in (ROOT / "tpt").glob("*.py") if not path.name.startswith("__")]
    parts += [f"{path.parent.name}/" for path in (ROOT / "tpt").glob("*/__init__.py")]
    assert [name for name in parts if not re.search(rf"(?m)(^| ){re.escape(name)}", short)] == []


def test_every_command_is_in_the_readme() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [name for name in commands if not re.search(rf"\b{re.escape(name)}\b", README)] == []


def test_the_python_example_runs(finished: Finished) -> None:
    """As a plain script, without a main guard, on a run that is finished."""
    code = README[README.index("```python\n") + 10 :]
    code = code[: code.index("```")]
    code = code.replace('"runs/first", tpt.load_config("run.toml")', repr(str(finished.path)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_a_config(path: Path) -> None:
    load_config(path)


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
