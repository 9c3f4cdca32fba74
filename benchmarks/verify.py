"""Measures verdicts per second on one core.

    python benchmarks/verify.py [--repeats 5]

Reads the real model solutions of GSM8K in the folder TPT_DATA, with their final line as published (``A: 18``) and in
the other forms that answers come in.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import math_verify

from tpt.records import Problem
from tpt.verifiers.number import verify_number

Rows = list[tuple[Problem, str]]

DATA = Path(os.environ.get("TPT_DATA", Path(__file__).parents[2] / "shared" / "data"))
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
FORMS = {
    "asked format: #### 18": "#### ",
    "#### $18": "#### $",
    "as published: A: 18": "A: ",
    "\\boxed{18": "\\boxed{",
    "last number": "So it comes to ",
}
MATH_VERIFY_ROWS = 300


def solutions() -> Rows:
    """Return the 5,276 published solutions with their problems."""
    path = DATA / "model_outputs" / "gsm8k_example_model_solutions.jsonl"
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        gold = row["ground_truth"].rsplit("A:", 1)[1].strip()
        problem = Problem(f"gsm8k/test/{number:05}", row["question"], gold)
        rows += [(problem, row[model]["solution"]) for model in MODELS]
    return rows


def rate(verify: Callable[[Problem, str], object], rows: Rows, repeats: int) -> float:
    """Return the median rate over several passes, in verdicts per second."""
    rates = []
    for _ in range(repeats):
        began = time.perf_counter()
        for problem, completion in rows:
            verify(problem, completion)
        rates.append(len(rows) / (time.perf_counter() - began))
    return statistics.median(rates)


def math_verify_one(problem: Problem, completion: str) -> bool:
    """Return math-verify's judgement of one completion, called as its documentation says."""
    return bool(math_verify.verify(math_verify.parse(problem.answer), math_verify.parse(completion)))


def number(repeats: int) -> None:
    """Print the rates of the number verifier for each form of answer, beside math-verify's on the same rows."""
    rows = solutions()
    length = sum(len(completion) for _, completion in rows) / len(rows)
    print(f"number: {len(rows)} completions of {length:.0f} characters, median of {repeats} passes")
    for name, mark in FORMS.items():
        written = [(problem, completion.replace("\nA: ", f"\n{mark}")) for problem, completion in rows]
        ours = rate(verify_number, written, repeats)
        theirs = rate(math_verify_one, written[:MATH_VERIFY_ROWS], 1)
        print(f"  {name:<24} {ours:>10,.0f} verdicts/s   math-verify {theirs:>7,.0f}/s   ratio {ours / theirs:>6,.0f}")


def main() -> None:
    """Parse the options and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    number(parser.parse_args().repeats)


if __name__ == "__main__":
    main()
