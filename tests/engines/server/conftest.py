"""The stub of a completions server, and engines on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from server_stub import Stub

from tpt.config import PromptConfig
from tpt.engines.server import api as completions_api
from tpt.engines.server.engine import ServerEngine, ServerSettings
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer


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
    return Chat(load_tokenizer("embedded"), PromptConfig())


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions_api, "_FIRST_WAIT_S", 0.01)
    for name in ("TPT_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def opened(stub: Stub, chat: Chat, short_waits: None) -> Iterator[Callable[..., ServerEngine]]:
    """Opens engines on the stub, and closes them."""
    engines: list[ServerEngine] = []

    def call(spec: str = "embedded", **changes: Any) -> ServerEngine:
        settings = replace(ServerSettings(url=stub.url, max_length=200, concurrency=4, retries=3), **changes)
        engines.append(ServerEngine(spec, chat, settings))
        return engines[-1]

    yield call
    for engine in engines:
        engine.close()
