"""A run directory that version 0.1.0 left (``data/run-0.1.tar.gz``) still answers whoever asks it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from command_line import Tpt

PACKED = Path(__file__).with_name("data") / "run-0.1.tar.gz"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    with tarfile.open(PACKED) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "run"


def test_its_report_is_what_it_was(earlier: Path, tpt: Tpt) -> None:
    """The scores are those that its own version wrote."""
    lines = (earlier / "report.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith(("| *0 |", "| 1 |"))][:2]
    result = tpt("report", earlier)
    assert result.code == 0
    for row in table:
        cells = [cell.strip() for cell in row.split("|")]
        assert all(cell in result.out for cell in cells[2:5]), row


def test_it_answers_status_show_and_the_page(earlier: Path, tpt: Tpt) -> None:
    status = tpt("status", earlier)
    assert status.code == 0 and "all 1 rounds are done" in status.out
    problem = (earlier / "problems.jsonl").read_text(encoding="utf-8").split('"id": "')[1].split('"')[0]
    shown = tpt("show", earlier, "--round", "1", "--problem", problem)
    assert shown.code == 0 and problem in shown.out
    assert tpt("report", earlier, "--html").code == 0
    assert "<html" in (earlier / "report.html").read_text(encoding="utf-8")


def test_its_round_is_exported(earlier: Path, tmp_path: Path, tpt: Tpt) -> None:
    result = tpt("export", earlier, "--to", tmp_path / "out", "--round", "1")
    assert result.code == 0, result.err
    assert (tmp_path / "out" / "model.safetensors").is_file()
