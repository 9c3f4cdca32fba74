"""Two sample files of other tools side by side: what most of a gain is, said in a sentence."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from command_line import Tpt
from scored_run import many, run_of

from tpt.config import load_config
from tpt.evidence import compare_runs
from tpt.evidence.best_round import split_heldout
from tpt.report.compared import comparison_text

Written = Callable[..., Path]
PROBLEMS, SAMPLES = 60, 4


def imported(tpt: Tpt, written: Written, to: Path, *, right: float, formed: float, seed: int, problems: int) -> Path:
    """Import samples of which so many are right, and so many of those as asked."""
    rng = random.Random(seed)
    rows = []
    for index in range(problems):
        for _ in range(SAMPLES):
            said = index if rng.random() < right else index + 1
            text = f"#### {said}" if rng.random() < formed else f"The answer is {said}."
            rows.append({"problem_id": f"p{index:02d}", "text": text, "gold": f"{index}"})
    result = tpt("import", written(f"{to.name}.jsonl", rows), "--to", to)
    assert result.code == 0, result.err
    return to


def test_a_gain_that_is_mostly_format_is_called_so(tpt: Tpt, problem_file: Written, tmp_path: Path) -> None:
    first = imported(tpt, problem_file, tmp_path / "first", right=0.5, formed=0.3, seed=0, problems=PROBLEMS)
    second = imported(tpt, problem_file, tmp_path / "second", right=0.5, formed=0.95, seed=1, problems=PROBLEMS)
    said = tpt("report", first, "--compare", second).out
    assert "Most of the gain is format: the model writes right values as asked more often." in said
    assert "Second against first (rounds 0 and 0), format-only gain: strict pass@1 rose by " in said
    assert "sharpening and skill are not told apart, as there are no greedy samples" in said
    assert "chose them" not in said and "chose neither" not in said, "there were no rounds"
    found = json.loads(tpt("report", first, "--compare", second, "--format", "json").out)
    assert found["best"]["comparison"]["most"] == "format" and found["chosen"] is False
    assert [alarm["name"] for alarm in found["alarms"]] == ["format-only gain"]
    back = tpt("report", second, "--compare", first).out
    assert "points: loss" in back and "Most of the gain" not in back and "format-only" not in back


def test_a_gain_in_right_values_is_not(tpt: Tpt, problem_file: Written, tmp_path: Path) -> None:
    first = imported(tpt, problem_file, tmp_path / "first", right=0.4, formed=0.9, seed=0, problems=PROBLEMS)
    second = imported(tpt, problem_file, tmp_path / "second", right=0.8, formed=0.9, seed=1, problems=PROBLEMS)
    said = tpt("report", first, "--compare", second).out
    assert "points: gain" in said and "Most of the gain is format" not in said and "format-only" not in said


def test_one_shared_problem_chose_nothing(tpt: Tpt, problem_file: Written, tmp_path: Path) -> None:
    first = imported(tpt, problem_file, tmp_path / "first", right=0.5, formed=0.5, seed=0, problems=1)
    second = imported(tpt, problem_file, tmp_path / "second", right=0.5, formed=0.5, seed=1, problems=3)
    said = tpt("report", first, "--compare", second).out
    assert "on 1 shared held-out problem (2 only in the second)" in said and "on 1 problem: strict" in said
    assert "leaves nothing to test" in said and "chose them" not in said and "chose neither" not in said


def test_one_shared_problem_that_chose_no_round_is_said_to_have_chosen_none(tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", many(1), many(2))
    claiming = split_heldout(sorted(many(1)), share=0.5, seed=load_config(first.config).seed).claiming
    for name in (claiming[0], next(name for name in many(1) if name not in claiming)):
        second = run_of(tmp_path / name, {name: many(1)[name]})
        found = compare_runs(first, second)
        said = comparison_text(found)
        assert (found.shared, found.best_problems, found.independent) == (1, 1, name in claiming)
        assert ("that chose neither of them" in said) == (name in claiming)
        assert ("that also chose them" in said) == (name not in claiming)
