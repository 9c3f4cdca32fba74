"""How often every sentence and word of a report is false, how often its intervals hold the truth, and what it can see.

    python benchmarks/significance_words.py [--experiments 1000]

Simulated runs go through the product's own code: counts of right samples in, comparisons, the best round and alarms out.
Solve rates are Beta(0.8, 0.8) over problems, many easy and many hard ones; every model has a change of its own on every
problem (standard deviation 0.5 in log odds), samples of its own, and a greedy answer that follows the sharpened rate. A
true gain shifts the log odds of all problems. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tpt.config.alarm_section import AlarmConfig
from tpt.config.stage_sections import StopConfig
from tpt.evidence.alarms import alarms_between, observed_of
from tpt.evidence.best_round import choose
from tpt.evidence.cards import Comparison
from tpt.evidence.paired import LENIENT, STRICT, compare_pairs, sample_of
from tpt.records import Estimate, ProblemDiversity
from tpt.scoring import IntArray, minimal_detectable_difference
from tpt.scoring.score import Counts

ROUNDS = 4
KEPT_FORMAT = 0.8
DRAWS = 2000
LEVEL = 0.05
PROBLEMS = (5, 10, 20, 50, 200, 1319)
SCORES = ("strict", "lenient", "format", "sharpening", "skill", "pass_at_k", "pass_at_k_lenient")


@dataclass(frozen=True, slots=True)
class World:
    """What is simulated."""

    problems: int
    samples: int = 4
    per_cluster: int = 1
    """Problems that share their difficulty and what a model makes of them."""
    declared: bool = True
    """Whether the report is told of the clusters."""
    own: float = 0.5
    """Standard deviation of a model's own change of a problem's log odds."""

    @property
    def clusters(self) -> IntArray | None:
        """The cluster of each problem, as the report is told."""
        return np.arange(self.problems) // self.per_cluster if self.per_cluster > 1 and self.declared else None


def models(
    world: World, rng: np.random.Generator, shifts: Sequence[float], formats: Sequence[float] = ()
) -> list[Counts]:
    """Draw problems, and what models of so much shifted log odds score on them."""
    groups = -(-world.problems // world.per_cluster)
    base = rng.beta(0.8, 0.8, groups).clip(1e-6, 1 - 1e-6)
    odds, found = np.log(base / (1 - base)), []
    ids = tuple(f"p{number:05d}" for number in range(world.problems))
    for index, shift in enumerate(shifts):
        moved = (odds + shift + rng.normal(0, world.own, groups)).repeat(world.per_cluster)[: world.problems]
        rates, sharp = (1 / (1 + np.exp(-scale * moved)) for scale in (1, 3))
        lenient = rng.binomial(world.samples, rates)
        kept = formats[index] if formats else KEPT_FORMAT
        greedy = (rng.random(world.problems) < sharp).astype(float)
        table = np.stack([greedy * (rng.random(world.problems) < kept), greedy], axis=1)
        samples = np.full(world.problems, world.samples)
        found.append(Counts(ids, samples, rng.binomial(lenient, kept), lenient, table, world.clusters))
    return found


def compared(counts: list[Counts], seed: int, pairs: Sequence[tuple[int, int]] = ()) -> list[Comparison]:
    """Compare all models with the first, or the pairs given."""
    sample = replace(sample_of(range(len(counts)), counts, counts[0].problem_ids, seed=seed), draws=DRAWS)
    return compare_pairs(sample, pairs or [(column, 0) for column in range(1, len(counts))], level=LEVEL)


def false_words(world: World, experiments: int) -> Counter[str]:
    """Count the simulated runs, of rounds that change nothing, in which a report says each thing at least once."""
    rng, said = np.random.default_rng([4, world.problems, world.per_cluster]), Counter[str]()
    for seed in range(experiments):
        counts = models(world, rng, [0.0] * (ROUNDS + 1))
        words: set[str] = set()
        for each in compared(counts, seed):
            for name in SCORES:
                if getattr(each, name).finding != "within noise":
                    words.add(f"{name}: gain or loss")
            words |= {"most of the gain is ..."} if each.most else set()
            words |= {"lower from k = ... on"} if each.crossing_k or each.crossing_k_lenient else set()
            words |= {"forgetting"} if "loss" in (each.lenient.finding, each.skill and each.skill.finding) else set()
        last = compared(counts, seed, [(1, 0)])
        words |= (
            {"one comparison: problems gained and lost, p <= 0.05"}
            if last and last[0].coverage.p_value <= LEVEL
            else set()
        )
        shares = np.stack([each.shares[:, STRICT] for each in counts], axis=1)
        chosen = choose(shares, StopConfig(), seed=seed, clusters=world.clusters, draws=DRAWS)
        words |= {"the star"} if chosen.best else set()
        words |= {"the last round is a loss"} if chosen.last_is_loss else set()
        words |= {f"alarm: {name}" for name in alarms(counts, rng)}
        said.update(words)
    return said


def alarms(counts: list[Counts], rng: np.random.Generator) -> set[str]:
    """Return the names of the alarms that any round raises, its traces being as long and as different as the first's."""
    base, *later = (
        observed_of(index, each, list(traces_like(each, rng)), probe(rng)) for index, each in enumerate(counts)
    )
    return {alarm.name for now in later for alarm in alarms_between(base, now, AlarmConfig())}


