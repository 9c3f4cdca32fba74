"""transformers' ``generate``; the second argument is the number of rows of a batch. Prompts of like length share one."""

from __future__ import annotations

import sys
from typing import Any

import torch
from serving import Prompts, Sample, serve
from transformers import AutoModelForCausalLM


def open_engine(job: dict[str, Any]) -> tuple[Sample, list[str]]:
    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"])).eval()
    rows = int(sys.argv[2]) // job["samples"]

    @torch.inference_mode()
    def sample(prompts: Prompts, tokens: int) -> int:
        ordered, made = sorted(prompts, key=len), 0
        for start in range(0, len(ordered), rows):
            batch = [prompt for prompt in ordered[start : start + rows] for _ in range(job["samples"])]
            widest = max(map(len, batch))
            ids = torch.tensor([[0] * (widest - len(prompt)) + prompt for prompt in batch])
            mask = torch.tensor([[0] * (widest - len(prompt)) + [1] * len(prompt) for prompt in batch])
            out = model.generate(
                ids,
                attention_mask=mask,
                do_sample=True,
                temperature=job["temperature"],
                top_k=0,
                top_p=1.0,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=0,
            )
            made += out[:, widest:].numel()
        return made

    return sample, ["torch", "transformers"]


if __name__ == "__main__":
    serve(open_engine)
