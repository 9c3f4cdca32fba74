"""What each policy maximises: every row of docs/objectives.md, by enumerating all samples of a small softmax.

A policy chooses examples from N samples of one problem; the update is the sum of weight times the gradient of the example's
log-probability. Its expectation over all samples is computed exactly, through the package's own pruning, and held against
the row's formula. The model is a softmax over five one-token traces, of which the first two are right.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from tpt.config import PruneConfig
from tpt.prune import select
from tpt.records import Example, Outcome, Problem, Trace, Verdict
from tpt.scoring import FloatArray
from tpt.system.own_code import load_own_code

METHODS = Path(__file__).parents[1] / "examples" / "methods"
PROBLEM = Problem("p", "?", "0")
LOGITS = np.array([0.3, -0.4, 0.9, 0.1, -1.0])
PI: FloatArray = np.exp(LOGITS) / np.exp(LOGITS).sum()
RIGHT = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
P = float(PI @ RIGHT)
GRADS: FloatArray = np.eye(5) - PI
"""Row y: the gradient of log pi(y) by the logits."""
N = 3
GRAD_P: FloatArray = (PI * RIGHT) @ GRADS
GRAD_LOG_P: FloatArray = GRAD_P / P


def pruned(samples: Sequence[int], policy: PruneConfig) -> list[Example]:
    """Return what the package's pruning keeps of the samples of one problem."""
    traces = [Trace("p", n, f"trace {y}", "stop", 1, n) for n, y in enumerate(samples)]
    verdicts = [
        Verdict("p", n, Outcome.CORRECT if RIGHT[y] else Outcome.WRONG, bool(RIGHT[y]), f"{y}" if y < 4 else "3")
        for n, y in enumerate(samples)
    ]
    found = select(traces, verdicts, {"p": PROBLEM}, policy=policy, messages=lambda problem: [], seed=0, round_index=1)
    return found.examples


def chosen(samples: Sequence[int], policy: PruneConfig) -> list[tuple[int, float]]:
    """Return the outcomes that are kept, and their weights."""
    return [(samples[example.sample], example.weight) for example in pruned(samples, policy)]


def expected(
    policy: dict[str, Any],
    *,
    sampled_from: FloatArray = PI,
    token_gradient: Callable[[int, float], FloatArray] = lambda y, weight: weight * GRADS[y],
) -> FloatArray:
    """Return the exact expectation of the update over all N samples."""
    config = PruneConfig.model_validate({"size": "all", "pick": "first", **policy})
    total = np.zeros(5)
    for samples in itertools.product(range(5), repeat=N):
        chance = math.prod(sampled_from[y] for y in samples)
        total += chance * sum((token_gradient(y, weight) for y, weight in chosen(samples, config)), np.zeros(5))
    return total


ALL = {"per_problem": "all", "dedupe": "none"}
MAXRL = (1 - (1 - P) ** N) * GRAD_LOG_P


def at_most(k: int) -> float:
    """Return the expectation of min(k, number of right samples)."""
    chances = [math.comb(N, b) * P**b * (1 - P) ** (N - b) for b in range(N + 1)]
    return sum(chance * min(k, b) for b, chance in enumerate(chances))


