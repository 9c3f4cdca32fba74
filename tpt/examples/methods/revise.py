"""Self-revision pairs: besides its right traces the model learns to turn its own wrong ones into them.

Objective: that of all right traces, N times the gradient of the solve rate, and as much as there are pairs, E min(B, N - B) for B
right ones of N samples, the gradient of E log p(right | question, wrong) over a right and a wrong trace drawn independently.
After phase 1 of SD-Zero (arXiv 2604.12002), of which only the abstract was read: there the model itself rewrites the wrong
trace, here the rewriting is another of its samples of the same problem.

    think.sampler = "fixed"
    prune.per_problem = "all"
    prune.dedupe = "none"
    prune.keep = "negatives.py:keep"
    prune.weigh = "revise.py:weigh"
    train.trainer = "revise.py:train"
"""

from dataclasses import replace
from itertools import groupby
from typing import Any

from msgspec.structs import replace as changed

from tpt import Example, Outcome, Problem, Trace, Verdict
from tpt.train import Training

ASK = "That was wrong. Solve it again."


def weigh(problem: Problem, pairs: list[tuple[Trace, Verdict]]) -> list[float]:
    return [1.0 if verdict.outcome is Outcome.CORRECT else -1.0 for _, verdict in pairs]


def with_revisions(examples: list[Example]) -> list[Example]:
    """Return the right ones, and of each problem pairs of a wrong one in the prompt and a right one to be learnt."""
    found = [example for example in examples if example.weight > 0]
    for _, group in groupby(examples, key=lambda example: example.problem_id):
        whole = list(group)
        right, wrong = ([each for each in whole if (each.weight > 0) == sign] for sign in (True, False))
        for better, worse in zip(right, wrong, strict=False):
            asked = [*worse.messages, {"role": "user", "content": ASK}, better.messages[-1]]
            found.append(changed(better, messages=asked))
    return found


def train(training: Training) -> dict[str, Any]:
    plain = training.config.model_copy(update={"trainer": ""})
    pairs = with_revisions(list(training.examples))
    # Revisions are asked with another prompt than the problems are, so they are not held against it.
    counts = replace(training, examples=pairs, problems={}, config=plain, out=training.out / "model")(None)
    for path in (training.out / "model").iterdir():
        path.rename(training.out / path.name)
    return {name: counts[name] for name in ("examples", "loss_first", "loss_last", "target_tokens", "total_tokens")}
