"""The notebook, cell by cell, with smaller sizes; and what a run gives to one."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest

import tpt.run.record_list
from tpt import Run

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook.ipynb"
SMALLER = {"size=60": "size=12", "size=300": "size=60", '"size": 100': '"size": 16', '"samples": 8': '"samples": 3'}


def test_the_notebook_runs_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    for cell in cells:
        code = "".join(cell["source"])
        if cell["cell_type"] == "code":
            for large, small in SMALLER.items():
                code = code.replace(large, small, 1)
            exec(compile(code.replace('"rounds": 2', '"rounds": 1, "threads": 1'), str(NOTEBOOK), "exec"), scope)
    printed = capsys.readouterr().out
    assert "0 " in printed and "% greedy" in printed and "####" in printed
    run: Run = scope["run"]
    assert len(scope["samples"]) == len(run.traces(1)) > 16
    assert len(run.problems()) == 60 and len(run.problems(scored=True)) == 12
    assert run.verdicts(1).to_dataset().num_rows == len(run.verdicts(1))
    html = run._repr_html_()
    assert html.count("<tr>") == 3 and "16" in html and "tpt report runs/notebook" in html


def test_the_examples_in_docstrings() -> None:
    found = doctest.testmod(tpt.run.record_list)
    assert found.attempted >= 4 and not found.failed
