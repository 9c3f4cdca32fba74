r"""Holds the verifiers against real data: golds against themselves, answer pairs, and real model outputs.

    python benchmarks/verify_real.py [--rows]

Reads the folder TPT_DATA. Every table says how many rows there are and how many agree; ``--rows`` also prints the rows
that do not. What the differences are about stands in docs/results/verifiers.md.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import math_verify

from tpt.problems.math.math import last_boxed
from tpt.records import Outcome, Problem, Trace
from tpt.verifiers.judge import judge

DATA = Path(os.environ.get("TPT_DATA", "data"))
ASKED = {"math": "\\boxed{{{}}}", "number": "#### {}", "choice": "#### {}"}


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to judge, and what the data says of it."""

    problem: Problem
    completion: str
    expected: bool
    theirs: bool | None = None
    """What math-verify says, where it was asked."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the verifier said of a row."""

    row: Row
    outcome: Outcome
    strict: bool
    extracted: str | None
    detail: str

    @property
    def agrees(self) -> bool:
        """Whether the verifier says what the data says."""
        return (self.outcome is Outcome.CORRECT) == self.row.expected


def judged(rows: list[Row]) -> list[Result]:
    """Judge rows as one batch."""
    problems = {row.problem.id: row.problem for row in rows}
    counts = dict.fromkeys(problems, -1)
    traces = []
    for row in rows:
        counts[row.problem.id] += 1
        traces.append(Trace(row.problem.id, counts[row.problem.id], row.completion, "stop", 0, 0))
    verdicts = judge(traces, problems)
    return [
        Result(row, verdict.outcome, verdict.strict, verdict.extracted, verdict.detail)
        for row, verdict in zip(rows, verdicts, strict=True)
    ]


def golds() -> dict[str, list[Row]]:
    """Return data set to its golds, each in the asked format."""
    return {
        "MATH-500": [_gold(f"math500/{n}", r["prompt"], r["answer"], "math") for n, r in _lines("math/math500.jsonl")],
        "MATH sample": [
            _gold(f"math/{n}", r["problem"], last_boxed(r["solution"]) or "", "math")
            for n, r in _lines("math/math_sample1000.jsonl")
        ],
        "AQuA dev": [_aqua(f"aqua/dev/{n}", r) for n, r in _lines("math/aqua_dev.jsonl")],
        "AQuA test": [_aqua(f"aqua/test/{n}", r) for n, r in _lines("math/aqua_test.jsonl")],
        "SVAMP": [
            _gold(f"svamp/{n}", f"{r['Body']} {r['Question']}", f"{r['Answer']:.15g}", "number")
            for n, r in enumerate(json.loads((DATA / "math/svamp.json").read_text(encoding="utf-8")))
        ],
        "GSM-Hard": [
            _gold(f"gsm_hard/{n}", r["input"], _plain(r["target"]), "number") for n, r in _lines("math/gsm_hard.jsonl")
        ],
        "GSM8K test": [
            _gold(f"gsm8k/{n}", r["question"], r["answer"].rpartition("####")[2].strip(), "number")
            for n, r in _lines("math/gsm8k_test.jsonl")
        ],
    }


def worked_solutions() -> list[Row]:
    """Return the human solutions of the MATH sample: whole texts, whose last box is the gold answer."""
    return [
        Row(Problem(f"math/{n}", r["problem"], last_boxed(r["solution"]) or "", "math"), r["solution"], True)
        for n, r in _lines("math/math_sample1000.jsonl")
    ]


def answer_pairs(*, ask: bool = True) -> list[Row]:
    """Return the pairs of gold and answer, with what math-verify says of each if it is to be asked."""
    rows = []
    for n, pair in _lines("math/answer_pairs.jsonl"):
        expected = bool(pair["expected"] if "expected" in pair else pair["result"])
        theirs = None
        if ask:
            theirs = bool(math_verify.verify(math_verify.parse(pair["gold"]), math_verify.parse(pair["pred"])))
        rows.append(Row(Problem(f"pairs/{n}", "", pair["gold"], "math"), pair["pred"], expected, theirs))
    return rows


def qwen_samples() -> list[Row]:
    """Return 8 completions of each of 100 MATH problems with the scores that were published with them."""
    return [
        Row(Problem(f"qwen/{r['idx']}", r["question"], r["gt"], "math"), completion, bool(score))
        for _, r in _lines("model_outputs/qwen_math_cot_100x8.jsonl")
        for completion, score in zip(r["code"], r["score"], strict=True)
    ]


def gsm8k_as_math() -> list[Row]:
    """Return the published GSM8K solutions as problems of kind math: nothing is boxed, the answer stands in ``A: 18``."""
    rows = []
    for n, row in _lines("model_outputs/gsm8k_example_model_solutions.jsonl"):
        gold = row["ground_truth"].rsplit("A:", 1)[1].strip()
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            problem = Problem(f"gsm8k/test/{n:05}", row["question"], gold, "math")
            rows.append(Row(problem, row[model]["solution"], row[model]["is_correct"]))
    return rows


def report(name: str, results: list[Result], *, show: bool) -> None:
    """Print one line of the table, and the rows that do not agree."""
    agree = sum(result.agrees for result in results)
    outcomes = ", ".join(f"{sum(r.outcome is each for r in results)} {each}" for each in Outcome)
    print(f"{name:<18} {agree:>6} of {len(results):>5} agree ({agree / len(results):.2%});  {outcomes}")
    asked = [result for result in results if result.row.theirs is not None]
    if asked:
        theirs = sum(result.row.theirs == result.row.expected for result in asked)
        print(f"{'':<18} {theirs:>6} of {len(asked):>5} agree with math-verify alone")
    for result in results if show else ():
        if not result.agrees:
            row = result.row
            said = f"expected {'right' if row.expected else 'wrong'}, got {result.outcome}"
            print(
                f"    {row.problem.id}: gold {row.problem.answer!r}, read {result.extracted!r}: {said} {result.detail}"
            )


def _gold(name: str, question: str, answer: str, kind: str) -> Row:
    return Row(Problem(name, question, answer, kind), ASKED[kind].format(answer), True)


def _aqua(name: str, row: dict[str, Any]) -> Row:
    return _gold(name, f"{row['question']}\n{' '.join(row['options'])}", row["correct"], "choice")


def _plain(value: float) -> str:
    """Return a float's shortest digits without an exponent."""
    return f"{value:.0f}" if value == int(value) else format(value, "f") if abs(value) < 1e-4 else repr(value)


def _lines(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate((DATA / name).read_text(encoding="utf-8").splitlines()):
        yield number, json.loads(line)


def main() -> None:
    """Parse the options and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", action="store_true", help="print the rows that do not agree")
    show = parser.parse_args().rows
    for name, rows in golds().items():
        report(name, judged(rows), show=show)
    report("MATH solutions", judged(worked_solutions()), show=show)
    report("answer pairs", judged(answer_pairs()), show=show)
    report("Qwen2.5 on MATH", judged(qwen_samples()), show=show)
    report("GSM8K as math", judged(gsm8k_as_math()), show=show)


if __name__ == "__main__":
    main()
