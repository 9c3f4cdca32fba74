"""Build the embedded base model from nothing but this package: ``python -m tools.embedded_model.build [--out DIR]``.

Two stages of ordinary language-model training on the synthetic corpus: the first teaches to read and to calculate, the
second sets the mixture of authors that the finished model imitates. One process, one thread, fp32, one seed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.embedded_model.corpus import Document, Mixture, draw_documents
from tools.embedded_model.habits import Shares
from tools.embedded_model.muon import Muon
from tools.embedded_model.score import score
from tools.embedded_model.tokenizer import build_tokenizer
from tpt.model.embedded import FOLDER
from tpt.problems.procedural.word_problems import word_problems

MAX_LENGTH = 512
"""Most tokens of prompt and completion together; no document has more than half as many."""
QUESTION_WEIGHT = 0.05
"""Weight of the loss on question tokens; on completion tokens it is 1."""
BATCH_SIZE = 32
SCORED = ((0.0, 1), (0.7, 16), (0.8, 16), (1.0, 16))
"""Temperature and draws of each score in build.json."""
RECORDED_STEPS = 30
"""How many of the first losses build.json keeps, for a quick check that a rebuild starts the same."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of training with its own corpus and learning rate."""

    mixture: Mixture
    documents: int
    learning_rate: float
    """Peak rate of Muon on the matrices inside the layers; embeddings and norms get ``adamw_share`` of it."""
    adamw_share: float = 0.6
    warmup_steps: int = 50


STAGES = (
    Stage(
        Mixture(
            careful=(0.8, 0.8, 0.8, 0.8),
            guess=0.03,
            slip=0.0,
            skip=0.0,
            habits=Shares(0.5, 0.5, 0.5, 0.5, 0.5),
            other_format=0.2,
            drill=0.25,
            step_counts=(2, 3, 4, 5),
        ),
        documents=144_000,
        learning_rate=5e-3,
    ),
    Stage(
        Mixture(
            careful=(0.46, 0.46, 0.46, 0.46),
            guess=0.04,
            slip=0.0,
            skip=0.0,
            habits=Shares(0.4, 0.95, 0.95, 0.95, 0.95),
            other_format=0.3,
            drill=0.1,
            step_counts=(2, 3, 4, 5),
        ),
        documents=16_000,
        learning_rate=2.5e-3,
    ),
)


@dataclass(slots=True)
class StageLog:
    """What happened in a stage; ``tokens`` counts padding too."""

    losses: list[float]
    tokens: int = 0
    wall_s: float = 0.0


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Return the untrained model."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def train_stage(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    stage: Stage,
    rng: Random,
    *,
    last_step: int | None = None,
) -> StageLog:
    """Train the model in place; ``last_step`` ends early, on the same schedule."""
    started = time.monotonic()
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    hidden = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in hidden]
    optimizers: list[torch.optim.Optimizer] = [
        Muon(matrices, lr=stage.learning_rate),
        torch.optim.AdamW(others, lr=stage.learning_rate * stage.adamw_share, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    steps = math.ceil(stage.documents / BATCH_SIZE)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda s: _rate(s, stage.warmup_steps, steps)) for o in optimizers
    ]
    log = StageLog([])
    model.train()
    for input_ids, weights in islice(_batches(tokenizer, stage, rng), last_step):
        loss = _loss(model, input_ids, weights)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        log.losses.append(loss.item())
        log.tokens += input_ids.numel()
    log.wall_s = time.monotonic() - started
    return log


