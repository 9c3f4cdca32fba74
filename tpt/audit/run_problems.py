"""The problems of a run: loaded, checked against their own verifiers, training and held-out disjoint."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from tpt.audit.check import check_problems, remedy
from tpt.audit.given_traces import require_given
from tpt.config import RunConfig
from tpt.config.also_section import AlsoSource
from tpt.errors import ProblemError
from tpt.mix import require_solutions
from tpt.problems import check_disjoint, load_problems, told_apart
from tpt.records import Problem
from tpt.sandbox.bubblewrap import hide_source
from tpt.verifiers.judge import judge


class Loaded(NamedTuple):
    """The problems of a run."""

    train: list[Problem]
    heldout: list[Problem]
    left_out: list[str]
    """Ids of problems whose gold fails its own verifier, where the config drops them."""


def load_both(config: RunConfig) -> Loaded:
    """Load the training and the held-out problems and check them: golds verify, the two are disjoint.

    Raises:
        ProblemError: they are not.
        ConfigError: the run is to train on human solutions, and there are too few, or on a file's traces, and none is there.
        RunError: a line of that file is no trace.
    """
    source = config.problems
    train, heldout = load_sources(config)
    bad_train = _bad(train, "problems.train", config, allowed=source.drop_bad)
    bad_heldout = _bad(heldout, "problems.heldout", config, allowed=source.drop_bad or source.drop_bad_heldout)
    if not source.drop_bad_heldout:
        bad_heldout = []
    train = _without(train, bad_train, "problems.train")
    by_id = {problem.id: problem for problem in train}
    require_solutions(by_id, config)
    require_given(by_id, config)
    return Loaded(train, _without(heldout, bad_heldout, "problems.heldout"), bad_train + bad_heldout)


def load_sources(config: RunConfig) -> tuple[list[Problem], list[Problem]]:
    """Load the training and the held-out problems, which must be disjoint; their golds are not checked."""
    source = config.problems
    for each in filter(None, (source.train, source.heldout)):
        hide_source(each)
    load = partial(load_problems, columns=source.columns, kind=source.kind or None, seed=config.seed)
    heldout = load(source.heldout, limit=source.max_heldout or None)
    if not source.train:
        return [], heldout
    train = load(source.train, limit=source.max_train or None)
    heldout = told_apart(train, heldout, "heldout")
    check_disjoint(train, heldout)
    return train, heldout


def load_also(config: RunConfig, train: Sequence[Problem], wanted: Sequence[AlsoSource]) -> dict[str, list[Problem]]:
    """Load further sets of problems to score on and check them: golds verify, none of them is trained on.

    Returns:
        The name of each set's stage to its problems.

    Raises:
        ProblemError: they are not.
    """
    found = {}
    for source, problems in zip(wanted, load_also_sources(config, train, wanted).values(), strict=True):
        name = f"evaluate.also, {source.source!r}"
        drops = config.problems.drop_bad_heldout
        bad = _bad(problems, name, config, allowed=config.problems.drop_bad or drops)
        found[source.stage] = _without(problems, bad if drops else [], name)
    return found


def load_also_sources(
    config: RunConfig, train: Sequence[Problem], wanted: Sequence[AlsoSource]
) -> dict[str, list[Problem]]:
    """Load further sets of problems, none of which may be trained on, by their stages; their golds are not checked."""
    found = {}
    for source in wanted:
        columns = config.problems.columns
        problems = load_problems(source.source, columns=columns, seed=config.seed, limit=source.max or None)
        problems = told_apart(train, problems, source.stage)
        try:
            check_disjoint(train, problems)
        except ProblemError as error:
            raise ProblemError(f"evaluate.also, {source.source!r}: {error}") from None
        found[source.stage] = problems
    return found


def _bad(problems: list[Problem], name: str, config: RunConfig, *, allowed: bool) -> list[str]:
    """Return the ids of problems whose gold fails its own verifier; ProblemError when that is not allowed."""
    failures = check_problems(problems, partial(judge, limits=config.verify)).gold_failures
    if failures and not allowed:
        first = failures[0]
        raise ProblemError(
            f"{name}: {len(failures)} of {len(problems)} gold answers do not pass their own verifier, such as "
            f"{first.problem_id} with answer {first.answer!r:.80}: {first.outcome} {first.detail}. See them all with: "
            f"tpt check SOURCE; then {remedy(failures)}"
        )
    return [failure.problem_id for failure in failures]


def _without(problems: list[Problem], bad: list[str], name: str) -> list[Problem]:
    kept = [problem for problem in problems if problem.id not in set(bad)]
    if problems and not kept:
        raise ProblemError(f"{name}: all {len(problems)} problems are bad, none is left. See: tpt check SOURCE")
    return kept
