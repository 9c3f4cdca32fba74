"""How much thinking asks for at first follows from what its model scored."""

from __future__ import annotations

from pathlib import Path

import pytest
from scored_run import run_of, verdicts_of

from tpt.config import load_config
from tpt.records import Trace
from tpt.run.stage import StageContext
from tpt.scoring.solve_rates import SOLVE_RATE
from tpt.start_model import StartModel
from tpt.system.jsonl import replace_records, write_json
from tpt.think import _expected

SCORES = ({f"p{each}": "SWWWWWWW" for each in range(20)}, {f"p{each}": "SSSSSSWC" for each in range(20)})


def test_a_round_expects_what_the_last_score_of_its_model_or_of_one_before_it_showed(tmp_path: Path) -> None:
    run = run_of(tmp_path, *SCORES)
    context = StageContext(run, run.round(2), load_config(run.config, []), False)
    assert _expected(context, StartModel("", "", 1)).mean == pytest.approx(SOLVE_RATE)
    for index, scores in enumerate(SCORES):
        scored = run.round(index)
        traces = [Trace(each.problem_id, each.sample, "#### 7", "stop", 5, 0) for each in verdicts_of(scores)]
        replace_records(scored.evaluate_traces, traces)
        write_json(scored.manifest("evaluate"), {})
    assert _expected(context, StartModel("", "", 0)).mean == pytest.approx(1 / 8, abs=0.02)
    # What is right but not as asked is not kept, so that it is not counted on.
    assert _expected(context, StartModel("", "", 1)).mean == pytest.approx(6 / 8, abs=0.02)
    run.round(1).manifest("evaluate").unlink()
    assert _expected(context, StartModel("", "", 1)).mean == pytest.approx(1 / 8, abs=0.02)
