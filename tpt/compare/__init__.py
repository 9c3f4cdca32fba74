"""Arms compared: several ways to train from one base model, at equal budget, with several seeds."""

from __future__ import annotations

from pathlib import Path

from tpt.compare.arms import StudyPlan, load_arms
from tpt.compare.figure import figure_svg
from tpt.compare.results import Study, compared
from tpt.compare.running import run_arms
from tpt.compare.search import search_rates, with_rates
from tpt.compare.table import study_markdown, study_text
from tpt.system.jsonl import to_table, write_json, write_text

__all__ = ["Study", "StudyPlan", "comparison_json", "load_arms", "run_comparison", "study_text"]


def run_comparison(plan: StudyPlan, out: Path, *, jobs: int = 0, progress: bool = False) -> Study:
    """Run what is not done yet of every arm, write ``compare.md``, ``.json`` and ``.svg`` into ``out``, and return it.

    A comparison that is in ``out`` is completed. ``jobs`` 0: as many runs at a time as the machine has cores for.

    Raises:
        RunError: an arm failed, after all others were done; or ``out`` holds a comparison from another base.
    """
    searched = search_rates(plan, out, jobs=jobs, progress=progress)
    plan = with_rates(plan, searched)
    run_arms(plan, out, jobs=jobs, progress=progress)
    found = compared(plan, out, searched)
    write_text(out / "compare.svg", figure_svg(found))
    write_text(out / "compare.md", study_markdown(found))
    write_json(out / "compare.json", comparison_json(found))
    return found


def comparison_json(found: Study) -> object:
    """Return a comparison as JSON values: an error that a single seed leaves unknown is null."""
    return _without_nan(to_table(found))


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value
