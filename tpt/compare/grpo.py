"""The outside yardstick: reinforcement learning (TRL's GRPO) with the same verifier, prompts and sampled tokens.

It stands in a run directory as one round whose checkpoint no examples were chosen for, so that the same evaluation
scores it. GRPO has no schedule of rounds: it goes on until the tokens are spent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpt.compare.budget import Limit, operations
from tpt.config import RunConfig, load_config
from tpt.engines import Completion
from tpt.errors import ModelError
from tpt.model.chat import Chat, open_chat
from tpt.records import Problem
from tpt.run.directory import RunDir
from tpt.run.manifest import read_manifest, write_manifest
from tpt.run.outputs import fingerprint
from tpt.run.sealed import digest_of
from tpt.run.stage import problems_by_id
from tpt.sampling.collect import trace_of
from tpt.seeds import seed_for
from tpt.start_model import base_model
from tpt.verifiers.judge import judge

if TYPE_CHECKING:
    from trl.trainer.grpo_config import GRPOConfig

GENERATIONS = 8
"""Completions of a problem that are held against one another."""
PROBLEMS = 8
"""Problems of one optimizer step."""
_ENDLESS = 1_000_000
"""Optimizer steps; the tokens end training long before."""


@dataclass(slots=True)
class Reward:
    """1 for a strictly right completion, 0 for any other; counts what was sampled."""

    problems: dict[str, Problem]
    chat: Chat
    config: RunConfig
    tokens: int = 0
    prompt_tokens: int = 0
    """Each prompt as often as it was answered."""
    completions: int = 0
    rewards: list[float] = field(default_factory=list)
    """Mean of each batch."""
    __name__ = "strictly_right"

    def __call__(
        self, *, problem_id: Sequence[str], completion_ids: Sequence[Sequence[int]], **unused: object
    ) -> list[float | None]:
        """Judge a batch as think and evaluate do; the trainer hands over more than is needed."""
        traces = [
            trace_of(Completion((name, index), tuple(ids), self.chat.decode(ids), "stop"), 0, self.chat)
            for index, (name, ids) in enumerate(zip(problem_id, completion_ids, strict=True))
        ]
        verdicts = judge(traces, self.problems, limits=self.config.verify)
        found = [
            float(verdict.strict and ids[-1] in self.chat.stop_ids)
            for verdict, ids in zip(verdicts, completion_ids, strict=True)
        ]
        self.tokens += sum(map(len, completion_ids))
        self.prompt_tokens += sum(len(self.chat.prompt_ids(self.problems[name])) for name in problem_id)
        self.completions += len(traces)
        self.rewards.append(sum(found) / len(found))
        return [*found]


def grpo_round(run: RunDir, limit: Limit) -> None:
    """Train round 1 until it has cost what the limit allows; a round that is trained is left alone, a killed one begins anew.

    Raises:
        ModelError: the trainer would make other prompts than the evaluation.
    """
    config, round_dir = load_config(run.config), run.round(1)
    from tpt.model.load import use_threads

    use_threads(config.threads)
    base = base_model(run, config)
    settings = {
        "seed": config.seed,
        "flops" if limit.is_flops else "tokens": int(limit.spend),
        "think": config.think.model_dump(include={"temperature", "top_p", "top_k", "max_tokens"}),
        "train": config.train.model_dump(include={"learning_rate", "weight_decay", "max_grad_norm"}),
        "grpo": {"generations": GENERATIONS, "problems": PROBLEMS},
    }
    inputs = {"problems": fingerprint(run.problems), "model": base.digest, "settings": digest_of(settings)}
    if read_manifest(round_dir, "train", inputs):
        return
    started = time.monotonic()
    problems = problems_by_id(run.problems)
    reward, trained = _train(run, config, base.spec, problems, limit)
    wall_s = round(time.monotonic() - started, 3)
    sampled = {"traces": reward.completions, "completion_tokens": reward.tokens, "wall_s": 0.0}
    sampled["prompt_tokens"] = reward.prompt_tokens
    write = partial(write_manifest, round_dir, inputs=inputs, settings=settings)
    write("think", outputs={}, counts=sampled)
    write("prune", outputs={}, counts={"wall_s": 0.0})
    counts = {**trained, "wall_s": wall_s, "rewards": reward.rewards}
    write("train", outputs={"checkpoint": round_dir.checkpoint}, counts=counts)


def _train(
    run: RunDir, config: RunConfig, spec: str, problems: dict[str, Problem], limit: Limit
) -> tuple[Reward, dict[str, int]]:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl.trainer.grpo_trainer import GRPOTrainer

    from tpt.model.load import load_model, load_tokenizer
    from tpt.sft import save_checkpoint

    cache, round_dir = run.path / "cache", run.round(1)
    chat = open_chat(config.asked_prompt, spec, cache)
    tokenizer: Any = load_tokenizer(spec, cache=cache)
    # The trainer ends a completion at one token only; the template's end of turn is the one that is trained and sampled.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(chat.end_of_turn_id)
    rows = [{"prompt": chat.messages(problem), "problem_id": problem.id} for problem in problems.values()]
    _check_prompts(chat, tokenizer, list(problems.values()))
    reward = Reward(problems, chat, config)
    weights = load_model(spec, dtype="float32", device="auto", cache=cache)

    def trained() -> dict[str, int]:
        tokens = {"target_tokens": reward.tokens, "total_tokens": reward.tokens + reward.prompt_tokens}
        return {"examples": reward.completions, **tokens, "parameters": weights.num_parameters()}

    class UntilSpent(TrainerCallback):
        """Ends training when the tokens are spent."""

        def on_step_end(self, args: Any, state: Any, control: Any, **unused: object) -> None:
            """See TrainerCallback."""
            # Every token that is sampled or read is trained on too.
            read, parameters = trained()["total_tokens"], trained()["parameters"]
            cost = operations(parameters, read=read, trained=read) if limit.is_flops else reward.tokens
            control.should_training_stop = cost >= limit.spend

    trainer = GRPOTrainer(
        model=weights,
        reward_funcs=reward,
        args=_arguments(config, cache / "grpo"),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[UntilSpent()],
    )
    trainer.train()
    save_checkpoint(weights, chat, round_dir.checkpoint)
    return reward, {**trained(), "steps": int(trainer.state.global_step)}


def _arguments(config: RunConfig, out: Path) -> GRPOConfig:
    from trl.trainer.grpo_config import GRPOConfig

    return GRPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=GENERATIONS * PROBLEMS,
        num_generations=GENERATIONS,
        max_completion_length=config.think.max_tokens,
        temperature=config.think.temperature,
        top_p=config.think.top_p,
        top_k=config.think.top_k,
        learning_rate=config.train.learning_rate,
        weight_decay=config.train.weight_decay,
        max_grad_norm=config.train.max_grad_norm,
        lr_scheduler_type="constant",
        max_steps=_ENDLESS,
        use_cpu=config.engine.device == "cpu",
        bf16=False,
        gradient_checkpointing=False,
        seed=seed_for(config.seed, "grpo") % 2**31,
        save_strategy="no",
        report_to=[],
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _check_prompts(chat: Chat, tokenizer: Any, problems: Sequence[Problem]) -> None:
    """Raise unless the trainer's prompts are the evaluation's, id for id."""
    for problem in problems[:20]:
        ids = tokenizer.apply_chat_template(
            [chat.messages(problem)], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"][0]
        if tuple(ids) != chat.prompt_ids(problem):
            raise ModelError(
                f"problem {problem.id}: GRPO's trainer would ask with other prompt tokens than the evaluation does, so "
                "the two could not be compared: leave the grpo arm out for this model"
            )
