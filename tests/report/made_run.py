"""A finished run, written by hand in a moment: every file is there that a report reads, and every number is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tpt.config import RunConfig, render_toml
from tpt.records import Example, Outcome, Problem, Trace, Verdict
from tpt.rounds import round_record
from tpt.run.directory import RunDir
from tpt.run.manifest import write_manifest
from tpt.scoring.score import score
from tpt.system.jsonl import replace_records, to_table, write_json

RIGHT = {
    0: {"h/0": "....", "h/1": "R...", "h/2": "....", "h/3": "Rr..", "h/4": "RRRR", "h/5": "r..n"},
    1: {"h/0": "R...", "h/1": "....", "h/2": "....", "h/3": "RRr.", "h/4": "RRRR", "h/5": "Rr.n"},
    2: {"h/0": "RR..", "h/1": "R...", "h/2": "....", "h/3": "RRRR", "h/4": "RRRR", "h/5": "RR.n"},
}
"""Round to held-out problem to its samples: R strictly right, r right value only, . wrong, n no answer."""
GREEDY = {0: "..rR..", 1: "..RRR.", 2: "R.RRRR"}
"""Round to the greedy sample of each held-out problem."""
TRAINING = {1: {"t/0": "R", "t/1": ".R", "t/2": ".."}, 2: {"t/0": ".R", "t/2": "R"}}
EXAMPLES = {1: [("t/0", 0), ("t/1", 1)], 2: [("t/0", 1), ("t/2", 0)]}
_OUTCOMES = {"R": Outcome.CORRECT, "r": Outcome.CORRECT, ".": Outcome.WRONG, "n": Outcome.NO_ANSWER}


def make_run(
    path: Path,
    *,
    rounds: int = 2,
    completions: dict[str, str] | None = None,
    mode: str = "replace",
    greedy: bool = True,
) -> RunDir:
    """Write a run; ``completions`` are put before the answers of a held-out problem's traces."""
    run = RunDir(path)
    path.mkdir(parents=True)
    config = RunConfig.model_validate({"model": "embedded", "rounds": max(1, rounds), "data": {"mode": mode}})
    run.config.write_text(render_toml(config), encoding="utf-8")
    write_json(run.base, {"model": "embedded", "digest": "ba5e" * 16})
    replace_records(run.heldout, [_problem(problem_id) for problem_id in RIGHT[0]])
    replace_records(run.problems, [_problem(problem_id) for problem_id in TRAINING[1]])
    earlier: list[Example] = []
    for index in range(rounds + 1):
        earlier = _make_round(run, index, completions or {}, earlier if mode == "accumulate" else [])
        if greedy:
            traces, verdicts = _attempts(dict(zip(RIGHT[0], GREEDY[index], strict=True)), {})
            replace_records(run.round(index).greedy_traces, traces)
            replace_records(run.round(index).greedy_verdicts, verdicts)
    return run


def _make_round(run: RunDir, index: int, completions: dict[str, str], earlier: list[Example]) -> list[Example]:
    place = run.round(index)
    traces, verdicts = _attempts(RIGHT[index], completions)
    replace_records(place.evaluate_traces, traces)
    replace_records(place.evaluate_verdicts, verdicts)
    scored = score(traces, verdicts, ks=[], seed=0)
    replace_records(place.evaluate_diversity, scored.problems)
    table = to_table(scored.report) | {"probe": {"entropy": 0.5 - index / 10, "entropy_stderr": 0.05}}
    counts: dict[str, dict[str, Any]] = {"evaluate": {"report": table, "wall_s": 60.0}}
    examples = []
    if index:
        traces, verdicts = _attempts(TRAINING[index], {})
        replace_records(place.traces, traces)
        replace_records(place.verdicts, verdicts)
        said = {(trace.problem_id, trace.sample): trace.completion for trace in traces}
        examples = [*earlier, *(_example(key, said[key]) for key in EXAMPLES[index])]
        replace_records(place.examples, examples)
        tokens = {"completion_tokens": 900, "surplus_tokens": 100, "cancelled_tokens": 0}
        counts["think"] = {**tokens, "wall_s": 30.0}
        counts["prune"] = {"keepable_traces": 2, "new_examples": 2, "examples": len(examples), "wall_s": 1.0}
        counts["prune"]["solved_problems"] = 2
        counts["train"] = {"losses": [0.5, 0.25, 0.125], "steps": 3, "wall_s": 10.0}
    for stage, each in counts.items():
        digests = {"model": f"{index}{stage}" * 8}
        write_manifest(place, stage, inputs=digests, outputs={}, settings={}, counts=each)
    write_json(place.record, round_record(run, place))
    return examples


def _problem(problem_id: str) -> Problem:
    return Problem(problem_id, f"What is 6 + 12 in {problem_id}?", "18", solution="6 + 12 = 18")


def _attempts(right: dict[str, str], completions: dict[str, str]) -> tuple[list[Trace], list[Verdict]]:
    traces, verdicts = [], []
    for problem_id, row in sorted(right.items()):
        for sample, letter in enumerate(row):
            answer = "18" if letter in "Rr" else str(20 + sample)
            ending = "no idea" if letter == "n" else f"#### {answer}" if letter != "r" else f"so {answer}"
            text = f"{completions.get(problem_id, f'6 + 12 = {answer}')}\n{ending}"
            traces.append(Trace(problem_id, sample, text, "stop", 10 + sample, 0))
            extracted = None if letter == "n" else answer
            verdicts.append(Verdict(problem_id, sample, _OUTCOMES[letter], letter == "R", extracted))
    return traces, verdicts


def _example(key: tuple[str, int], completion: str) -> Example:
    question = {"role": "user", "content": _problem(key[0]).question}
    return Example(*key, [question, {"role": "assistant", "content": completion}])
