"""What is installed: the wheel's metadata, and the core without its extras."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest
from command_line import Tpt

import tpt as package

ROOT = Path(__file__).parents[1]


def test_the_version_is_an_option(tpt: Tpt) -> None:
    result = tpt("--version")
    assert (result.code, result.out.strip()) == (0, package.__version__)


def test_without_reasoning_gym_the_extra_is_named() -> None:
    """In a process of its own, to which the package is not there."""
    code = (
        "import sys; sys.modules['reasoning_gym'] = None\n"
        "from tpt.cli.app import main\n"
        "sys.argv = ['tpt', 'check', 'reasoning_gym:chain_sum?size=2']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and 'pip install "think-prune-train[gym]"' in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_wheel_is_typed_and_its_page_links_to_the_repository(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, timeout=250)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        assert "tpt/py.typed" in wheel.namelist()
        (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = message_from_string(wheel.read(name).decode())
    assert metadata["Version"] == package.__version__
    assert {"cpu", "gym", "dev"} <= set(metadata.get_all("Provides-Extra") or [])
    page = metadata.get_payload()
    assert isinstance(page, str) and "blob/main/docs/design.md)" in page
    assert re.search(r"\]\((?!https?://|#)", page) is None