def traces_like(counts: Counts, rng: np.random.Generator) -> Iterator[ProblemDiversity]:
    """Yield what a problem's traces are like, in the spread of real ones."""
    for problem, samples, right in zip(counts.problem_ids, counts.samples, counts.lenient, strict=True):
        taken = int(samples)
        yield ProblemDiversity(
            problem,
            chains=1 + rng.binomial(3, 0.4) if right >= 4 else None,
            texts=1 + rng.binomial(3, 0.8) if right >= 4 else None,
            answer_entropy=float(rng.exponential(0.5)),
            tokens=float(rng.lognormal(5, 0.6, taken).mean()),
            truncated=rng.binomial(taken, 0.1) / taken,
            looped=rng.binomial(taken, 0.03) / taken,
        )


def probe(rng: np.random.Generator) -> dict[str, float]:
    """Return a probe of 64 human solutions that are as likely as before."""
    changes = rng.normal(0, 0.1, 64)
    stderr = float(changes.std() / 8)
    return {
        "human_nll": 0.7 + float(changes.mean()),
        "human_nll_change": float(changes.mean()),
        "human_nll_change_stderr": stderr,
        "kl_base_round": abs(float(changes.mean())),
        "kl_base_round_stderr": stderr,
    }


def covered(world: World, experiments: int) -> dict[str, float]:
    """Return the share of 95 % intervals that hold the truth: of scores and of differences, a true gain being there."""
    truth = models(World(2_000_000), np.random.default_rng(99), [0.0, 0.4])
    scores = [each.shares.mean(axis=0) for each in truth]
    greedy = [each.greedy[:, LENIENT].mean() for each in truth if each.greedy is not None]
    expected = {
        "strict": scores[1][STRICT] - scores[0][STRICT],
        "lenient": scores[1][LENIENT] - scores[0][LENIENT],
        "skill": greedy[1] - greedy[0],
    }
    expected["format"] = expected["strict"] - expected["lenient"]
    rng, hits, disagree = np.random.default_rng([5, world.problems, world.per_cluster]), Counter[str](), 0
    for seed in range(experiments):
        counts = models(world, rng, [0.0, 0.4])
        score = sample_of([0, 1], counts, counts[0].problem_ids, seed=seed).estimate(1, STRICT)
        hits["score"] += within(score, scores[1][STRICT])
        (found,) = compared(counts, seed)
        for name, true in expected.items():
            each = getattr(found, name)
            hits[name] += each.low <= true <= each.high
            disagree += (each.low > 0 or each.high < 0) != (each.finding != "within noise")
    return {name: hits[name] / experiments for name in ("score", *expected)} | {"contradictions": disagree}


