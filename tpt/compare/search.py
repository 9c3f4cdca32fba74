"""The same small search for every arm: which learning rate does best on training problems that are held back?

A search is a comparison of its own, every arm at every rate, beside the arms' runs: so it is resumed like them, and shares
what is alike. It has a seed of its own, and neither trains on nor scores a held-out problem of the comparison.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tpt.audit.run_problems import load_both
from tpt.compare.arms import Arm, SearchSection, StudyPlan, over
from tpt.compare.budget import minutes, spent, spent_flops
from tpt.compare.running import ArmRun, arm_run_of, run_arms
from tpt.errors import ConfigError
from tpt.records import Problem
from tpt.run.sealed import digest_of
from tpt.seeds import seed_for
from tpt.system.jsonl import replace_records

FOLDER = "search"
"""Of all searches, in the comparison's folder."""


@dataclass(frozen=True, slots=True)
class Searched:
    """One arm's search."""

    arm: str
    strict: dict[float, float]
    """Learning rate to strict pass@1 on the held-back problems after the search's rounds."""
    chosen: float
    """The best; of several the lowest."""
    held_back: int
    """Problems."""
    rounds: int
    tokens_sampled: int
    """At all rates, taken over ones counted each time."""
    flops: float | None
    """To sample and to train, at all rates; None: not known."""
    minutes: float
    """To think, prune and train, at all rates."""

    @property
    def at_the_edge(self) -> bool:
        """Whether a rate beyond those searched might be better still."""
        return self.chosen in (min(self.strict), max(self.strict))


def search_rates(plan: StudyPlan, out: Path, *, jobs: int, progress: bool) -> list[Searched]:
    """Search every arm's learning rate, as far as that is not done yet; an arm that trains nothing has none.

    Raises:
        ConfigError: there are too few training problems to hold some back.
        RunError: an arm failed at a rate, after all others were done; or the search there is another.
    """
    if plan.search is None:
        return []
    folder, seed = out / FOLDER, max(plan.seeds) + 1
    trained = [arm for arm in plan.arms if not arm.votes]
    arms = {arm.name: [_at(arm, rate, plan.search, folder, seed) for rate in plan.search.rates] for arm in trained}
    whole = StudyPlan([each for rates in arms.values() for each in rates], [seed], "rounds")
    run_arms(whole, folder, jobs=jobs, progress=progress)
    return [_searched(arm, plan.search, [arm_run_of(folder, each, seed) for each in arms[arm.name]]) for arm in trained]


def with_rates(plan: StudyPlan, found: Sequence[Searched]) -> StudyPlan:
    """Return the comparison with every arm at the rate that its search chose."""
    chosen = {each.arm: each.chosen for each in found}
    arms = [_with_rate(arm, chosen[arm.name]) if arm.name in chosen else arm for arm in plan.arms]
    return replace(plan, arms=arms)


def _with_rate(arm: Arm, rate: float) -> Arm:
    return replace(arm, table=over(arm.table, {"train": {"learning_rate": rate}}))


def _at(arm: Arm, rate: float, search: SearchSection, folder: Path, seed: int) -> Arm:
    """Return an arm at a rate, on the training problems alone: some to score on, the others to learn from."""
    sources = _split(arm, search.held_back, folder, seed)
    alone = {"problems": {**sources, "max_train": 0, "max_heldout": 0}, "evaluate": {"also": []}}
    # Columns are those of the files that the problems came from.
    table = over(_with_rate(arm, rate).table, alone)
    table["problems"].pop("columns", None)
    return replace(arm, name=f"{arm.name}-{rate:g}", table=table, rounds=min(arm.rounds, search.rounds))


def _split(arm: Arm, held_back: int, folder: Path, seed: int) -> dict[str, str]:
    """Write an arm's training problems as two sources, unless they are there, and return them."""
    config = arm.config(seed)
    key = digest_of([config.problems.model_dump(), seed, held_back])[:12]
    files = {name: folder / f"{name}-{key}.jsonl" for name in ("train", "heldout")}
    if not all(path.exists() for path in files.values()):
        problems = load_both(config).train
        if held_back >= len(problems):
            raise ConfigError(
                f"search.held_back = {held_back}, but arm {arm.name!r} has {len(problems)} training problems, and some must be "
                "left to learn from: hold back fewer, or add problems"
            )
        chosen = set(random.Random(seed_for(seed, "held back")).sample([each.id for each in problems], held_back))
        _write(files["train"], [each for each in problems if each.id not in chosen])
        _write(files["heldout"], [each for each in problems if each.id in chosen])
    return {name: str(path.resolve()) for name, path in files.items()}


def _write(path: Path, problems: list[Problem]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_records(path, problems)


def _searched(arm: Arm, search: SearchSection, runs: list[ArmRun]) -> Searched:
    records = [run.records() for run in runs]
    scores = [each[-1].evaluate.pass_at_k[1].mean for each in records]
    strict = dict(zip(search.rates, scores, strict=True))
    every = [record for each in records for record in each]
    return Searched(
        arm=arm.name,
        strict=strict,
        chosen=max(sorted(strict), key=lambda rate: strict[rate]),
        held_back=search.held_back,
        rounds=len(records[0]) - 1,
        tokens_sampled=spent(every),
        flops=spent_flops(every),
        minutes=minutes(every),
    )
