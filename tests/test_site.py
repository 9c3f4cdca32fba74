"""The pages beside the package: what is generated is up to date, what is quoted is there, the tutorial's commands run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from command_line import TINY, sets

from tools import reference
from tools.docs_site import DOCS, README, REPOSITORY, ROOT, site_links
from tpt.cli.app import app

TUTORIAL = (DOCS / "tutorial.md").read_text(encoding="utf-8")
CONTAINER = (DOCS / "container.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMANDS: Any = typer.main.get_command(app)


@pytest.mark.parametrize(("path", "text"), reference.pages().items(), ids=lambda each: getattr(each, "name", ""))
def test_what_is_generated_is_what_the_code_says(path: Path, text: str) -> None:
    """Mend it with: python -m tools.reference."""
    assert path.read_text(encoding="utf-8") == text


def test_every_page_has_its_place_in_the_site() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    found = [value for entry in nav for value in entry.values()]
    named = [page for each in found for page in ([each] if isinstance(each, str) else each)]
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(named) == sorted(["index.md", *pages])


@pytest.mark.parametrize(
    ("link", "page", "wanted"),
    [
        ("docs/design.md#layers", README, "design.md#layers"),
        ("docs/results/demo.md", README, "results/demo.md"),
        ("../README.md", DOCS / "launch.md", "index.md"),
        ("../../README.md#try-it", DOCS / "results" / "demo.md", "../index.md#try-it"),
        ("../training.md", DOCS / "results" / "train.md", "../training.md"),
        ("images/report-dark.png", DOCS / "report.md", "images/report-dark.png"),
        # The repository's own pages do not follow links of the file system.
        ("examples/loop.py", README, f"{REPOSITORY}/blob/main/tpt/examples/loop.py"),
        ("../tpt/rounds.py", DOCS / "design.md", f"{REPOSITORY}/blob/main/tpt/rounds.py"),
        ("../examples/methods", DOCS / "own_code.md", f"{REPOSITORY}/tree/main/tpt/examples/methods"),
        # What is not there is left for the strict build to find.
        ("nowhere.md", DOCS / "launch.md", "nowhere.md"),
        ("https://example.org/x.md", README, "https://example.org/x.md"),
        ("#here", README, "#here"),
    ],
)
def test_links_lead_somewhere_on_the_site(link: str, page: Path, wanted: str) -> None:
    assert site_links(f"see [it]({link}), please", page) == f"see [it]({wanted}), please"


@cache
def texts_of_the_package() -> str:
    """Every piece of text that the package can print, a line each; placeholders part pieces."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tpt").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return "\n".join(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


QUOTED = re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("quoted", [*QUOTED, *re.findall(r"^- \*([^*]+)\.\*", TUTORIAL, re.MULTILINE)])
def test_what_is_quoted_is_what_the_package_says(quoted: str) -> None:
    pieces = [piece.strip() for piece in re.split("…| N ", quoted) if piece.strip()]
    assert pieces and [piece for piece in pieces if piece not in texts_of_the_package()] == []


def fenced(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each command of the tutorial says, by its name, run in order in an empty folder; the run is a small one."""
    folder = tmp_path_factory.mktemp("newcomer")
    command = folder / "bin" / "tpt"
    command.parent.mkdir()
    small = " ".join(sets(*TINY))
    command.write_text(f'#!/bin/sh\n[ "$1" = init ] && set -- "$@" {small}\nexec {sys.executable} -m tpt "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    said = {}
    for language, text in re.findall(r"```(sh|python)\n(.*?)```", TUTORIAL, re.DOTALL):
        for step in text.splitlines() if language == "sh" else [text]:
            call = ["bash", "-c", step] if language == "sh" else [sys.executable, "-c", step]
            done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
            assert done.returncode == 0, f"{step}\n{done.stderr}"
            said[step.split()[1]] = done.stdout
    return said


def test_from_a_csv_to_an_honest_answer_takes_two_commands(newcomer: dict[str, str]) -> None:
    """Ten held-out problems can show nothing, and that is what is said, by the run and by the report."""
    assert len(fenced(TUTORIAL, "sh")[0].splitlines()) == 2
    for said in (newcomer["run"], newcomer["report"]):
        assert "No round beat the base model by more than noise" in said
        assert "no round can become the best one, whatever its gain" in said


def test_the_container_page_and_the_dockerfile_hold_together() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (torch,) = set(re.findall(r"torch==[\d.]+", DOCKERFILE))
    assert f"TORCH := {torch}\n" in makefile
    python = re.search(r"^FROM python:([\d.]+)-slim$", DOCKERFILE, re.MULTILINE)
    assert python and PROJECT["requires-python"] == f">={python[1]}"
    for extras in re.findall(r"EXTRAS=([a-z,]+)", DOCKERFILE + CONTAINER):
        assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    assert set(re.findall(r"--build-arg ([A-Z_]+)", CONTAINER)) <= set(re.findall(r"(?m)^ARG (\w+)", DOCKERFILE))
    copied = [name for names in re.findall(r"(?m)^COPY (.+) \S+$", DOCKERFILE) for name in names.split()]
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [name for name in copied if not (ROOT / name).exists() or f"!{name}" not in let_in] == []
    assert re.findall(r"(?m)^USER (.+)$", DOCKERFILE) == ["1000"] and "bubblewrap" in DOCKERFILE


@pytest.mark.parametrize("text", fenced(CONTAINER, "sh"))
def test_the_container_commands_are_commands(text: str) -> None:
    assert subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=10).returncode == 0
    called = re.findall(r" tpt(?::cuda)? ([a-z]+)", text.replace("\\\n", " "))
    assert called and set(called) <= COMMANDS.commands.keys()
