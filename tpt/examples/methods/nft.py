"""NFT: wrong traces too, by the model of wrong answers that follows from the learner (arXiv 2505.18116).

Objective: with r for a problem's share of right samples and R = p / p_start of a token, right traces have the loss -log R and
wrong ones -log((1 - r R) / (1 - r)), bounded: the start model less r times the learner models the wrong. The first step goes
up N (1 - p^(N-1)) / (1 - p) times the gradient of the solve rate p. Derived from the abstract; no weights of problems.

    think.sampler = "fixed"
    prune.per_problem = "all"
    prune.dedupe = "none"
    prune.keep = "negatives.py:keep"
    prune.weigh = "nft.py:weigh"
    train.trainer = "nft.py:train"
"""

import random
from typing import Any

import torch

from tpt import Outcome, Problem, Trace, Verdict
from tpt.model.chat import IGNORED_LABEL, open_chat
from tpt.model.load import load_model, load_tokenizer
from tpt.train import Training

EPSILON = 0.1


def weigh(problem: Problem, pairs: list[tuple[Trace, Verdict]]) -> list[float]:
    right = [verdict.outcome is Outcome.CORRECT for _, verdict in pairs]
    return [(1.0 if each else -sum(right) / len(right)) if 0 < sum(right) < len(right) else 0.0 for each in right]


def loss(log_ratio: torch.Tensor, weight: float) -> torch.Tensor:
    if weight > 0:
        return -log_ratio.sum()
    return -((1 + weight * log_ratio.exp()) / (1 + weight)).clamp(min=EPSILON).log().sum()


def train(training: Training) -> None:
    config, start = training.config, training.start
    chat = open_chat(training.prompt, start.model, start.cache)
    models = [load_model(start.model, dtype="float32", device="cpu", cache=start.cache) for _ in range(2)]
    rows = [(*chat.training_ids(each.messages, each.token_ids), each.weight) for each in training.examples]
    optimizer = torch.optim.AdamW(models[0].parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    for epoch in range(config.epochs):
        random.Random(f"{training.seed}/{epoch}").shuffle(rows)
        for at in range(0, len(rows), config.batch_size):
            for ids, labels, weight in rows[at : at + config.batch_size]:
                new, old = (_log_p(model, ids, labels) for model in models)
                torch.autograd.backward(loss(new - old.detach(), weight) / config.batch_size)
            optimizer.step()
            optimizer.zero_grad()
    for part in (models[0], load_tokenizer(start.model, cache=start.cache)):
        part.save_pretrained(training.out)


def _log_p(model: Any, ids: list[int], labels: list[int]) -> Any:
    trained = [at for at, label in enumerate(labels) if label != IGNORED_LABEL]
    logits = model(torch.tensor([ids])).logits[0, [at - 1 for at in trained]]
    return logits.log_softmax(-1).gather(-1, torch.tensor([[ids[at]] for at in trained])).squeeze(-1)
