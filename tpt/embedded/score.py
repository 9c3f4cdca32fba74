"""How good the embedded model is, measured with nothing but transformers' own ``generate``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tpt.records import Problem

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
    strict = torch.tensor([[is_strict(c, p.answer) for c in row] for p, row in zip(problems, completions, strict=True)])
    lenient = torch.tensor(
        [[is_lenient(c, p.answer) for c in row] for p, row in zip(problems, completions, strict=True)]
    )
    return Score(
        problems=len(problems),
        samples=samples,
        temperature=temperature,
        strict_pass_at_1=strict.float().mean().item(),
        lenient_pass_at_1=lenient.float().mean().item(),
        strict_any=strict.any(dim=1).float().mean().item(),
        lenient_any=lenient.any(dim=1).float().mean().item(),
    )


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
    model.eval()
    completions: list[list[str]] = []
    for start in range(0, len(problems), PROBLEMS_PER_BATCH):
        batch = problems[start : start + PROBLEMS_PER_BATCH]
        messages = [[{"role": "user", "content": problem.question}] for problem in batch]
        prompts = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        drawn = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
        output = model.generate(
            **prompts, max_new_tokens=MAX_TOKENS, do_sample=temperature > 0, num_return_sequences=samples, **drawn
        )
        texts = tokenizer.batch_decode(output[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
        completions += [texts[i : i + samples] for i in range(0, len(texts), samples)]
    return completions


def is_strict(completion: str, answer: str) -> bool:
    """Return whether the last line is ``#### answer`` and nothing else."""
    return completion.rsplit("\n", 1)[-1].strip() == f"#### {answer}"


def is_lenient(completion: str, answer: str) -> bool:
    """Return whether the last line announces the right number in any of the corpus's ways."""
    found = re.search(r"(?:####|[Aa]nswer(?: is|:)) *(-?[0-9]+)", completion.rsplit("\n", 1)[-1])
    return found is not None and found.group(1) == answer
