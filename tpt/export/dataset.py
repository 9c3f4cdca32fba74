"""A run's examples and traces as a dataset that ``datasets.load_dataset`` reads, with a card that says where they come from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tpt.errors import RunError
from tpt.records import Example, Problem
from tpt.rounds import Run
from tpt.run.directory import RoundDir, RunDir
from tpt.run.journal import Journal
from tpt.run.manifest import require_unchanged
from tpt.run.stage import problems_by_id
from tpt.system.folders import beside, take_place
from tpt.system.jsonl import iterate_records, to_table, write_text

ORIGIN = "tpt-dataset.json"


def export_dataset(run: RunDir, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the examples and traces of a run's finished rounds to the folder ``out``, complete or not at all.

    ``examples`` has the rows that were trained on, ``traces`` every sample to learn from with its verdict, a round a split.

    Raises:
        RunError: no round was pruned yet, its files are changed, or ``out`` is there already.
    """
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    run.require()
    rounds = [each for each in run.rounds() if each.index and each.manifest("prune").exists()]
    if not rounds:
        raise RunError(f"{run.path}: no round has examples yet. Go on with: tpt run {run.path}")
    for each in rounds:
        require_unchanged(each, "think", "prune")
    if (out.exists() or out.is_symlink()) and not (force and (out / ORIGIN).is_file()):
        raise RunError(f"{out}: exists already. Choose another folder, or replace an earlier dataset with --force")
    problems = problems_by_id(run.problems)
    parts: dict[str, Callable[[RoundDir], Iterator[dict[str, Any]]]] = {
        "examples": _examples,
        "traces": lambda round_dir: _traces(round_dir, problems),
    }
    staging, counts = beside(out), dict[str, int]()
    shutil.rmtree(staging, ignore_errors=True)
    for part, rows in parts.items():
        for each in rounds:
            path = staging / part / f"round_{each.index}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            dataset = Dataset.from_list(list(rows(each)))
            dataset.to_parquet(path)
            counts[f"{part}, round {each.index}"] = len(dataset)
    config = Run(run.path).config
    write_text(staging / ORIGIN, "{}\n")
    write_text(
        staging / "README.md", _card(out.name, config.model, config.problems.train, [each.index for each in rounds])
    )
    take_place(staging, out)
    return {"folder": str(out), **counts}


def _examples(round_dir: RoundDir) -> Iterator[dict[str, Any]]:
    for example in iterate_records(round_dir.examples, Example):
        row = to_table(example)
        yield {key: row[key] for key in ("problem_id", "sample", "messages")} | {"weight": example.weight}


def _traces(round_dir: RoundDir, problems: dict[str, Problem]) -> Iterator[dict[str, Any]]:
    for trace, verdict in Journal(round_dir.traces, round_dir.verdicts):
        problem = problems[trace.problem_id]
        yield {
            "problem_id": trace.problem_id,
            "sample": trace.sample,
            "question": problem.question,
            "answer": problem.answer,
            "completion": trace.completion,
            "finish_reason": trace.finish_reason,
            "completion_tokens": trace.completion_tokens,
            "hint": trace.hint,
            "outcome": str(verdict.outcome),
            "strict": verdict.strict,
            "extracted": verdict.extracted,
        }


def _card(name: str, model: str, source: str, rounds: list[int]) -> str:
    splits = {
        part: "".join(f"  - split: round_{index}\n    path: {part}/round_{index}.parquet\n" for index in rounds)
        for part in ("examples", "traces")
    }
    configs = "".join(f"- config_name: {part}\n  data_files:\n{text}" for part, text in splits.items())
    return (
        f"---\nconfigs:\n{configs}# license: as that of the problems and of the model\n---\n\n# {name}\n\n"
        f"Samples of a think-prune-train run. Model: `{Path(model).name}`. Problems: `{source.rpartition('/')[2]}`.\n\n"
        "- `examples`: what each round was trained on, chat rows of verified completions.\n"
        "- `traces`: every sample to learn from, right or wrong, with the verdict of a program.\n\n"
        f"```python\nfrom datasets import load_dataset\n\n"
        f'load_dataset("OWNER/{name}", "examples", split="round_{rounds[-1]}")\n```\n'
    )
