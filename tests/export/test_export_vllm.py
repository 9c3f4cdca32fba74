"""An exported model loads in vLLM and says there what it says in the hf engine; with vLLM itself, so where it is."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import ENTRY, QUICKSTART, TINY, sets

from tpt.config import EngineConfig, PromptConfig
from tpt.engines import Engine, Request, Sampling, complete
from tpt.engines.hf.opening import open_hf
from tpt.engines.vllm import open_vllm
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer
from tpt.records import Problem

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm tests with it"),
    # vLLM and what it imports warn of each other's deprecations.
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("one_thread"),
]
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_tokens=60)
LORA = ["train.method=lora", "train.adapter=keep", "train.learning_rate=1e-3"]


@pytest.fixture(params=["full", "lora, merged"])
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Round 1 of a finished run, exported."""
    run, is_adapter = tmp_path / "run", request.param != "full"
    command(["run", str(QUICKSTART), "--out", str(run), *sets(*TINY, *(LORA if is_adapter else []))])
    assert (run / "round-1" / "checkpoint" / "adapter_config.json").is_file() == is_adapter
    merge = ["--merge"] if is_adapter else []
    command(["export", str(run), "--round", "1", "--to", str(tmp_path / "model"), *merge])
    return str(tmp_path / "model")


def command(arguments: list[str]) -> None:
    done = subprocess.run([*ENTRY, *arguments], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr


def texts(engine: Engine, chat: Chat) -> dict[str, tuple[str, str]]:
    """What it says to each problem without chance, and why it stopped."""
    questions = [f"Tom has {k + 2} apples and buys {3 * k + 1} more. How many apples does he have?" for k in range(6)]
    problems = [Problem(f"p{k}", question, "0") for k, question in enumerate(questions)]
    requests = [Request((problem.id, 0), chat.prompt_ids(problem), k, GREEDY) for k, problem in enumerate(problems)]
    found = {done.id[0]: (done.text, done.finish_reason) for done in complete(engine, requests)}
    engine.close()
    return found


def test_vllm_loads_it_and_says_the_same(exported: str, tmp_path: Path) -> None:
    chat = Chat(load_tokenizer(exported), PromptConfig())
    settings = EngineConfig(slots=8, device="cpu")
    expected = texts(open_hf(exported, chat, settings, max_length=160, cache=tmp_path), chat)
    settings = EngineConfig(name="vllm", slots=8, device="cpu", options={"kv_cache_memory_bytes": 2**27})
    assert texts(open_vllm(exported, chat, settings, max_length=160, cache=tmp_path), chat) == expected
    assert any(reason == "stop" for _, reason in expected.values())
    assert all(text for text, _ in expected.values())
