"""Run directories whose held-out verdicts are written by hand, a letter a sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from command_line import QUICKSTART

from tpt.config import load_config, render_toml
from tpt.evidence import Evidence, evidence_of
from tpt.evidence.paired import Sample, sample_of
from tpt.records import Outcome, Problem, RoundRecord, Trace, Verdict
from tpt.run.directory import RunDir
from tpt.scoring import IntArray
from tpt.scoring.score import Counts, score
from tpt.system.jsonl import from_table, replace_records, write_json, write_text

OUTCOMES = {"S": Outcome.CORRECT, "C": Outcome.CORRECT, "W": Outcome.WRONG}
Scores = Mapping[str, str]
"""Problem to its samples: S right in the asked format, C right, W wrong."""


def run_of(
    path: Path,
    *rounds: Scores,
    settings: tuple[str, ...] = (),
    gold: str = "7",
    greedy: Sequence[Scores] = (),
    clusters: Mapping[str, str] | None = None,
) -> RunDir:
    """A run directory whose rounds scored so, with the greedy samples of its first rounds and its problems' clusters."""
    run = RunDir(path)
    write_text(run.config, render_toml(load_config(QUICKSTART, list(settings))))
    problems = [Problem(each, f"What is {each}?", gold, cluster=(clusters or {}).get(each, "")) for each in rounds[0]]
    replace_records(run.heldout, problems)
    for index, scores in enumerate(rounds):
        verdicts = verdicts_of(scores)
        traces = [Trace(each.problem_id, each.sample, "1+1=2", "stop", 5, 0) for each in verdicts]
        replace_records(run.round(index).evaluate_verdicts, verdicts)
        record = RoundRecord(index, "m", score(traces, verdicts, ks=[], seed=0).report)
        write_json(run.round(index).record, record)
    for index, scores in enumerate(greedy):
        replace_records(run.round(index).greedy_verdicts, verdicts_of(scores))
    return run


def verdicts_of(scores: Scores) -> list[Verdict]:
    return [
        Verdict(problem_id, sample, OUTCOMES[letter], letter == "S", "7")
        for problem_id, row in scores.items()
        for sample, letter in enumerate(row)
    ]


def records_of(run: RunDir) -> list[RoundRecord]:
    return [from_table(RoundRecord, json.loads(place.record.read_text())) for place in run.rounds()]


def evidence(path: Path, *rounds: Scores, settings: tuple[str, ...] = (), greedy: Sequence[Scores] = ()) -> Evidence:
    run = run_of(path, *rounds, settings=settings, greedy=greedy)
    return evidence_of(run, records_of(run))


def many(shift: int) -> dict[str, str]:
    """60 problems with 8 samples each; ``shift`` more of them right."""
    return {
        f"p{index:02d}": "S" * min(8, index % 5 + shift) + "W" * (8 - min(8, index % 5 + shift)) for index in range(60)
    }


def sample_in_memory(
    *models: tuple[Sequence[int], Sequence[int], Sequence[int] | None],
    samples: int | Sequence[int],
    clusters: IntArray | None = None,
) -> Sample:
    """Models by their strictly right, right, and greedily right samples of each problem; format is kept greedily."""
    problems = len(models[0][0])
    ids = tuple(f"p{index:04d}" for index in range(problems))
    taken = [samples] * len(models) if isinstance(samples, int) else samples
    counts = [
        Counts(
            ids,
            np.full(problems, each),
            np.array(strict, dtype=np.int64),
            np.array(lenient, dtype=np.int64),
            None if greedy is None else np.repeat(np.array(greedy, dtype=np.float64)[:, None], 2, axis=1),
            clusters,
        )
        for (strict, lenient, greedy), each in zip(models, taken, strict=True)
    ]
    return sample_of(list(range(len(models))), counts, ids, seed=0)
