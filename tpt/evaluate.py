"""Evaluate: from the held-out problems' traces and verdicts to an EvalReport.

Evaluation is thinking and verifying on held-out problems: the traces come from the same code as those for training.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from tpt.equations import equation_chain
from tpt.records import Estimate, EvalReport, Outcome, Trace, Verdict
from tpt.seeds import seed_for
from tpt.stats import answer_entropy, maj_at_k, pass_at_k, rarefied
from tpt.verifiers.number import canonical_answer

_GOLD = "\0gold"
"""Stands for the right answer among the votes; no answer read from a completion can be spelt so."""
_RAREFIED_TO = 4
"""Correct traces of a problem among which distinct equation chains are counted."""


def evaluation_report(
    traces: Sequence[Trace], verdicts: Sequence[Verdict], *, ks: Sequence[int], seed: int
) -> EvalReport:
    """Compute the scores of one model; ``ks`` empty means 1, 2, 4, … up to the samples of a problem.

    Raises:
        EstimateError: a k is larger than the samples of some problem.
    """
    grouped = by_problem(verdicts)
    chosen = sorted({1, *ks}) if ks else default_ks(verdicts)
    counts = Counter(str(verdict.outcome) for verdict in verdicts)
    answers = [[_answer(verdict) for verdict in group] for group in grouped.values()]
    correct = [[_is_correct(verdict) for verdict in group] for group in grouped.values()]
    return EvalReport(
        problems=len(grouped),
        samples=min(map(len, grouped.values())),
        outcomes={str(outcome): counts[str(outcome)] for outcome in Outcome},
        pass_at_k={k: pass_at_k_of_verdicts(verdicts, k, strict=True) for k in chosen},
        pass_at_k_lenient={k: pass_at_k_of_verdicts(verdicts, k, strict=False) for k in chosen},
        maj_at_k={k: maj_at_k(answers, correct, k, seed=seed_for(seed, "maj", k) % 2**32) for k in (chosen[-1],)},
        diversity=_diversity(traces, grouped),
        lengths=_lengths(traces),
    )


def by_problem(verdicts: Sequence[Verdict]) -> dict[str, list[Verdict]]:
    """Group verdicts by problem, in the order of the problem ids."""
    grouped: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        grouped[verdict.problem_id].append(verdict)
    return dict(sorted(grouped.items()))


def problem_scores(verdicts: Sequence[Verdict]) -> dict[str, tuple[float, float]]:
    """Return problem id to its share of samples that are right: (strict, lenient)."""
    return {
        problem_id: (sum(v.strict for v in group) / len(group), sum(map(_is_correct, group)) / len(group))
        for problem_id, group in by_problem(verdicts).items()
    }


def default_ks(verdicts: Sequence[Verdict]) -> list[int]:
    """Return 1, 2, 4, … and the number of samples that every problem has."""
    most = min(map(len, by_problem(verdicts).values()))
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})


def pass_at_k_of_verdicts(verdicts: Sequence[Verdict], k: int, *, strict: bool) -> Estimate:
    """Return unbiased pass@k over problems, counting a trace as correct strictly or leniently.

    Raises:
        EstimateError: some problem has fewer than k samples.
    """
    grouped = by_problem(verdicts)
    correct = [sum(v.strict if strict else _is_correct(v) for v in group) for group in grouped.values()]
    return pass_at_k(correct, [len(group) for group in grouped.values()], k, problem_ids=list(grouped))


def _is_correct(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.CORRECT


def _answer(verdict: Verdict) -> str | None:
    """Right answers are one answer however they are spelt; what can't be read is none."""
    if _is_correct(verdict):
        return _GOLD
    return canonical_answer(verdict.extracted) if verdict.outcome is Outcome.WRONG and verdict.extracted else None


def _diversity(traces: Sequence[Trace], grouped: dict[str, list[Verdict]]) -> dict[str, float]:
    correct = {(v.problem_id, v.sample) for group in grouped.values() for v in group if _is_correct(v)}
    chains: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for trace in traces:
        if (trace.problem_id, trace.sample) in correct:
            chains[trace.problem_id][equation_chain(trace.completion)] += 1
    enough = [list(c.values()) for c in chains.values() if c.total() >= _RAREFIED_TO]
    entropies = [answer_entropy([_answer(v) for v in group]) for group in grouped.values()]
    return {
        f"distinct_chains_in_{_RAREFIED_TO}": float(np.mean([rarefied(c, _RAREFIED_TO) for c in enough]))
        if enough
        else 0.0,
        "answer_entropy": float(np.mean(entropies)),
    }


def _lengths(traces: Sequence[Trace]) -> dict[str, float]:
    tokens = np.array([trace.completion_tokens for trace in traces])
    return {
        "mean": float(tokens.mean()),
        "p95": float(np.percentile(tokens, 95)),
        "truncated": sum(trace.finish_reason == "length" for trace in traces) / len(traces),
    }
