"""How good the embedded model is, measured with nothing but transformers' own ``generate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tpt.records import Outcome, Problem
from tpt.verifiers.number.verify import verify_number

MAX_TOKENS = 80
"""No document of the corpus has a longer completion."""
PROBLEMS_PER_BATCH = 25


@dataclass(frozen=True, slots=True)
class Score:
    """Shares between 0 and 1 over ``problems`` questions with ``samples`` draws each."""

    problems: int
    samples: int
    temperature: float
    strict_pass_at_1: float
    lenient_pass_at_1: float
    strict_any: float
    """Share of problems with at least one strictly right draw: pass@k for k = samples."""
    lenient_any: float


def score(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    *,
    samples: int,
    temperature: float,
    seed: int,
) -> Score:
    """Sample every problem and judge the completions."""
    completions = sample_completions(model, tokenizer, problems, samples=samples, temperature=temperature, seed=seed)
    verdicts = [[verify_number(p, text) for text in row] for p, row in zip(problems, completions, strict=True)]
    strict = torch.tensor([[verdict.strict for verdict in row] for row in verdicts])
    lenient = torch.tensor([[verdict.outcome is Outcome.CORRECT for verdict in row] for row in verdicts])
    return Score(
        problems=len(problems),
        samples=samples,
        temperature=temperature,
        strict_pass_at_1=_share(strict),
        lenient_pass_at_1=_share(lenient),
        strict_any=_share(strict.any(dim=1)),
        lenient_any=_share(lenient.any(dim=1)),
    )


def _share(hits: Tensor) -> float:
    return round(hits.double().mean().item(), 4)


def sample_completions(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    *,
    samples: int,
    temperature: float,
    seed: int,
) -> list[list[str]]:
    """Return ``samples`` completions of every problem; temperature 0 is greedy."""
    torch.manual_seed(seed)
    generator: Any = model.eval()  # type: ignore[no-untyped-call]
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=MAX_TOKENS,
        do_sample=temperature > 0,
        temperature=temperature or None,
        top_k=0,
        top_p=1.0,
        num_return_sequences=samples,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    completions: list[list[str]] = []
    for start in range(0, len(problems), PROBLEMS_PER_BATCH):
        batch = problems[start : start + PROBLEMS_PER_BATCH]
        messages = [[{"role": "user", "content": problem.question}] for problem in batch]
        prompts: Any = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        output: Any = generator.generate(**prompts, generation_config=settings)
        texts = tokenizer.batch_decode(output[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        completions += [texts[i : i + samples] for i in range(0, len(texts), samples)]
    return completions
