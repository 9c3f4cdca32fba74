"""What a run does with problems whose known solution fails its own tests, and with programs that pass only some."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tpt.audit.run_problems import load_both
from tpt.config import PruneConfig, parse_config
from tpt.errors import ProblemError
from tpt.prune import is_keepable, share_passed
from tpt.records import Outcome, Problem, Trace
from tpt.rounds import Run
from tpt.run.directory import RunDir
from tpt.verifiers.judge import judge

SIDES = ("train", "heldout")


@pytest.fixture
def sides(problem_file: Callable[..., Path]) -> dict[str, Any]:
    """Sources of three problems each, the last with a solution that is wrong."""
    sources = {}
    for side, start in zip(SIDES, (0, 10), strict=True):
        rows = [
            {
                "id": f"{side}/{k}",
                "question": f"Write add{k}(x) that returns x plus {k}.",
                "tests": [{"type": "function", "name": f"add{k}", "args": [1], "expected": 1 + k}],
                "solution": f"def add{k}(x):\n    return x + {k if k < start + 2 else 0}",
            }
            for k in range(start, start + 3)
        ]
        sources[side] = str(problem_file(f"{side}.jsonl", rows))
    return sources


def test_a_bad_problem_is_an_error_that_names_the_way_out(sides: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match=r"problems\.train: 1 of 3 .* train/2 .*problems\.drop_bad = true"):
        load_both(parse_config({"problems": sides}))


def test_bad_problems_are_left_out_of_training_and_by_choice_of_evaluation(sides: dict[str, Any]) -> None:
    loaded = load_both(parse_config({"problems": {**sides, "drop_bad": True}}))
    assert [problem.id for problem in loaded.train] == ["train/0", "train/1"]
    assert (len(loaded.heldout), loaded.left_out) == (3, ["train/2"])
    both = load_both(parse_config({"problems": {**sides, "drop_bad": True, "drop_bad_heldout": True}}))
    assert [problem.id for problem in both.heldout] == ["heldout/10", "heldout/11"]
    assert both.left_out == ["train/2", "heldout/12"]


def test_a_run_notes_what_it_left_out(sides: dict[str, Any], tmp_path: Path) -> None:
    Run(tmp_path / "run", parse_config({"problems": {**sides, "drop_bad": True}})).prepare()
    run = RunDir(tmp_path / "run")
    assert len(run.problems.read_text().splitlines()) == 2
    events = [json.loads(line) for line in (run.logs / "events.jsonl").read_text().splitlines()]
    assert [event["problems"] for event in events if event["event"] == "left out"] == [["train/2"]]


def test_a_partly_right_program_is_wrong_and_kept_only_by_its_share_of_all_tests() -> None:
    cases = [{"type": "function", "name": "double", "args": [x], "expected": 2 * x} for x in (-1, 2, 3, 4)]
    problem = Problem("double", "Double x.", "", kind="code", tests=cases)
    trace = Trace("double", 0, "```python\ndef double(x):\n    return abs(x + x)\n```", "stop", 9, 0)
    wide = PruneConfig(min_tests_passed=0.75)
    (whole,) = judge([trace], {"double": problem}, every_test=True)
    assert (whole.outcome, share_passed(whole)) == (Outcome.WRONG, 0.75)
    assert is_keepable(trace, whole, problem, wide)
    assert not is_keepable(trace, whole, problem, PruneConfig(min_tests_passed=0.76))
    assert not is_keepable(trace, whole, problem, PruneConfig())
