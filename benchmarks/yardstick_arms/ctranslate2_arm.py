"""CTranslate2; the second argument is the folder of the converted model, the third the type that it computes in."""

from __future__ import annotations

import sys
from typing import Any

import ctranslate2
from serving import Prompts, Sample, serve


def open_engine(job: dict[str, Any]) -> tuple[Sample, list[str]]:
    engine = ctranslate2.Generator(sys.argv[2], device="cpu", compute_type=sys.argv[3], intra_threads=job["threads"])
    pieces = {tuple(ids): words for ids, words in zip(job["prompts"], job["pieces"], strict=True)}

    def sample(prompts: Prompts, tokens: int) -> int:
        done = engine.generate_batch(
            [pieces[tuple(prompt)] for prompt in prompts],
            max_batch_size=job["rows"] // job["samples"],
            num_hypotheses=job["samples"],
            sampling_topk=0,
            sampling_temperature=job["temperature"],
            min_length=tokens,
            max_length=tokens,
            include_prompt_in_result=False,
        )
        return sum(len(ids) for result in done for ids in result.sequences_ids)

    return sample, ["ctranslate2"]


if __name__ == "__main__":
    serve(open_engine)
