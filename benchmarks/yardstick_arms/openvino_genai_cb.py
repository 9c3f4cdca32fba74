"""OpenVINO GenAI's continuous batching; the second argument is the folder of the converted model."""

from __future__ import annotations

import sys
from typing import Any

import openvino
import openvino_genai
from serving import Prompts, Sample, serve


def open_engine(job: dict[str, Any]) -> tuple[Sample, list[str]]:
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 2
    scheduler.max_num_seqs = job["rows"]
    scheduler.max_num_batched_tokens = 512
    scheduler.enable_prefix_caching = False
    properties = {"INFERENCE_NUM_THREADS": job["threads"]}
    engine = openvino_genai.ContinuousBatchingPipeline(sys.argv[2], scheduler, "CPU", properties)

    def sample(prompts: Prompts, tokens: int) -> int:
        config = openvino_genai.GenerationConfig()
        config.do_sample, config.temperature = True, job["temperature"]
        config.top_k, config.top_p = sys.maxsize, 1.0
        config.max_new_tokens, config.ignore_eos = tokens, True
        config.num_return_sequences = job["samples"]
        given = [openvino.Tensor([prompt]) for prompt in prompts]
        done = engine.generate(given, [config] * len(given))
        return sum(len(each) for result in done for each in result.m_generation_ids)

    return sample, ["openvino-genai", "openvino"]


if __name__ == "__main__":
    serve(open_engine)
