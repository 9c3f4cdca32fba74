"""Prune: keep only traces proved correct, and choose from them the constant-size training set.

Reads the round's problems, traces and verdicts; leaves examples.jsonl and prune.json.

The paper's policy (one unique correct trace of each of M random solved problems, replaced every round) is the
default; the others are values of the same settings. A share of the set can be human solutions, see mix.py.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tpt.config import PruneConfig, VerifyConfig
from tpt.config.own_code_keys import own_code_settings
from tpt.errors import OwnCodeError, RunError
from tpt.mix import HumanPart, human_part, wanted_size
from tpt.model.chat import open_chat
from tpt.records import Example, Message, Outcome, Problem, Trace, Verdict, judged_text
from tpt.run.journal import Journal, Pair, solve_rate
from tpt.run.manifest import read_manifest, write_manifest
from tpt.run.outputs import fingerprint
from tpt.run.problem_order import problem_order, walked_order
from tpt.run.sealed import digest_of
from tpt.run.stage import StageContext, problems_by_id
from tpt.scoring.equations import equation_chain
from tpt.scoring.pick import pick_traces
from tpt.seeds import seed_for
from tpt.start_model import output_of, require_weights, sampled_model_of
from tpt.system.jsonl import iterate_records, replace_records, to_table
from tpt.system.own_code import call_own_code
from tpt.verifiers.judge import judge_one
from tpt.verifiers.steps import check_steps

Group = tuple[str, list[Pair]]
"""A problem's id and all its traces with their verdicts."""


def prune_stage(context: StageContext) -> dict[str, Any]:
    """Choose this round's training examples from its traces and verdicts."""
    config, round_dir, run = context.config, context.round_dir, context.run
    settings = {
        "seed": config.seed,
        "prune": config.prune.model_dump(),
        "data": config.data.model_dump(exclude={"file_rounds"}),
        **own_code_settings(config, "prune.pick", "prune.keep", "prune.weigh", "think.order"),
    }
    inputs = {
        "problems": fingerprint(run.problems),
        "traces": output_of(round_dir, "think", "traces", round_dir.traces),
        "verdicts": output_of(round_dir, "think", "verdicts", round_dir.verdicts),
        "settings": digest_of(settings),
    }
    earlier: Path | None = None
    if config.data.mode == "accumulate" and round_dir.index > 1:
        before = run.round(round_dir.index - 1)
        inputs["earlier examples"] = output_of(before, "prune", "examples", before.examples)
        earlier = before.examples
    if done := read_manifest(round_dir, "prune", inputs):
        return done
    started = time.monotonic()
    journal = Journal(round_dir.traces, round_dir.verdicts)
    problems = problems_by_id(run.problems)
    human = human_part(problems, config, round_dir.index)
    order = walked_order(context, problems)
    pruning = Pruning(problems, config.prune, config.seed, round_dir.index, order, human, config.verify)
    found, chosen = pruning.survey(journal.problems())
    _check_yield(context, found)
    sampled = sampled_model_of(context.run, context.round_dir, context.config)
    require_weights(sampled)
    chat = open_chat(config.asked_prompt, sampled.spec, run.path / "cache")
    examples = pruning.examples(journal.problems(), chosen, chat.messages)
    kept = sum(1 for _ in iterate_records(earlier, Example)) if earlier else 0
    total = replace_records(round_dir.examples, chain(iterate_records(earlier, Example) if earlier else (), examples))
    counts = to_table(found) | {
        "examples": total,
        "new_examples": total - kept,
        "wall_s": round(time.monotonic() - started, 3),
    }
    outputs = {"examples": round_dir.examples}
    return write_manifest(round_dir, "prune", inputs=inputs, outputs=outputs, settings=settings, counts=counts)


