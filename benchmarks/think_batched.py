"""A part of think.py's workload on transformers' own continuous batching; run by it.

    python benchmarks/think_batched.py WORKLOAD.json

Prints one line: the tokens a second, or why there are none.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from transformers import GenerationConfig

from tpt.model.load import load_model


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = load_model(job["model"], dtype="bfloat16", device="cpu")
    prompts = job["prompts"][:16]
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=16, do_sample=True, temperature=0.8, top_k=0, top_p=1.0, eos_token_id=2, pad_token_id=0
    )
    started = time.perf_counter()
    try:
        done = model.generate_batch(inputs=prompts, generation_config=settings, progress_bar=False)
    except (RuntimeError, ValueError, NotImplementedError, AttributeError, TypeError) as error:
        print(f"does not run on this device: {type(error).__name__}: {str(error).splitlines()[0]}")
        return
    seconds = time.perf_counter() - started
    tokens = sum(len(output.generated_tokens) for output in done.values())
    print(f"{tokens / seconds:.0f} tok/s (16 requests of 16 tokens)")


if __name__ == "__main__":
    main()
