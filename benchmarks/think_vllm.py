"""The workload of think.py on vLLM; run by it in the interpreter that has vLLM.

    PYTHON benchmarks/think_vllm.py WORKLOAD.json

Prints one line of JSON: tokens sampled and seconds, start-up not counted.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from vllm import LLM, SamplingParams, TokensPrompt


def main() -> None:
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    engine = LLM(
        model=work["model"],
        dtype="bfloat16",
        max_model_len=work["max_length"],
        max_num_seqs=256,
        enable_prefix_caching=True,
    )
    sampling = SamplingParams(
        n=1, temperature=work["temperature"], top_p=1.0, top_k=0, max_tokens=work["max_tokens"], detokenize=False
    )
    prompts = [TokensPrompt(prompt_token_ids=ids) for ids in work["prompts"]]
    engine.generate(prompts[:8], SamplingParams(max_tokens=8), use_tqdm=False)
    started = time.perf_counter()
    done = engine.generate(prompts, sampling, use_tqdm=False)
    seconds = time.perf_counter() - started
    tokens = sum(len(output.token_ids) for request in done for output in request.outputs)
    print("\nRESULT " + json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
