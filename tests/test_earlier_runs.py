"""A run directory that version 0.1.0 left (``data/run-0.1.tar.gz``) still answers whoever asks it."""

from __future__ import annotations

import json
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


def test_its_scores_are_what_they_were(earlier: Path, tpt: Tpt) -> None:
    """Means and standard errors are those that its own version wrote; the intervals around them are new."""
    lines = (earlier / "report.md").read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith(("| *0 |", "| 1 |"))][:2]
    told = json.loads(tpt("report", earlier, "--format", "json").out)["evidence"]["rounds"]
    for line, card in zip(table, told, strict=True):
        cells = [cell.strip() for cell in line.split("|")][2:5]
        scores = (card["strict"], card["lenient"], card["pass_at_k"][max(card["pass_at_k"], key=int)])
        assert [f"{100 * each['mean']:.1f} ± {100 * each['stderr']:.1f}" for each in scores] == cells
        assert all(each["low"] <= each["mean"] <= each["high"] for each in scores)


def test_its_report_tells_a_gain_in_two_parts(earlier: Path, tpt: Tpt) -> None:
    """No greedy samples were taken then, so sharpening and skill are not told apart."""
    result = tpt("report", earlier)
    assert result.code == 0 and "Round 1 against the base model: " in result.out
    gained = json.loads(tpt("report", earlier, "--format", "json").out)["evidence"]["rounds"][1]["to_base"]
    assert gained["sharpening"] is gained["skill"] is gained["most"] is None
    parts = gained["format"]["mean"] + gained["lenient"]["mean"]
    assert parts == pytest.approx(gained["strict"]["mean"])
    assert tpt("report", earlier, "--html").code == 0
    page = (earlier / "report.html").read_text(encoding="utf-8")
    assert "sharpening and skill are not told apart, as there are no greedy samples" in page
    assert "right values" in page
    markdown = (earlier / "report.md").read_text(encoding="utf-8")
    assert "| 1 | 0 (base) | format | " in markdown and "skill (greedy)" not in markdown


def test_it_answers_status_show_and_the_page(earlier: Path, tpt: Tpt) -> None:
    status = tpt("status", earlier)
    assert status.code == 0 and "the one round is done" in status.out
    problem = (earlier / "problems.jsonl").read_text(encoding="utf-8").split('"id": "')[1].split('"')[0]
    shown = tpt("show", earlier, "--round", "1", "--problem", problem)
    assert shown.code == 0 and problem in shown.out
    assert tpt("report", earlier, "--html").code == 0
    assert "<html" in (earlier / "report.html").read_text(encoding="utf-8")


def test_its_round_is_exported(earlier: Path, tmp_path: Path, tpt: Tpt) -> None:
    result = tpt("export", earlier, "--to", tmp_path / "out", "--round", "1")
    assert result.code == 0, result.err
    assert (tmp_path / "out" / "model.safetensors").is_file()