def _rate(step: int, warmup_steps: int, steps: int) -> float:
    """Rise for ``warmup_steps``, stay until half way, fall to 2 %."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return min(1.0, 1 - 0.98 * (2 * step / steps - 1))


def _batches(tokenizer: PreTrainedTokenizerFast, stage: Stage, rng: Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (input_ids, loss weights), both [batch, length]: documents of like length share a batch."""
    pool = 50 * BATCH_SIZE
    for start in range(0, stage.documents, pool):
        documents = list(draw_documents(rng, stage.mixture, min(pool, stage.documents - start)))
        rows = sorted(_encode(tokenizer, documents), key=lambda row: len(row[0]))
        batches = [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]
        rng.shuffle(batches)
        for batch in batches:
            length = max(len(ids) for ids, _ in batch)
            input_ids = torch.full((len(batch), length), int(tokenizer.pad_token_id))
            weights = torch.zeros((len(batch), length))
            for row, (ids, asked) in enumerate(batch):
                input_ids[row, : len(ids)] = torch.tensor(ids)
                weights[row, :asked] = QUESTION_WEIGHT
                weights[row, asked : len(ids)] = 1.0
            yield input_ids, weights


def _encode(tokenizer: PreTrainedTokenizerFast, documents: list[Document]) -> list[tuple[list[int], int]]:
    """Return each document's ids and how many of them are the question with its ``<s>`` and newline."""
    questions = tokenizer([d.question + "\n" if d.question else "" for d in documents])["input_ids"]
    completions = tokenizer([d.completion for d in documents])["input_ids"]
    return [
        ([tokenizer.bos_token_id, *question, *completion, tokenizer.eos_token_id], 1 + len(question))
        for question, completion in zip(questions, completions, strict=True)
    ]


def _loss(model: LlamaForCausalLM, input_ids: Tensor, weights: Tensor) -> Tensor:
    logits = model(input_ids=input_ids[:, :-1], use_cache=False).logits
    losses = cross_entropy(logits.flatten(0, 1), input_ids[:, 1:].flatten(), reduction="none")
    weights = weights[:, 1:].flatten()
    return (losses * weights).sum() / weights.sum()


def build(out: Path, *, seed: int = 0) -> dict[str, Any]:
    """Train the model, save it with its tokenizer under ``out`` and return what build.json then holds."""
    torch.set_num_threads(1)  # a second thread makes so small a model slower
    torch.use_deterministic_algorithms(True)
    started = time.monotonic()
    tokenizer = build_tokenizer()
    model = build_model(tokenizer, seed)
    logs = [train_stage(model, tokenizer, stage, stage_rng(seed, i)) for i, stage in enumerate(STAGES)]
    model.generation_config.max_new_tokens = 128
    model.save_pretrained(out)
    tokenizer.save_pretrained(out, save_jinja_files=False)
    problems = word_problems(split="heldout", size=200)
    record = {
        "seed": seed,
        "versions": {"torch": str(torch.__version__), "transformers": str(transformers.__version__)},
        "parameters": model.num_parameters(),
        "settings": {"batch_size": BATCH_SIZE, "question_weight": QUESTION_WEIGHT},
        "stages": [asdict(stage) for stage in STAGES],
        "steps": [len(log.losses) for log in logs],
        "tokens": [log.tokens for log in logs],
        "first_losses": logs[0].losses[:RECORDED_STEPS],
        "final_losses": [mean(log.losses[-100:]) for log in logs],
        "train_minutes": round((time.monotonic() - started) / 60, 1),
        "sha256": hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(),
        "scores": [
            asdict(score(model, tokenizer, problems, samples=samples, temperature=temperature, seed=seed))
            for temperature, samples in SCORED
        ],
    }
    (out / "build.json").write_text(json.dumps(record, indent=2) + "\n")
    return record


def stage_rng(seed: int, index: int) -> Random:
    """Return the random stream that a stage's corpus and batches are drawn from."""
    return Random(f"tpt.embedded/{seed}/{index}")


def main() -> None:
    """Build into ``--out`` and print the scores."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.embedded_model.build", description="Build the embedded base model."
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (default: the shipped one)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and corpus (default: 0)")
    arguments = parser.parse_args()
    record = build(arguments.out, seed=arguments.seed)
    print(json.dumps({key: record[key] for key in ("train_minutes", "final_losses", "scores")}, indent=2))


if __name__ == "__main__":
    main()
