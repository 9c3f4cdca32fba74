"""tpt's own engine; the second argument is ``engine.weights``."""

from __future__ import annotations

import sys
from typing import Any

import torch
from serving import Prompts, Sample, serve

from tpt.config import EngineConfig, PromptConfig
from tpt.engines import Request, Sampling, complete
from tpt.engines.hf.opening import open_hf
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer


def open_engine(job: dict[str, Any]) -> tuple[Sample, list[str]]:
    torch.set_num_threads(job["threads"])
    settings = EngineConfig(slots=job["rows"], device="cpu", dtype=job["dtype"], weights=sys.argv[2])
    chat = Chat(load_tokenizer(job["model"]), PromptConfig())
    # Every sample has the same number of tokens.
    chat.stop_ids = frozenset()
    engine = open_hf(job["model"], chat, settings, max_length=job["max_length"], cache=None)

    def sample(prompts: Prompts, tokens: int) -> int:
        sampling = Sampling(temperature=job["temperature"], top_p=1.0, top_k=0, max_tokens=tokens)
        requests = [
            Request((str(index), turn), tuple(prompt), 1000 * index + turn, sampling)
            for index, prompt in enumerate(prompts)
            for turn in range(job["samples"])
        ]
        return sum(len(completion.token_ids) for completion in complete(engine, requests))

    return sample, ["torch", "transformers", "numba"]


if __name__ == "__main__":
    serve(open_engine)
