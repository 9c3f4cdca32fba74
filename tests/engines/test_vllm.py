"""VLLMEngine against the hf engine, on the embedded model; with vLLM itself, so only where it is installed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from tpt.config import EngineConfig, PromptConfig
from tpt.engines import Completion, Engine, Request, RequestId, Sampling
from tpt.engines.hf.opening import open_hf
from tpt.engines.server.engine import ServerEngine
from tpt.engines.vllm import VLLMEngine, open_vllm, served_adapter
from tpt.errors import EngineError
from tpt.model.chat import Chat
from tpt.model.embedded import FOLDER
from tpt.model.load import load_tokenizer
from tpt.records import Problem

needs_vllm = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed; make test-vllm tests with it"),
    # vLLM and what it imports warn of each other's deprecations.
    pytest.mark.filterwarnings("ignore"),
]


def with_vllm(test: Any) -> Any:
    for mark in needs_vllm:
        test = mark(test)
    return test


PROBLEMS = [
    Problem(f"p{k}", f"Tom has {k + 2} apples and buys {3 * k + 1} more. How many apples does he have?", "0")
    for k in range(6)
]
GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, max_tokens=40)
RANDOM = Sampling(temperature=1.0, top_p=0.9, top_k=20, max_tokens=40)
SETTINGS = EngineConfig(name="vllm", slots=32, device="cpu", options={"kv_cache_memory_bytes": 2**27})
NO_CACHE = Path("no-such-folder")
RANK, ALPHA = 4, 16


@pytest.fixture(scope="module")
def chat() -> Chat:
    return chat_of("embedded")


def chat_of(spec: str) -> Chat:
    return Chat(load_tokenizer(spec), PromptConfig())


def opened(spec: str, max_length: int = 128, **changes: Any) -> VLLMEngine:
    settings = SETTINGS.model_copy(update=changes)
    return open_vllm(spec, chat_of(spec), settings, max_length=max_length, cache=NO_CACHE)


@pytest.fixture(scope="module")
def engine() -> Iterator[VLLMEngine]:
    found = opened("embedded")
    yield found
    found.close()


def requests_for(chat: Chat, sampling: Sampling, samples: int = 2) -> list[Request]:
    return [
        Request((problem.id, sample), chat.prompt_ids(problem), 2**62 + 100 * k + sample, sampling)
        for k, problem in enumerate(PROBLEMS)
        for sample in range(samples)
    ]


def finish(engine: Engine, requests: list[Request]) -> dict[RequestId, Completion]:
    for request in requests:
        engine.add(request)
    done: dict[RequestId, Completion] = {}
    while len(done) < len(requests):
        done.update({completion.id: completion for completion in engine.step()})
    return done


def hf_completions(spec: str, requests: list[Request]) -> dict[RequestId, Completion]:
    engine = open_hf(spec, chat_of(spec), EngineConfig(slots=16, device="cpu"), max_length=128, cache=None)
    done = finish(engine, requests)
    engine.close()
    return done


@with_vllm
def test_greedy_is_the_hf_engine_s_token_for_token(engine: VLLMEngine, chat: Chat) -> None:
    """By their stop token and by length, both."""
    requests = requests_for(chat, GREEDY) + [
        replace(each, id=(each.id[0], 9), sampling=replace(GREEDY, max_tokens=5))
        for each in requests_for(chat, GREEDY, 1)
    ]
    done = finish(engine, requests)
    assert done == hf_completions("embedded", requests)
    assert {completion.finish_reason for completion in done.values()} == {"stop", "length"}
    for completion in done.values():
        stopped = completion.finish_reason == "stop"
        assert (completion.token_ids[-1] in chat.stop_ids) is stopped
        assert completion.text == chat.decode(completion.token_ids) and "</s>" not in completion.text


@with_vllm
def test_seeds_as_far_as_they_are_promised(engine: VLLMEngine, chat: Chat) -> None:
    requests = requests_for(chat, RANDOM, samples=3)
    first, again = finish(engine, requests), finish(engine, requests[::-1])
    assert (first == again) is (engine.guarantee == "seeded")
    assert len({completion.token_ids for completion in first.values()}) > len(PROBLEMS)


@with_vllm
def test_cancelled_requests_never_finish(engine: VLLMEngine, chat: Chat) -> None:
    requests = requests_for(chat, GREEDY)
    for request in requests:
        engine.add(request)
    begun = [completion for _ in range(4) for completion in engine.step()]
    assert begun == []
    dropped = {request.id for request in requests[3:]}
    assert 2 * len(dropped) <= engine.cancel(dropped | {("nobody", 0)}) <= 4 * len(dropped)
    done: list[Completion] = []
    while len(done) < 3:
        done += engine.step()
    assert {completion.id for completion in done} == {request.id for request in requests[:3]}
    assert engine.step() == [] and engine.cancel(dropped) == 0
    assert len(finish(engine, requests)) == len(requests)


@with_vllm
def test_requests_that_can_never_be_served(engine: VLLMEngine, chat: Chat) -> None:
    good = requests_for(chat, GREEDY)[0]
    with pytest.raises(EngineError, match=r"'p0'.*120 tokens.*need 160.*engine.max_length = 128"):
        engine.add(replace(good, prompt_ids=(4,) * 120))
    with pytest.raises(EngineError, match=r"token ids from 4 to 5000"):
        engine.add(replace(good, prompt_ids=(4, 5000)))
    with pytest.raises(EngineError, match=r"'p0': vLLM does not take the request: temperature must be in \[0, 2\]"):
        engine.add(replace(good, sampling=replace(GREEDY, temperature=3.0)))
    engine.add(good)
    with pytest.raises(EngineError, match="in flight already"):
        engine.add(good)
    assert len(finish(engine, requests_for(chat, GREEDY)[1:])) >= 1
    engine.cancel({good.id})


@with_vllm
def test_description_names_what_was_used(engine: VLLMEngine) -> None:
    described = json.loads(json.dumps(engine.describe()))
    assert described["engine"] == "vllm" and described["dtype"] == "float32" and described["prefix_caching"] is True
    assert described["guarantee"] == engine.guarantee and described["seeds_honoured"] is (engine.guarantee == "seeded")
    assert described["slots"] == engine.slots == 32


@with_vllm
def test_settings_that_cannot_be(engine: VLLMEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"engine.options.max_model_lne is no argument.*Did you mean 'max_model_len'"):
        opened("embedded", options={"max_model_lne": 1})
    with pytest.raises(EngineError, match=r"engine.options.dtype cannot be set"):
        opened("embedded", options={"dtype": "half"})
    with pytest.raises(EngineError, match=r"engine.device = 'cuda', but the installed vLLM runs on 'cpu'"):
        opened("embedded", device="cuda")
    with pytest.raises(EngineError, match=r"vLLM cannot run .*max_model_len"):
        opened("embedded", max_length=100_000)


def saved_adapter(folder: Path) -> tuple[Path, Path]:
    """Write a random adapter of the embedded model, and the model that it makes of it; return both folders."""
    weights = load_file(FOLDER / "model.safetensors")
    adapter: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(3)
    for layer in range(4):
        for name in ("q_proj", "v_proj"):
            key = f"model.layers.{layer}.self_attn.{name}"
            full = weights[f"{key}.weight"]
            down = torch.randn(RANK, full.shape[1], generator=generator) * 0.3
            up = torch.randn(full.shape[0], RANK, generator=generator) * 0.3
            adapter[f"base_model.model.{key}.lora_A.weight"], adapter[f"base_model.model.{key}.lora_B.weight"] = (
                down,
                up,
            )
            weights[f"{key}.weight"] = full + up @ down * (ALPHA / RANK)
    lora, merged = folder / "lora", folder / "merged"
    lora.mkdir()
    merged.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "embedded", "r": RANK, "lora_alpha": ALPHA}
    config |= {"target_modules": ["q_proj", "v_proj"], "bias": "none", "task_type": "CAUSAL_LM"}
    (lora / "adapter_config.json").write_text(json.dumps(config))
    save_file(adapter, lora / "adapter_model.safetensors")
    for path in FOLDER.glob("*.json"):
        (merged / path.name).write_bytes(path.read_bytes())
    for path in FOLDER.glob("*.jinja"):
        (merged / path.name).write_bytes(path.read_bytes())
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
    return lora, merged


def test_adapters_are_read_as_what_they_say(tmp_path: Path) -> None:
    lora, merged = saved_adapter(tmp_path)
    adapter = served_adapter(str(lora))
    assert adapter is not None and (adapter.base, adapter.rank, adapter.vllm_rank) == ("embedded", 4, 8)
    assert served_adapter(str(merged)) is served_adapter("owner/name") is None
    for text in (
        "",
        "[]",
        "{}",
        '{"base_model_name_or_path": 7, "r": 4}',
        '{"base_model_name_or_path": "x", "r": "y"}',
    ):
        (lora / "adapter_config.json").write_text(text)
        with pytest.raises(EngineError, match="must name base_model_name_or_path and r"):
            served_adapter(str(lora))


@with_vllm
def test_an_adapter_is_served_without_merging(engine: VLLMEngine, chat: Chat, tmp_path: Path) -> None:
    """Greedy output is that of the merged model, and not the base's. It ends the module's engine: one at a time."""
    requests = requests_for(chat, GREEDY, samples=1)
    base = finish(engine, requests)
    engine.close()
    lora, merged = saved_adapter(tmp_path)
    adapted = opened(str(lora))
    done = finish(adapted, requests)
    assert adapted.describe()["adapter"] is True
    adapted.close()
    assert done == hf_completions(str(merged), requests) != base


@with_vllm
def test_a_killed_stage_leaves_no_process(tmp_path: Path) -> None:
    code = "from test_vllm import opened; import time\nopened('embedded')\nprint('ready', flush=True); time.sleep(100)"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parent,
    )
    assert process.stdout is not None
    with process.stdout:
        assert any(line == "ready\n" for line in process.stdout)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


@pytest.fixture
def vllm_server(tmp_path: Path) -> Iterator[str]:
    """A real vLLM server of the embedded model that may be given adapters."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(FOLDER), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", "tiny", "--max-model-len", "256", "--dtype", "float32"]
    command += ["--enforce-eager", "--kv-cache-memory-bytes", str(2**27), "--enable-lora", "--max-lora-rank", "8"]
    environment = {**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    url = f"http://127.0.0.1:{port}/v1"
    for _ in range(400):
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.3)
    yield url
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@with_vllm
def test_a_real_vllm_server(vllm_server: str, chat: Chat, tmp_path: Path) -> None:
    """The server engine's greedy output is the hf engine's, ids included; a reload command gives it a checkpoint."""

    def open_server(spec: str, *, max_length: int = 128, is_base: bool = True, **changes: Any) -> ServerEngine:
        settings = EngineConfig(name="server", url=vllm_server, concurrency=8, timeout_s=60.0, **changes)
        return ServerEngine(spec, chat, settings, max_length=max_length, is_base=is_base)

    requests = requests_for(chat, GREEDY)
    expected = hf_completions("embedded", requests)
    for prompt in ("tokens", "text"):
        engine = open_server("embedded", prompt=prompt)
        assert finish(engine, requests) == expected
        described = engine.describe()
        assert (described["server"], described["served_model"], described["token_ids"]) == (
            "vllm",
            "tiny",
            "the server's",
        )
        engine.close()
    with pytest.raises(EngineError, match=r"room for 256 tokens, but prompt and completion need up to 300"):
        open_server("embedded", max_length=300)
    lora, merged = saved_adapter(tmp_path)
    script = tmp_path / "load.py"
    script.write_text(
        "import json, sys, urllib.request\n"
        "body = json.dumps({'lora_name': 'round', 'lora_path': sys.argv[1]}).encode()\n"
        "request = urllib.request.Request(sys.argv[2] + '/load_lora_adapter', body, {'Content-Type': 'application/json'})\n"
        "urllib.request.urlopen(request).read()\n"
    )
    reload = f"{sys.executable} {script} {{model}} {{url}}"
    # The merged checkpoint's adapter is what the server is given, by a command that must hold {model} all the same.
    command = f"{reload.replace('{model}', str(lora))} {{model}}"
    engine = open_server(str(merged), is_base=False, reload=command, served_model="round")
    assert finish(engine, requests) == hf_completions(str(merged), requests)
    engine.close()