def within(estimate: Estimate, truth: float) -> bool:
    """Return whether a score's interval holds the truth."""
    assert estimate.low is not None and estimate.high is not None
    return estimate.low <= truth <= estimate.high


def power(world: World, experiments: int) -> tuple[float, float, float, float]:
    """Return the gain said to be detected 80 % of the time and how often one is, for the word and for the star.

    One of four rounds has a true gain, of the size that reports of this world name in the mean.
    """
    half = World(world.problems // 2, world.samples, world.per_cluster, own=world.own)
    found = []
    for star, size in ((False, world), (True, half)):
        shift, named, hits = 0.5, 0.0, 0
        for trial, count in enumerate((60, 60, 60, experiments)):
            rng = np.random.default_rng([6, world.problems, star, trial])
            names, hits = [], 0
            for seed in range(count):
                counts = models(size, rng, [0.0, 0.0, 0.0, 0.0, shift])
                shares = np.stack([each.shares[:, STRICT] for each in counts], axis=1)
                change = shares[:, -1] - shares[:, 0]
                alpha = LEVEL / ROUNDS
                names.append(minimal_detectable_difference(change, alpha=alpha, clusters=size.clusters) or 1.0)
                if count != experiments:
                    continue
                if star:
                    best = choose(shares, StopConfig(), seed=seed, clusters=size.clusters, draws=DRAWS).best
                    hits += best == ROUNDS
                else:
                    hits += compared(counts, seed)[-1].strict.finding == "gain"
            named = float(np.mean(names))
            if count != experiments:
                # A gain grows about in proportion to the shift, while both are small. The gain is that of all problems
                # there might be: the mean over a few sets would itself be off by some points of power.
                shift *= named / strict_gain(shift, world.own)
        found += [100 * named, hits / experiments]
    return found[0], found[1], found[2], found[3]


def strict_gain(shift: float, own: float) -> float:
    """Return the true gain of the strict score that a shift of the log odds makes, over all problems there might be."""
    before, after = models(World(2_000_000, own=own), np.random.default_rng(99), [0.0, shift])
    return float((after.shares[:, STRICT] - before.shares[:, STRICT]).mean())


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=1000)
    runs = parser.parse_args().experiments
    worlds = {f"{count} problems": World(count) for count in (10, 50, 200)}
    worlds["50 clusters of 20"] = World(1000, per_cluster=20)
    worlds["the same, not told"] = World(1000, per_cluster=20, declared=False)
    said = {name: false_words(world, runs) for name, world in worlds.items()}
    print(f"| said at least once of {ROUNDS} rounds that change nothing | " + " | ".join(worlds) + " |")
    print("|---|" + "---:|" * len(worlds))
    for word in sorted({word for each in said.values() for word in each}):
        print(
            f"| {word} | " + " | ".join(f"{100 * each[word] / runs:.1f}" for each in said.values()) + " |", flush=True
        )
    names = ("score", "strict", "lenient", "skill", "format", "contradictions")
    print("\n| problems | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    sizes = [(f"{count}", World(count)) for count in PROBLEMS]
    sizes += [(name, worlds[name]) for name in ("50 clusters of 20", "the same, not told")]
    for title, world in sizes:
        found = covered(world, runs)
        cells = [f"{100 * found[name]:.1f}" for name in names[:-1]] + [f"{found['contradictions']:.0f}"]
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)
    print("\n| problems x samples | gain named for the word | found | gain named for the star | found |")
    print("|---|---:|---:|---:|---:|")
    for world in (World(50), World(200), World(200, 16), World(500), World(1000, per_cluster=20)):
        word, seen, star, starred = power(world, runs)
        title = f"{world.problems} x {world.samples}" + (", clusters of 20" if world.per_cluster > 1 else "")
        print(f"| {title} | {word:.1f} | {100 * seen:.1f} | {star:.1f} | {100 * starred:.1f} |", flush=True)


if __name__ == "__main__":
    main()
