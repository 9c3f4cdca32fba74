"""Measures verdicts per second: ``number`` on one core, ``math`` on all of them, beside math-verify's.

    python benchmarks/verify.py [--kinds number math] [--repeats 5]

Reads the folder TPT_DATA. ``number`` gets the real model solutions of GSM8K, with their final line as published
(``A: 18``) and in the other forms that answers come in. ``math`` gets real completions of MATH problems, as they are
and with hostile answers among them; math-verify is called one by one in this process, with its own time limits.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import math_verify

from tpt.config import VerifyConfig
from tpt.records import Outcome, Problem, Trace
from tpt.verifiers.judge import judge
from tpt.verifiers.number.verify import verify_number
from tpt.verifiers.pool.pool import close_pools

Rows = list[tuple[Problem, str]]

DATA = Path(os.environ.get("TPT_DATA", "data"))
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
FORMS = {
    "asked format: #### 18": "#### ",
    "#### $18": "#### $",
    "as published: A: 18": "A: ",
    "\\boxed{18": "\\boxed{",
    "last number": "So it comes to ",
}
MATH_VERIFY_ROWS = 300
BATCH = 200
HOSTILE = ("9**9**9", "9^{9^{9}}", "10!!!!", "\\sqrt{" * 100 + "2" + "}" * 100, "(x+1)^{99999}", "2^{2^{2^{2^{2^2}}}}")


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
    gold = math_verify.parse(f"${problem.answer}$")
    return bool(math_verify.verify(gold, math_verify.parse(completion)))


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


def math_samples() -> Rows:
    """Return the 800 published completions of 100 MATH problems, in the order in which an engine would give them."""
    path = DATA / "model_outputs" / "qwen_math_cot_100x8.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    problems = [Problem(f"math/{row['idx']:05}", row["question"], row["gt"], "math") for row in rows]
    return [(problem, row["code"][n]) for n in range(8) for problem, row in zip(problems, rows, strict=True)]


def with_hostile(rows: Rows, share: int = 100) -> Rows:
    """Return the rows with a hostile answer after every ``share`` of them, no two of them alike."""
    mixed: Rows = []
    for index, row in enumerate(rows):
        mixed.append(row)
        if index % share == share - 1:
            hostile = f"{HOSTILE[index // share % len(HOSTILE)]} + {index}"
            mixed.append((Problem(f"hostile/{index:05}", "", "x^2 + 7\\sqrt{3}", "math"), f"\\boxed{{{hostile}}}"))
    return mixed


def math_one_by_one(rows: Rows) -> tuple[float, list[bool]]:
    """Return math-verify's time for rows and what it says, with its caches empty of earlier rows."""
    began = time.perf_counter()
    said = [math_verify_one(problem, completion) for problem, completion in rows]
    return time.perf_counter() - began, said


def math_in_batches(rows: Rows, workers: int) -> tuple[float, list[bool]]:
    """Return our time for rows, judged in batches as an engine's steps give them, and what we say."""
    problems = {problem.id: problem for problem, _ in rows}
    traces = [Trace(problem.id, n, completion, "stop", 0, 0) for n, (problem, completion) in enumerate(rows)]
    # Warm workers, as they are in all of a run but its first second.
    warm = Problem("warm", "", "\\sqrt{12}", "math")
    judge([Trace("warm", n, f"\\boxed{{{n + 2}\\sqrt{{3}}}}", "stop", 0, 0) for n in range(2 * workers)], {"warm": warm},
          limits=VerifyConfig(workers=workers))  # fmt: skip
    began = time.perf_counter()
    said: list[bool] = []
    for start in range(0, len(traces), BATCH):
        verdicts = judge(traces[start : start + BATCH], problems, limits=VerifyConfig(workers=workers))
        said += [verdict.outcome is Outcome.CORRECT for verdict in verdicts]
    wall_s = time.perf_counter() - began
    close_pools()
    return wall_s, said


def math(workers: int) -> None:
    """Print the times of the math verifier beside math-verify's, without and with hostile answers."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    rows = math_samples()
    math_one_by_one(rows[:3])
    print(f"math: {len(rows)} completions of MATH problems, {workers} workers, batches of {BATCH}")
    for name, each in (("as they are", rows), ("1 % hostile", with_hostile(rows))):
        ours, we_said = math_in_batches(each, workers)
        theirs, they_said = math_one_by_one(each)
        same = sum(a == b for a, b in zip(we_said, they_said, strict=True))
        print(
            f"  {name:<24} {len(each) / ours:>10,.0f} verdicts/s   math-verify {len(each) / theirs:>7,.0f}/s   "
            f"ratio {theirs / ours:>6,.1f}   {same} of {len(each)} verdicts alike"
        )


def main() -> None:
    """Parse the options and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=["number", "math"], choices=["number", "math"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if "number" in options.kinds:
        number(options.repeats)
    if "math" in options.kinds:
        math(options.workers)


if __name__ == "__main__":
    main()
