"""The human part of a training set: problems whose own solution is trained on, beside the model's traces of others.

The set keeps its size: of ``prune.size`` problems the share ``data.mix`` is human, drawn anew every round from those whose
solution passes its own verifier. Neither part fills in for the other where it falls short.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from msgspec.structs import replace

from tpt.config import PruneConfig, RunConfig
from tpt.errors import ConfigError
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.seeds import shuffled
from tpt.verifiers.gold import human_trace
from tpt.verifiers.judge import judge
from tpt.verifiers.steps import check_steps

HUMAN_SAMPLE = -1
"""The sample of an example that is a human solution, beside the model's from 0 up."""
_JUDGED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class HumanPart:
    """The human solutions that a round trains on."""

    solutions: Mapping[str, Trace] = field(default_factory=dict)
    """Problem id to solution."""
    apart: bool = True
    """Whether the model's own traces are to be of other problems."""

    @property
    def closed(self) -> Collection[str]:
        """Problems that nothing is sampled or taken from for the other part."""
        return self.solutions.keys() if self.apart else ()


def wanted_size(policy: PruneConfig, round_index: int) -> int | None:
    """Return how many problems round ``round_index`` (from 1) trains on; None for all that are solved."""
    if policy.size == "all":
        return None
    return max(1, round(policy.size * policy.growth ** (round_index - 1)))


def human_size(config: RunConfig, round_index: int) -> int:
    """Return how many of a round's problems are to be human solutions."""
    return round((wanted_size(config.prune, round_index) or 0) * config.data.mix)


def own_size(config: RunConfig, round_index: int) -> int | None:
    """Return how many of a round's problems are to be traces; None for all that are solved."""
    size = wanted_size(config.prune, round_index)
    return None if size is None else size - human_size(config, round_index)


def human_part(problems: Mapping[str, Problem], config: RunConfig, round_index: int) -> HumanPart:
    """Draw the human solutions of a round; the same for sampling and pruning, as they follow from the seed alone.

    Raises:
        ConfigError: too few problems have a solution that passes its own verifier.
    """
    wanted = human_size(config, round_index)
    solved = [problem.id for problem in problems.values() if problem.solution]
    order = shuffled(solved, config.seed, "human solutions", round_index)
    drawn = {each.problem_id: each for each in islice(_passing(order, problems, config), wanted)}
    if len(drawn) < wanted:
        raise ConfigError(
            f"data.mix = {config.data.mix:g}: round {round_index} is to train on {wanted} human solutions, but of "
            f"{len(problems)} training problems ({config.problems.train}) {len(solved)} have one, and {len(drawn)} of these pass "
            "their own verifier: lower data.mix or prune.size, or map the column of your file with problems.columns.solution"
        )
    return HumanPart(drawn, apart=config.data.mix_problems == "apart")


def require_solutions(problems: Mapping[str, Problem], config: RunConfig) -> None:
    """Raise ConfigError when a run trains on human solutions and its training problems cannot give them."""
    if config.data.source == "human" and not any(problem.solution for problem in problems.values()):
        raise ConfigError(
            f'data.source = "human", but no training problem ({config.problems.train}) has a solution: take a source that has '
            "some, or map the column of your file with problems.columns.solution"
        )
    if config.data.mix:
        largest = max(range(1, config.rounds + 1), key=lambda index: human_size(config, index))
        human_part(problems, config, largest)


def _passing(order: list[str], problems: Mapping[str, Problem], config: RunConfig) -> Iterator[Trace]:
    for start in range(0, len(order), _JUDGED_AT_ONCE):
        ids = order[start : start + _JUDGED_AT_ONCE]
        traces = [replace(human_trace(problems[problem_id]), sample=HUMAN_SAMPLE) for problem_id in ids]
        verdicts = judge(traces, problems, limits=config.verify)
        yield from (trace for trace, said in zip(traces, verdicts, strict=True) if _passes(trace, said, config.prune))


def _passes(trace: Trace, verdict: Verdict, policy: PruneConfig) -> bool:
    if verdict.outcome is not Outcome.CORRECT or (policy.require_format and not verdict.strict):
        return False
    return not (policy.require_true_steps and check_steps(trace.completion).false)