def _check_yield(context: StageContext, found: Yield) -> None:
    """Say plainly when fewer problems were solved than the training set was to hold."""
    human, size = found.human_examples, found.size_wanted
    kept, wanted = found.problems_kept - human, None if size is None else size - human
    if kept >= (1 if wanted is None else wanted):
        return
    of_what = "prune.size less the share data.mix" if human else "prune.size"
    said = (
        f"round {context.round_dir.index} prune: {kept} problems have a keepable trace, {wanted or 'all solved'} were wanted "
        f"({of_what}). Raise think.samples, add problems, or lower prune.size"
    )
    if kept == 0:
        raise RunError(
            f"{said}. Nothing is left to train on: look at the traces with: "
            f"tpt show {context.run.path} --round {context.round_dir.index}"
        )
    if context.config.prune.if_short == "stop":
        raise RunError(f'{said}; prune.if_short = "stop" ends the run here')
    if context.progress:
        print(f"{said}; going on with {kept}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Yield:
    """How much was kept, and from how much."""

    problems: int
    solved_problems: int
    """Problems with at least one keepable trace."""
    keepable_traces: int
    partly_right_traces: int
    """Keepable ones that are not correct and passed only a share of their tests; 0 unless asked for."""
    false_step_traces: int
    """Traces that only a false step keeps from being keepable; 0 unless true steps are required."""
    duplicate_traces: int
    problems_outside_band: int
    """Problems left out by the share of their samples that is right."""
    size_wanted: int | None
    """None for all that are solved."""
    problems_kept: int
    human_examples: int
    """Of the problems kept, those whose human solution is trained on; 0 unless asked for."""


def is_keepable(
    trace: Trace,
    verdict: Verdict,
    problem: Problem,
    policy: PruneConfig,
    limits: VerifyConfig = VerifyConfig(),  # noqa: B008
) -> bool:
    """Return whether a trace may be trained on; one cut off at max_tokens never may."""
    return _has_keepable_answer(trace, verdict, problem, policy, limits) and not _has_barred_step(trace, policy)


def is_wrong_as_asked(
    trace: Trace,
    verdict: Verdict,
    problem: Problem,
    limits: VerifyConfig = VerifyConfig(),  # noqa: B008
) -> bool:
    """Return whether a trace's answer is wrong but written in the asked format; never true of programs.

    It is written as asked when it would be strictly right, were it the right one: so every verifier's own rule of what
    strict means decides.
    """
    if verdict.outcome is not Outcome.WRONG or not verdict.extracted or problem.kind == "code":
        return False
    return judge_one(replace(problem, answer=verdict.extracted), judged_text(trace), limits=limits).strict


def _has_keepable_answer(
    trace: Trace, verdict: Verdict, problem: Problem, policy: PruneConfig, limits: VerifyConfig
) -> bool:
    if trace.finish_reason != "stop":
        return False
    if policy.keep:
        return _own_keep(policy.keep, problem, trace, verdict)
    if policy.wrong_only:
        return is_wrong_as_asked(trace, verdict, problem, limits)
    if not policy.correct_only:
        return True
    if verdict.outcome is Outcome.CORRECT:
        return verdict.strict or not policy.require_format
    return _is_partly_right(verdict, policy)


def _own_keep(name: str, problem: Problem, trace: Trace, verdict: Verdict) -> bool:
    kept = call_own_code(name, problem, trace, verdict)
    if not isinstance(kept, bool):
        raise OwnCodeError(f"prune.keep = {name}: it returned {kept!r:.100} of problem {problem.id!r}; expected a bool")
    return kept


def _is_partly_right(verdict: Verdict, policy: PruneConfig) -> bool:
    if not policy.min_tests_passed or verdict.outcome not in (Outcome.WRONG, Outcome.TIMEOUT):
        return False
    return share_passed(verdict) >= policy.min_tests_passed


def share_passed(verdict: Verdict) -> float:
    """Return the share of its tests that a program passed; 0 where its verdict does not say."""
    return (verdict.tests_passed or 0) / (verdict.tests_total or 1)


def _has_barred_step(trace: Trace, policy: PruneConfig) -> bool:
    return policy.require_true_steps and not policy.keep and bool(check_steps(trace.completion).false)


@dataclass(frozen=True, slots=True)
class Pruned(Yield):
    """What was kept, and from how much."""

    examples: list[Example]


def select(
    traces: Sequence[Trace],
    verdicts: Sequence[Verdict],
    problems: Mapping[str, Problem],
    *,
    policy: PruneConfig,
    messages: Callable[[Problem], list[Message]],
    seed: int,
    round_index: int,
    limits: VerifyConfig = VerifyConfig(),  # noqa: B008
) -> Pruned:
    """Choose the training examples of a round; sorted by ``(problem_id, sample)``.

    Problems are taken in the round's random order until ``size`` have a keepable trace; in which order the traces come
    makes no difference.

    Raises:
        RunError: a trace has no verdict.
    """
    by_problem: dict[str, list[Pair]] = defaultdict(list)
    judged = {(verdict.problem_id, verdict.sample): verdict for verdict in verdicts}
    for trace in traces:
        verdict = judged.get((trace.problem_id, trace.sample))
        if verdict is None:
            raise RunError(
                f"problem {trace.problem_id!r}, sample {trace.sample}: the trace has no verdict; judge it first"
            )
        by_problem[trace.problem_id].append((trace, verdict))
    groups = sorted(by_problem.items())
    order = problem_order(list(problems), seed, round_index)
    pruning = Pruning(problems, policy, seed, round_index, order, limits=limits)
    found, chosen = pruning.survey(groups)
    return Pruned(**asdict(found), examples=list(pruning.examples(groups, chosen, messages)))


@dataclass(frozen=True, slots=True)
class Pruning:
    """How a round's traces are pruned: ``survey`` reads them all, ``examples`` those of the problems it chose.

    Both take the traces problem by problem, in the order of the ids, so that no more than one problem's are in memory.
    """

    problems: Mapping[str, Problem]
    policy: PruneConfig
    seed: int
    round_index: int
    order: Sequence[str]
    """The problems as the round walks them."""
    human: HumanPart = field(default_factory=HumanPart)
    limits: VerifyConfig = field(default_factory=VerifyConfig)

    def survey(self, groups: Iterable[Group]) -> tuple[Yield, frozenset[str]]:
        """Return what the traces yield, and the ids of the problems that are trained on."""
        count = _Count()
        picked: dict[str, int] = {}
        for problem_id, pairs in self._open(groups):
            unique = self._keepable(problem_id, pairs, count)
            if not self.policy.min_solve_rate <= solve_rate(pairs) <= self.policy.max_solve_rate:
                count.outside_band += 1
            elif unique:
                picked[problem_id] = _how_many(unique, self.policy)
        size, human = wanted_size(self.policy, self.round_index), len(self.human.solutions)
        walked = (problem_id for problem_id in self.order if problem_id in picked)
        order = list(islice(walked, None if size is None else size - human))
        chosen = _at_most(order, picked, self.policy.max_examples)
        found = Yield(
            problems=len(self.problems),
            solved_problems=len(picked),
            keepable_traces=count.keepable,
            partly_right_traces=count.partly_right,
            false_step_traces=count.false_steps,
            duplicate_traces=count.duplicates,
            problems_outside_band=count.outside_band,
            size_wanted=size,
            problems_kept=len(chosen) + human,
            human_examples=human,
        )
        return found, chosen

    def examples(
        self, groups: Iterable[Group], chosen: frozenset[str], messages: Callable[[Problem], list[Message]]
    ) -> Iterator[Example]:
        """Yield the examples of the chosen problems, and the human solutions among them, by problem and sample."""
        human = ((solution, 1.0) for _, solution in sorted(self.human.solutions.items()))
        merged = heapq.merge(human, self._chosen(groups, chosen), key=lambda each: (each[0].problem_id, each[0].sample))
        for trace, weight in merged:
            yield _example(trace, messages(self.problems[trace.problem_id]), weight)

    def _chosen(self, groups: Iterable[Group], chosen: frozenset[str]) -> Iterator[tuple[Trace, float]]:
        for problem_id, pairs in self._open(groups):
            if problem_id in chosen:
                source = random.Random(seed_for(self.seed, "pick", self.round_index, problem_id))
                keepable = self._keepable(problem_id, pairs, _Count())
                weights = {trace.sample: weight for trace, weight in keepable}
                traces = [trace for trace, _ in keepable]
                for trace in pick_traces(traces, _how_many(traces, self.policy), self.policy.pick, source):
                    yield trace, weights[trace.sample]

    def _open(self, groups: Iterable[Group]) -> Iterator[Group]:
        """Yield the problems that traces may be taken of."""
        return (group for group in groups if group[0] not in self.human.closed)

    def _keepable(self, problem_id: str, pairs: Sequence[Pair], count: _Count) -> list[tuple[Trace, float]]:
        """Return a problem's keepable traces without duplicates, with their weights, and count."""
        problem, found = self.problems[problem_id], list[Pair]()
        for trace, verdict in pairs:
            if not _has_keepable_answer(trace, verdict, problem, self.policy, self.limits):
                continue
            if _has_barred_step(trace, self.policy):
                count.false_steps += 1
            else:
                found.append((trace, verdict))
                count.partly_right += self.policy.correct_only and verdict.outcome is not Outcome.CORRECT
        unique = _without_duplicates(found, self.policy.dedupe)
        count.keepable += len(found)
        count.duplicates += len(found) - len(unique)
        if not unique or not self.policy.weigh:
            return [(trace, 1.0) for trace, _ in unique]
        weights = _own_weights(self.policy.weigh, problem, unique)
        return [(trace, weight) for (trace, _), weight in zip(unique, weights, strict=True) if weight]


@dataclass(slots=True)
class _Count:
    keepable: int = 0
    partly_right: int = 0
    false_steps: int = 0
    duplicates: int = 0
    outside_band: int = 0


def _own_weights(name: str, problem: Problem, pairs: list[Pair]) -> list[float]:
    weights = call_own_code(name, problem, pairs)
    numbers = isinstance(weights, list) and all(
        isinstance(each, int | float) and math.isfinite(each) for each in weights
    )
    if not numbers or len(weights) != len(pairs):
        raise OwnCodeError(
            f"prune.weigh = {name}: it returned {weights!r:.100} for {len(pairs)} traces of problem {problem.id!r}; expected a "
            "list with a finite number for each"
        )
    return [float(each) for each in weights]


def _example(trace: Trace, prompt: list[Message], weight: float) -> Example:
    answer: Message = {"role": "assistant", "content": trace.completion}
    return Example(
        problem_id=trace.problem_id,
        sample=trace.sample,
        messages=[*prompt, answer],
        token_ids=trace.token_ids,
        token_digest=trace.token_digest,
        weight=weight,
    )


def _at_most(order: Sequence[str], picked: Mapping[str, int], most: int) -> frozenset[str]:
    """Return the first problems that together have no more than so many traces, but one problem in any case; 0: all."""
    kept: list[str] = []
    count = 0
    for problem_id in order:
        count += picked[problem_id]
        if most and kept and count > most:
            break
        kept.append(problem_id)
    return frozenset(kept)


def _how_many(traces: Sequence[Any], policy: PruneConfig) -> int:
    return len(traces) if policy.per_problem == "all" else min(policy.per_problem, len(traces))


def distinct_by(trace: Trace, dedupe: str) -> Hashable:
    """Return what the traces of a problem that count as one have in common; see ``prune.dedupe``."""
    if dedupe == "none":
        return trace.sample
    chain = tuple(equation_chain(trace.completion)) if dedupe == "equations" else ()
    # Traces without any equation have no chain to compare, so their text stands for it.
    return chain or trace.completion.strip()


def _without_duplicates(pairs: list[Pair], dedupe: str) -> list[Pair]:
    seen: dict[Hashable, Pair] = {}
    for trace, verdict in sorted(pairs, key=lambda pair: pair[0].sample):
        seen.setdefault(distinct_by(trace, dedupe), (trace, verdict))
    return list(seen.values())
