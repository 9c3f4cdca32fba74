"""What the statistics cost, and which rule chooses the better round; how often they are right: significance_words.py.

    python benchmarks/significance.py [--experiments 2000]

Simulated problems have rates of success drawn from Beta(0.8, 0.8), many easy and many hard ones; a better model shifts
the log odds of every problem by the same amount, plus a change of its own for each problem (standard deviation 0.5).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from tpt.config.stage_sections import StopConfig
from tpt.evidence.best_round import DRAWS, BestRound, choose
from tpt.evidence.paired import compare_pairs, sample_of
from tpt.scoring import (
    FloatArray,
    holm,
    maj_at_k,
    pass_at_k_curve,
    sign_flip_p,
)
from tpt.scoring.score import Counts

SAMPLES = 16
PATIENCE = 2
CLIMBS = {
    "four rounds of the same model": (0.0, 0.0, 0.0, 0.0),
    "one jump, then nothing": (0.5, 0.5, 0.5, 0.5),
    "slow climb": (0.12, 0.24, 0.36, 0.48),
    "rise and fall": (0.4, 0.6, 0.2, -0.3),
}
"""Shift of the log odds in rounds 1 to 4 against the base model."""


def rates(rng: np.random.Generator, problems: int, shifts: tuple[float, ...]) -> FloatArray:
    """Return [problems, rounds], the base model first; rounds of equal shift are the same model."""
    base = rng.beta(0.8, 0.8, problems).clip(1e-6, 1 - 1e-6)
    odds = np.log(base / (1 - base))
    columns, known = [base], {0.0: base}
    for shift in shifts:
        if shift not in known:
            own = rng.normal(0.0, 0.5, problems)
            known[shift] = 1 / (1 + np.exp(-(odds + shift + own)))
        columns.append(known[shift])
    return np.stack(columns, axis=1)


def scored(rng: np.random.Generator, chances: FloatArray) -> FloatArray:
    return rng.binomial(SAMPLES, chances) / SAMPLES


def cost() -> Iterator[tuple[str, float]]:
    """Seconds of a comparison of 10,000 problems with 100 samples each and 10,000 draws, after the files are read."""
    rng = np.random.default_rng(0)
    problems, samples = 10_000, 100
    chances = rates(rng, problems, (0.2,))
    lenient = rng.binomial(samples, chances)
    strict = rng.binomial(lenient, 0.8)
    ids = tuple(f"p{index:05d}" for index in range(problems))
    counts = [Counts(ids, np.full(problems, samples), strict[:, place], lenient[:, place]) for place in (0, 1)]

    def timed(work: object) -> float:
        begun = time.perf_counter()
        work()  # type: ignore[operator]
        return time.perf_counter() - begun

    sample = sample_of([0, 1], counts, ids, seed=0)
    yield (
        "differences, p-values, skill and format, curves, crossing, problems gained and lost",
        timed(lambda: compare_pairs(sample, [(1, 0)], level=0.05)),
    )
    yield "pass@k for every k to 100", timed(lambda: pass_at_k_curve(strict[:, 1], samples))
    answers = [[str(answer) for answer in row] for row in rng.integers(0, 20, (problems, samples))]
    right = [[answer == "0" for answer in row] for row in answers]
    yield "maj@100", timed(lambda: maj_at_k(answers, right, samples))


class Outcome(NamedTuple):
    """What a rule made of one simulated run; averaged over many."""

    moved: float
    """Another round than 0 was the best in the end."""
    given_away: float
    """True score of the best of all rounds less that of the one chosen."""
    last: float
    """The last round done."""
    rolled_back: float
    """Some round was called a loss that was one, and that was none."""
    wrongly: float


def rules(experiments: int) -> Iterator[tuple[str, int, str, Outcome]]:
    """What each rule chooses, by how the true scores go and how many problems choose."""
    for name, shifts in CLIMBS.items():
        for problems in (50, 100, 250):
            rng = np.random.default_rng([3, problems])
            outcomes: dict[str, list[Outcome]] = {rule: [] for rule in RULES}
            for seed in range(experiments):
                chances = rates(rng, problems, shifts)
                scores, truth = scored(rng, chances), chances.mean(axis=0)
                for rule, kept in outcomes.items():
                    kept.append(outcome(rule, scores, truth, seed))
            for rule, kept in outcomes.items():
                yield name, problems, rule, Outcome(*np.mean(kept, axis=0).tolist())


def outcome(rule: str, scores: FloatArray, truth: FloatArray, seed: int) -> Outcome:
    """Do the rounds one after the other, as a run does."""
    rightly = wrongly = False
    for done in range(1, scores.shape[1] + 1):
        choice = RULES[rule](scores[:, :done], seed)
        if choice.last_is_loss:
            rightly |= bool(truth[done - 1] < truth[choice.best])
            wrongly |= bool(truth[done - 1] >= truth[choice.best])
        if done - 1 - max(choice.best, choice.highest) >= PATIENCE:
            break
    return Outcome(choice.best > 0, float(truth.max() - truth[choice.best]), done - 1, rightly, wrongly)


def step_by_step(scores: FloatArray, seed: int) -> BestRound:
    """The rule that was tried and not taken: a round must be significantly better than the best before it."""
    best = 0
    while best + 1 < scores.shape[1]:
        gains = scores[:, best + 1 :] - scores[:, [best]]
        p_values = holm(sign_flip_p(gains, draws=DRAWS, seed=seed).tolist())
        better = np.flatnonzero((np.array(p_values) <= 0.05) & (gains.mean(axis=0) > 0))
        if not better.size:
            return BestRound(best, int(scores.mean(axis=0).argmax()), p_values[-1] <= 0.05 and gains[:, -1].mean() < 0)
        best += 1 + int(better[0])
    return BestRound(best, int(scores.mean(axis=0).argmax()), False)


RULES: dict[str, Callable[[FloatArray, int], BestRound]] = {
    "significance": lambda scores, seed: choose(scores, StopConfig(), seed=seed),
    "step by step": step_by_step,
    "maximum": lambda scores, seed: choose(scores, StopConfig(rule="maximum"), seed=seed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=2000)
    experiments = parser.parse_args().experiments
    print("| 10,000 problems x 100 samples x 10,000 draws | seconds |\n|---|---:|")
    total = 0.0
    for name, seconds in cost():
        total += seconds
        print(f"| {name} | {seconds:.2f} |", flush=True)
    print(f"| together | {total:.2f} |\n")
    print(
        "\n| rounds 1 to 4 | choosing problems | rule | not round 0 | points given away | rounds done | losses found | "
        "false losses |\n|---|---:|---|---:|---:|---:|---:|---:|"
    )
    for name, problems, rule, found in rules(experiments // 4):
        print(
            f"| {name} | {problems} | {rule} | {found.moved:.1%} | {100 * found.given_away:.2f} | {found.last:.2f} | "
            f"{found.rolled_back:.1%} | {found.wrongly:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
