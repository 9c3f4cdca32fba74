"""lm-evaluation-harness on an exported model and the same problems: prompts, completions and scores are the same.

The harness needs other packages than tpt, so it lives in an environment of its own: TPT_LM_EVAL_PYTHON names its Python.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Finished, Tpt

from benchmarks.lm_eval_agreement import TASK, compared

PYTHON = os.environ.get("TPT_LM_EVAL_PYTHON", "")


@pytest.mark.skipif(
    not PYTHON, reason="TPT_LM_EVAL_PYTHON names no Python with lm-evaluation-harness: make test-lm-eval"
)
@pytest.mark.timeout(900)
def test_the_harness_and_tpt_score_agree(finished: Finished, tmp_path: Path, tpt: Tpt) -> None:
    assert tpt("export", finished.path, "--to", tmp_path / "model", "--round", "1").code == 0
    (tmp_path / "work").mkdir()
    heldout = str(finished.path / "heldout.jsonl")
    found = compared(tmp_path / "model", heldout, tmp_path / "work", lm_eval=Path(PYTHON))
    assert found["problems"] == found["prompts equal, id for id"] == found["completions equal"] == 10
    assert found["scores equal by problem"] == {"strict": 10, "lenient": 10}
    assert found["tpt import of the samples"]["verdicts equal to tpt score's"] == 10


def test_the_task_asks_and_stops_as_the_default_config_does() -> None:
    text = TASK.read_text(encoding="utf-8")
    assert 'doc_to_text: "{{question}}"' in text and "until: []" in text and "test: problems.jsonl" in text
