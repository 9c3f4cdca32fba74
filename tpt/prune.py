"""Prune: keep only traces proved correct, and choose from them the constant-size training set.

The paper's policy (one unique correct trace of each of M random solved problems, replaced every round) is the
default; the others are values of the same settings.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tpt.config import PruneConfig
from tpt.equations import equation_chain
from tpt.errors import RunError
from tpt.records import Example, Message, Outcome, Problem, Trace, Verdict
from tpt.seeds import seed_for, shuffled
from tpt.steps import check_steps
from tpt.verifiers.kinds import judge_one

_PASSED = re.compile(r"; passed ([0-9]+)/([0-9]+)\Z")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was kept, and from how much."""

    examples: list[Example]
    problems: int
    solved_problems: int
    """Problems with at least one keepable trace."""
    keepable_traces: int
    partly_right_traces: int
    """Keepable ones that are not correct and passed only a share of their tests; 0 unless asked for."""
    false_step_traces: int
    """Traces that only a false step keeps from being keepable; 0 unless true steps are required."""
    duplicate_traces: int
    size_wanted: int | None
    """None for all that are solved."""
    problems_kept: int


def is_keepable(trace: Trace, verdict: Verdict, problem: Problem, policy: PruneConfig) -> bool:
    """Return whether a trace may be trained on; one cut off at max_tokens never may."""
    return _has_keepable_answer(trace, verdict, problem, policy) and not _has_barred_step(trace, policy)


def is_wrong_as_asked(trace: Trace, verdict: Verdict, problem: Problem) -> bool:
    """Return whether a trace's answer is wrong but written in the asked format; never true of programs.

    It is written as asked when it would be strictly right, were it the right one: so every verifier's own rule of what
    strict means decides.
    """
    if verdict.outcome is not Outcome.WRONG or not verdict.extracted or problem.kind == "code":
        return False
    return judge_one(replace(problem, answer=verdict.extracted), trace.completion).strict


def _has_keepable_answer(trace: Trace, verdict: Verdict, problem: Problem, policy: PruneConfig) -> bool:
    if trace.finish_reason != "stop":
        return False
    if policy.wrong_only:
        return is_wrong_as_asked(trace, verdict, problem)
    if not policy.correct_only:
        return True
    if verdict.outcome is Outcome.CORRECT:
        return verdict.strict or not policy.require_format
    return _is_partly_right(verdict, policy)


def _is_partly_right(verdict: Verdict, policy: PruneConfig) -> bool:
    if not policy.min_tests_passed or verdict.outcome not in (Outcome.WRONG, Outcome.TIMEOUT):
        return False
    return share_passed(verdict) >= policy.min_tests_passed


def share_passed(verdict: Verdict) -> float:
    """Return the share of its tests that a program passed, as its verdict's detail ends in; 0 where it says nothing."""
    found = _PASSED.search(verdict.detail)
    return int(found[1]) / max(1, int(found[2])) if found else 0.0


def _has_barred_step(trace: Trace, policy: PruneConfig) -> bool:
    return policy.require_true_steps and bool(check_steps(trace.completion).false)


def wanted_size(policy: PruneConfig, round_index: int) -> int | None:
    """Return how many problems round ``round_index`` (from 1) trains on; None for all that are solved."""
    if policy.size == "all":
        return None
    return max(1, round(policy.size * policy.growth ** (round_index - 1)))


def problem_order(problem_ids: Sequence[str], seed: int, round_index: int) -> list[str]:
    """Return the random order in which a round walks its problems, the same for sampling and selection."""
    return shuffled(list(problem_ids), seed, "problem order", round_index)


