"""What the samples published with the paper score by its rule and by ours, and how much noise is in such scores.

    python benchmarks/paper_samples.py CHECKOUT

CHECKOUT is a clone of github.com/soheilzi/TPT (of the commit f3629da): 500 test problems of GSM8K, 10 samples of each by
Gemma-2-2B-it and 5 by each of two models after one round. Prints Markdown: the scores, what is left of the gain without the
format, the noise at the sizes of the recipes, and the few other facts that docs/results/paper.md states of those files.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tpt.records import Outcome, Problem
from tpt.verifiers.judge import judge_one

Scores = npt.NDArray[np.float64]
"""[problem, sample]: 1 for right."""
RULES = ("paper's rule", "tpt strict", "tpt lenient", "number alone on the last line")
MODELS = {"base": ("math_eval", 10), "round 1": ("math_eval_ce", 5), "round 1, again": ("math_eval_ce_2", 5)}
SIZES = ((500, 20), (1319, 20))
TEST_PROBLEMS, TRAINING_PROBLEMS = 1319, 7473
CHATTER = 40
"""Characters behind the answer that are more than a full stop and a fence."""
_ALONE = re.compile(r"####\s*-?[\d,]+(?:\.\d+)?")
_ANSWER = re.compile(r"####\s*-?[\d.,]+")


class Parts(NamedTuple):
    """Where the variance of a score comes from."""

    between: float
    """Variance between problems of a problem's true score."""
    within: float
    """Variance of one sample of a problem, the mean over problems."""

    def stderr(self, problems: int, samples: int) -> float:
        return float(np.sqrt((self.between + self.within / samples) / problems))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    checkout = parser.parse_args().checkout
    golds = {row["idt"]: row["solnum"] for row in _json(checkout / "data" / "test500.json")}
    scores = {name: scored(checkout / "samples" / folder / "2b", golds, n) for name, (folder, n) in MODELS.items()}
    print_scores(scores)
    print_noise(scores)
    print_files(checkout, scores)


def scored(folder: Path, golds: dict[Any, str], samples: int) -> dict[str, Scores]:
    """Return the rule's name to what it says of every sample."""
    rows: dict[str, list[list[bool]]] = {rule: [] for rule in RULES}
    for index in range(samples):
        texts = {row["qnum"]: row["solution"] for row in _json(folder / f"e{index}.json")}
        judged = [_verdicts(texts[key], gold) for key, gold in golds.items()]
        for at, rule in enumerate(RULES):
            rows[rule].append([each[at] for each in judged])
    return {rule: np.array(found, dtype=float).T for rule, found in rows.items()}


def _verdicts(text: str, gold: str) -> tuple[bool, bool, bool, bool]:
    ours = judge_one(Problem("", "", gold), text)
    right = ours.outcome is Outcome.CORRECT
    alone = right and ours.strict and _ALONE.fullmatch(text.strip().rpartition("\n")[2].strip()) is not None
    return judge_one(Problem("", "", gold, kind="paper"), text).strict, ours.strict, right, alone


def print_scores(scores: dict[str, dict[str, Scores]]) -> None:
    print("Pass@1, %, and the gain with its standard error, paired by problem:\n")
    print("| | " + " | ".join(RULES) + " |\n|---|" + "---:|" * len(RULES))
    for name in MODELS:
        print(f"| {name} | " + " | ".join(f"{100 * scores[name][rule].mean():.1f}" for rule in RULES) + " |")
    gained = {}
    for name in list(MODELS)[1:]:
        gained[name] = gains = [_gain(scores["base"][rule], scores[name][rule]) for rule in RULES]
        print(f"| gain of {name} | " + " | ".join(f"{mean:+.1f} ± {error:.1f}" for mean, error in gains) + " |")
    for name, gains in gained.items():
        left = [gains[2][0] / gains[at][0] for at in range(2)]
        print(
            f"\nThe lenient gain of {name} is {left[0]:.0%} of the gain by the paper's rule, {left[1]:.0%} of tpt's strict one."
        )


def _gain(before: Scores, after: Scores) -> tuple[float, float]:
    difference = after.mean(axis=1) - before.mean(axis=1)
    return 100 * difference.mean(), 100 * difference.std(ddof=1) / np.sqrt(len(difference))


def parts_of(scores: Scores) -> Parts:
    within = scores.var(axis=1, ddof=1).mean()
    return Parts(scores.mean(axis=1).var(ddof=1) - within / scores.shape[1], within)


def parts_of_gain(before: Scores, after: Scores) -> Parts:
    each = [scores.var(axis=1, ddof=1).mean() for scores in (before, after)]
    seen = (after.mean(axis=1) - before.mean(axis=1)).var(ddof=1)
    return Parts(seen - each[0] / before.shape[1] - each[1] / after.shape[1], sum(each))


def print_noise(scores: dict[str, dict[str, Scores]]) -> None:
    print(
        "\nNoise, in points; standard errors of Pass@1 and of a gain, and how far two sets of problems differ (one s.d.):\n"
    )
    sizes = " | ".join(f"{problems:,} x {samples}" for problems, samples in SIZES)
    print(f"| | s.d. between problems | variance of one sample | {sizes} | 500 against other 500 | 500 against all |")
    print("|---|" + "---:|" * (4 + len(SIZES)))
    for rule in RULES[:3]:
        rows = {name: parts_of(scores[name][rule]) for name in list(MODELS)[:2]}
        rows["gain"] = parts_of_gain(scores["base"][rule], scores["round 1"][rule])
        for name, parts in rows.items():
            errors = " | ".join(f"{100 * parts.stderr(*size):.2f}" for size in SIZES)
            other, whole = _draws(parts, 20)
            print(
                f"| {rule}, {name} | {parts.between**0.5:.2f} | {parts.within:.2f} | {errors} | {other:.2f} | {whole:.2f} |"
            )
    print(f"\nTwo draws of 500 share {500 * 500 / TEST_PROBLEMS:.0f} problems on average.")


def _draws(parts: Parts, samples: int) -> tuple[float, float]:
    """Return the s.d. of the difference between two random 500 of the problems, and between 500 and all of them."""
    one = parts.between * (1 / 500 - 1 / TEST_PROBLEMS)
    sampled = parts.within / samples
    return 100 * np.sqrt(2 * (one + sampled / 500)), 100 * np.sqrt(one + sampled / 500 + sampled / TEST_PROBLEMS)


def print_files(checkout: Path, scores: dict[str, dict[str, Scores]]) -> None:
    rule = RULES[0]
    again = 100 * abs(scores["round 1"][rule].mean() - scores["round 1, again"][rule].mean())
    with (checkout / "samples" / "math_train_ce" / "2b" / "pass_at_k_results.csv").open(encoding="utf-8") as file:
        published = {row["Metric"]: float(row["Score"]) for row in csv.DictReader(file)}
    targets = _json(checkout / "data" / "next_ce" / "train2k.json")
    chatter = sum(len(_ANSWER.split(row["solution"], 1)[-1].strip()) > CHATTER for row in targets)
    print(f"\nTwo trainings on the same data are {again:.1f} points apart by the paper's rule.")
    solved = round(published["pass@10"] * TRAINING_PROBLEMS)
    print(f"Training problems solved by one of ten samples: {solved:,} of {TRAINING_PROBLEMS:,}.")
    print(
        f"Training texts that go on for more than {CHATTER} characters behind the answer: {chatter} of {len(targets):,}."
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