ROWS: dict[str, tuple[dict[str, Any], FloatArray]] = {
    "one right trace": ({}, MAXRL),
    "k right traces": ({"per_problem": 2, "dedupe": "none"}, at_most(2) * GRAD_LOG_P),
    "all right traces": (ALL, N * GRAD_P),
    "all right traces, one weight a problem": ({**ALL, "weigh": f"{METHODS}/per_problem.py:weigh"}, MAXRL),
    "all different right traces": (
        {"per_problem": "all", "dedupe": "exact"},
        np.asarray(sum((1 - (1 - PI[y]) ** N) * GRADS[y] for y in (0, 1))),
    ),
    "no pruning": ({"correct_only": False}, np.zeros(5)),
    "right at 0.1, wrong at -1": (
        {**ALL, "keep": f"{METHODS}/negatives.py:keep", "weigh": f"{METHODS}/wrong_only.py:weigh"},
        1.1 * N * GRAD_P,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_policy_s_update_is_in_expectation_what_the_page_says(row: str) -> None:
    policy, formula = ROWS[row]
    np.testing.assert_allclose(expected(policy), formula, atol=1e-14)


def test_one_right_trace_climbs_the_truncated_logarithm_of_the_solve_rate() -> None:
    def objective(logits: FloatArray) -> float:
        pi = np.exp(logits) / np.exp(logits).sum()
        return -sum((1 - float(pi @ RIGHT)) ** n / n for n in range(1, N + 1))

    step = 1e-6
    slope = [(objective(LOGITS + step * e) - objective(LOGITS - step * e)) / (2 * step) for e in np.eye(5)]
    np.testing.assert_allclose(slope, MAXRL, atol=1e-8)


def test_negatives_with_a_bounded_loss() -> None:
    policy = {**ALL, "keep": f"{METHODS}/negatives.py:keep", "weigh": f"{METHODS}/negatives.py:weigh"}
    # Of one-token traces the surrogate p - 1 has the gradient p grad log p.
    found = expected(policy, token_gradient=lambda y, weight: weight * GRADS[y] * (1.0 if weight > 0 else PI[y]))
    some_of_both = 1 - (1 - P) ** N - P**N
    wrong = PI * (1 - RIGHT) / (1 - P)
    np.testing.assert_allclose(found, MAXRL - 0.5 * some_of_both * (wrong * PI) @ GRADS, atol=1e-14)


def test_dft_weighs_right_traces_by_their_own_probability() -> None:
    found = expected({}, token_gradient=lambda y, weight: weight * PI[y] * GRADS[y])
    np.testing.assert_allclose(found, (1 - (1 - P) ** N) / P * (RIGHT * PI * PI) @ GRADS, atol=1e-14)


def test_another_temperature_is_not_the_model_s_own_gradient() -> None:
    cold = np.exp(LOGITS / 0.7) / np.exp(LOGITS / 0.7).sum()
    share = float(cold @ RIGHT)
    formula = (1 - (1 - share) ** N) / share * (cold * RIGHT) @ GRADS
    np.testing.assert_allclose(expected({}, sampled_from=cold), formula, atol=1e-14)
    cosine = formula @ GRAD_LOG_P / np.linalg.norm(formula) / np.linalg.norm(GRAD_LOG_P)
    assert 0.9 < cosine < 1 - 1e-4
    # Without any verdict it sharpens: towards what is likeliest already.
    unpruned = expected({"correct_only": False}, sampled_from=cold)
    assert unpruned[int(LOGITS.argmax())] > 0.05
    np.testing.assert_allclose(unpruned, cold @ GRADS, atol=1e-14)


@pytest.mark.parametrize(("false_positives", "false_negatives"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.3), (0.2, 0.2)])
def test_a_verifier_that_errs(false_positives: float, false_negatives: float) -> None:
    """The chance that a trace is kept takes the place of being right; exact, as its flips are independent of the samples."""
    kept = np.where(RIGHT > 0, 1 - false_negatives, false_positives)
    rate = float(PI @ kept)
    formula = (1 - (1 - rate) ** N) / rate * (PI * kept) @ GRADS
    total = np.zeros(5)
    for samples in itertools.product(range(5), repeat=N):
        for flags in itertools.product([True, False], repeat=N):
            chance = math.prod(
                PI[y] * (kept[y] if flag else 1 - kept[y]) for y, flag in zip(samples, flags, strict=True)
            )
            first = next((y for y, flag in zip(samples, flags, strict=True) if flag), None)
            total += chance * (GRADS[first] if first is not None else 0)
    np.testing.assert_allclose(total, formula, atol=1e-14)
    precision = P * (1 - false_negatives) / (P * (1 - false_negatives) + (1 - P) * false_positives)
    assert float(PI * kept @ RIGHT) / rate == pytest.approx(precision)


def test_a_hint_from_the_m_th_sample_on() -> None:
    hinted = np.array([0.5, 0.2, 0.1, 0.1, 0.1])
    answer, unhinted, tries = load_own_code(f"{METHODS}/star.py:answer"), 4, 6
    assert [bool(answer(PROBLEM, n)) for n in range(tries)] == [False] * unhinted + [True] * (tries - unhinted)
    q = float(hinted @ RIGHT)
    total, unsolved = np.zeros(5), 1.0
    for n in range(tries):
        drawn = hinted if answer(PROBLEM, n) else PI
        total += unsolved * (drawn * RIGHT) @ GRADS
        unsolved *= 1 - float(drawn @ RIGHT)
    missed = (1 - P) ** unhinted
    by_hint = missed * (1 - (1 - q) ** (tries - unhinted)) / q * (hinted * RIGHT) @ GRADS
    np.testing.assert_allclose(total, (1 - missed) * GRAD_LOG_P + by_hint, atol=1e-14)


def test_a_solution_in_every_prompt() -> None:
    hint = load_own_code(f"{METHODS}/sdft.py:solution")
    solved = replace(PROBLEM, solution="1 - 1 = 0")
    assert all("1 - 1 = 0" in hint(solved, n) for n in range(N)) and not hint(PROBLEM, 0)
    shown = np.array([0.5, 0.2, 0.1, 0.1, 0.1])
    q = float(shown @ RIGHT)
    formula = (1 - (1 - q) ** N) / q * (shown * RIGHT) @ GRADS
    np.testing.assert_allclose(expected({}, sampled_from=shown), formula, atol=1e-14)


def test_gem_is_cross_entropy_of_a_sharper_model() -> None:
    beta = load_own_code(f"{METHODS}/gem.py:train").__globals__["BETA"]
    sharp = np.exp(LOGITS / beta) / np.exp(LOGITS / beta).sum()
    # What its trainer minimises, beta times the cross-entropy of the logits over beta, at every outcome.
    logits = torch.tensor(LOGITS, requires_grad=True)
    for y in range(5):
        loss = -beta * (logits / beta).log_softmax(-1)[y]
        (slope,) = torch.autograd.grad(loss, logits)
        np.testing.assert_allclose(slope.numpy(), sharp - np.eye(5)[y], atol=1e-14)
    found = expected({}, token_gradient=lambda y, weight: weight * (np.eye(5)[y] - sharp))
    shares = (1 - (1 - P) ** N) / P * PI * RIGHT
    np.testing.assert_allclose(found, shares - shares.sum() * sharp, atol=1e-14)


def test_nft_climbs_the_solve_rate_over_the_wrong_rate() -> None:
    loss = load_own_code(f"{METHODS}/nft.py:loss")

    def gradient(y: int, weight: float) -> FloatArray:
        log_ratio = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(loss(log_ratio, weight), log_ratio)
        return -float(slope) * GRADS[y]

    policy = {**ALL, "keep": f"{METHODS}/negatives.py:keep", "weigh": f"{METHODS}/nft.py:weigh"}
    found = expected(policy, token_gradient=gradient)
    np.testing.assert_allclose(found, N * (1 - P ** (N - 1)) / (1 - P) * GRAD_P, atol=1e-14)
    # Far from the start model a wrong trace pushes no further.
    far = torch.tensor([2.0], requires_grad=True)
    assert torch.autograd.grad(loss(far, -0.5), far)[0] == 0


def test_revisions_pair_a_wrong_trace_with_a_right_one() -> None:
    with_revisions = load_own_code(f"{METHODS}/revise.py:with_revisions")
    policy = {**ALL, "keep": f"{METHODS}/negatives.py:keep", "weigh": f"{METHODS}/revise.py:weigh"}
    config = PruneConfig.model_validate({"size": "all", "pick": "first", **policy})
    plain, pairs = np.zeros(5), np.zeros((5, 5))
    for samples in itertools.product(range(5), repeat=N):
        chance = math.prod(PI[y] for y in samples)
        for example in with_revisions(pruned(samples, config)):
            texts = [int(each["content"].split()[1]) for each in example.messages if each["role"] == "assistant"]
            if len(texts) == 1:
                plain += chance * GRADS[texts[0]]
            else:
                pairs[texts[0], texts[1]] += chance
    np.testing.assert_allclose(plain, N * GRAD_P, atol=1e-14)
    chances = [math.comb(N, b) * P**b * (1 - P) ** (N - b) for b in range(N + 1)]
    count = sum(chance * min(b, N - b) for b, chance in enumerate(chances))
    wrong, right = PI * (1 - RIGHT) / (1 - P), PI * RIGHT / P
    np.testing.assert_allclose(pairs, count * np.outer(wrong, right), atol=1e-14)


def test_the_majority_s_answer_in_place_of_gold() -> None:
    policy = {"per_problem": 1, "keep": f"{METHODS}/vote.py:keep", "weigh": f"{METHODS}/vote.py:weigh"}
    found = expected({**policy, "dedupe": "none"})
    # The likeliest answer is a wrong one, and it is what is learnt.
    assert found.argmax() == PI.argmax() == 2
    assert all(found[y] < 0 for y in range(5) if y != 2)


def test_every_row_is_on_the_page() -> None:
    page = (Path(__file__).parents[1] / "docs" / "objectives.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert f"| {row} |" in page