def select(
    traces: Sequence[Trace],
    verdicts: Sequence[Verdict],
    problems: Mapping[str, Problem],
    *,
    policy: PruneConfig,
    messages: Callable[[Problem], list[Message]],
    seed: int,
    round_index: int,
) -> Pruned:
    """Choose the training examples of a round; sorted by ``(problem_id, sample)``.

    Problems are taken in the round's random order until ``size`` have a keepable trace; in which order the traces come
    makes no difference.

    Raises:
        RunError: a trace has no verdict.
    """
    by_problem: dict[str, list[Trace]] = defaultdict(list)
    keepable = false_steps = partly_right = 0
    judged = {(verdict.problem_id, verdict.sample): verdict for verdict in verdicts}
    for trace in traces:
        verdict = judged.get((trace.problem_id, trace.sample))
        if verdict is None:
            raise RunError(
                f"problem {trace.problem_id!r}, sample {trace.sample}: the trace has no verdict; judge it first"
            )
        if not _has_keepable_answer(trace, verdict, problems[trace.problem_id], policy):
            continue
        if _has_barred_step(trace, policy):
            false_steps += 1
        else:
            by_problem[trace.problem_id].append(trace)
            keepable += 1
            partly_right += policy.correct_only and verdict.outcome is not Outcome.CORRECT
    unique = {problem_id: _without_duplicates(found, policy.dedupe) for problem_id, found in by_problem.items()}
    size = wanted_size(policy, round_index)
    order = [each for each in problem_order(list(problems), seed, round_index) if each in unique]
    picked = {
        problem_id: _picked(unique[problem_id], policy, random.Random(seed_for(seed, "pick", round_index, problem_id)))
        for problem_id in (order if size is None else order[:size])
    }
    picked = _at_most(picked, policy.max_examples)
    return Pruned(
        examples=[
            _example(trace, messages(problems[problem_id]))
            for problem_id, kept in sorted(picked.items())
            for trace in kept
        ],
        problems=len(problems),
        solved_problems=len(unique),
        keepable_traces=keepable,
        partly_right_traces=partly_right,
        false_step_traces=false_steps,
        duplicate_traces=keepable - sum(map(len, unique.values())),
        size_wanted=size,
        problems_kept=len(picked),
    )


def _example(trace: Trace, prompt: list[Message]) -> Example:
    answer: Message = {"role": "assistant", "content": trace.completion}
    return Example(problem_id=trace.problem_id, sample=trace.sample, messages=[*prompt, answer])


def _at_most(picked: dict[str, list[Trace]], most: int) -> dict[str, list[Trace]]:
    """Return the first problems that together have no more than so many traces, but one problem in any case; 0: all."""
    kept: dict[str, list[Trace]] = {}
    count = 0
    for problem_id, traces in picked.items():
        count += len(traces)
        if most and kept and count > most:
            break
        kept[problem_id] = traces
    return kept


def _without_duplicates(traces: list[Trace], dedupe: str) -> list[Trace]:
    if dedupe == "none":
        return traces
    seen: dict[object, Trace] = {}
    for trace in sorted(traces, key=lambda trace: trace.sample):
        chain = tuple(equation_chain(trace.completion)) if dedupe == "equations" else ()
        # Traces without any equation have no chain to compare, so their text stands for it.
        seen.setdefault(chain or trace.completion.strip(), trace)
    return list(seen.values())


def _picked(traces: list[Trace], policy: PruneConfig, random_source: random.Random) -> list[Trace]:
    count = len(traces) if policy.per_problem == "all" else min(policy.per_problem, len(traces))
    ordered = sorted(traces, key=lambda trace: trace.sample)
    if policy.pick == "random":
        picked = random_source.sample(ordered, count)
    elif policy.pick == "diverse":
        picked = _most_diverse(ordered, count, random_source)
    elif policy.pick == "first":
        picked = ordered[:count]
    else:
        longest_first = policy.pick == "longest"
        picked = sorted(ordered, key=lambda trace: trace.completion_tokens, reverse=longest_first)[:count]
    return sorted(picked, key=lambda trace: trace.sample)


def _most_diverse(traces: list[Trace], count: int, random_source: random.Random) -> list[Trace]:
    """Start from a random trace and add, each time, the one least like those already picked."""
    grams = {trace.sample: _word_pairs(trace.completion) for trace in traces}
    picked = [random_source.choice(traces)]
    while len(picked) < count:
        rest = [trace for trace in traces if trace not in picked]
        picked.append(min(rest, key=lambda t: max(_likeness(grams[t.sample], grams[p.sample]) for p in picked)))
    return picked


def _word_pairs(text: str) -> set[tuple[str, str]]:
    words = text.split()
    return set(pairwise(words))


def _likeness(one: set[tuple[str, str]], other: set[tuple[str, str]]) -> float:
    """Jaccard index."""
    return len(one & other) / max(1, len(one | other))
