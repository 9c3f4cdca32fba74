"""DPO through TRL: of every problem with both, a right trace is preferred to a wrong one (arXiv 2305.18290).

Objective: -log sigmoid(beta (log-ratio of the right trace - that of the wrong one)), the ratios against the round's start
model. The outside yardstick for negatives; every right trace is paired with one wrong one of its problem.

    [think]
    sampler = "fixed"
    [prune]
    per_problem = "all"
    keep = "negatives.py:keep"
    weigh = "negatives.py:weigh"
    [train]
    trainer = "dpo.py:train"
"""

from itertools import groupby
from typing import Any

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from tpt.model.load import load_model, load_tokenizer
from tpt.train import Training

BETA = 0.1


def train(training: Training) -> dict[str, Any]:
    config, start, pairs = training.config, training.start, list[dict[str, Any]]()
    for _, group in groupby(training.examples, key=lambda example: example.problem_id):
        whole = list(group)
        right, wrong = ([each for each in whole if (each.weight > 0) == sign] for sign in (True, False))
        for chosen, rejected in zip(right, wrong, strict=False):
            pairs.append(
                {"prompt": chosen.messages[:-1], "chosen": chosen.messages[-1:], "rejected": rejected.messages[-1:]}
            )
    model = load_model(start.model, dtype="float32", device="cpu", cache=start.cache)
    tokenizer = load_tokenizer(start.model, cache=start.cache)
    arguments = DPOConfig(
        output_dir=str(training.out / "trl"),
        learning_rate=config.learning_rate,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=config.batch_size // config.micro_batch_size,
        beta=BETA,
        seed=training.seed % 2**32,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        disable_tqdm=True,
    )
    done = DPOTrainer(model, args=arguments, train_dataset=Dataset.from_list(pairs), processing_class=tokenizer).train()
    model.save_pretrained(training.out)
    tokenizer.save_pretrained(training.out)
    return {"pairs": len(pairs), "loss_last": done.training_loss}
