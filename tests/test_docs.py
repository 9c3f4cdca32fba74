"""What the README promises is there: the tree, the commands, the Python example, the examples."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from command_line import Finished, Tpt

from tools import tree
from tpt.audit.import_rows import FIELDS
from tpt.audit.log_layouts import LAYOUTS, PLAIN
from tpt.cli.app import app
from tpt.config import load_config
from tpt.problems import load_problems

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


def anchors(page: Path) -> set[str]:
    """The headings of a page as its links name them."""
    heads = re.findall(r"(?m)^#+ (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


PAGES = [path for path in sorted(ROOT.rglob("*.md")) if ".venv" not in str(path) and "runs" not in path.parts]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not re.match(r"https?:", link) and (not target.exists() or (anchor and anchor not in anchors(target))):
            wrong.append(link)
        # Where the repository is shown, a link of the file system is a file with a path in it.
        if not re.match(r"https?:", link) and (ROOT / "examples").absolute() in Path(os.path.normpath(target)).parents:
            wrong.append(f"{link} goes through the link examples")
    assert wrong == []


ECOSYSTEM = (ROOT / "docs" / "ecosystem.md").read_text(encoding="utf-8")


def test_every_row_of_the_ecosystem_page_names_a_page_and_a_test() -> None:
    rows = [row.split(" | ") for row in re.findall(r"(?m)^\| (?!---)(.+) \|$", ECOSYSTEM)]
    rows = [row for row in rows if not row[0].startswith("users of")]
    assert len(rows) > 20 and [row for row in rows if len(row) != 4] == []
    assert [row for row in rows if "](" not in row[2] and "`tpt " not in row[2]] == []
    for *_, tests in rows:
        for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", tests) or [("", "")]:
            path = ROOT / "tests" / file
            assert path.is_file() and f"def {name}(" in path.read_text(encoding="utf-8"), tests


def test_commands_on_the_ecosystem_page_are_commands() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    called = re.findall(r"`tpt ([a-z-]+)", ECOSYSTEM)
    assert called and set(called) <= commands.keys()


def test_the_page_of_a_package_index_links_to_the_repository() -> None:
    """The substitutions that the build makes leave no relative link."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (change,) = settings["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    page = re.sub(change["pattern"], change["replacement"], README)
    assert re.search(r"\]\((?!https?://|#)", page) is None and "blob/main/docs/design.md)" in page


def test_the_commands_of_the_page_on_imports_work(tpt: Tpt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(ROOT / "tests" / "data" / "logs", tmp_path / "logs"))
    Path("texts").mkdir()
    Path("texts", "marbles-0_1.txt").write_text("#### 10")
    page = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")
    commands = re.findall(r"(?m)^tpt (import .*)$", page)
    assert len(commands) == 11
    for command in commands:
        assert tpt(*shlex.split(command)).code == 0, command
    blocks = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    Path("run.toml").write_text("rounds = 2\nthink.sampler = 'fixed'\n" + blocks[0])
    config = load_config(Path("run.toml"))
    assert len(load_problems(config.problems.train)) == 3 and config.data.source_of(2) == "self"


def test_the_page_on_imports_names_every_layout_and_every_field() -> None:
    page = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")
    assert [name for name in (PLAIN, *LAYOUTS, *FIELDS) if f"`{name}`" not in page] == []
