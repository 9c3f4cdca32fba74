"""The stub of a completions server, and engines on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from server_stub import Stub

from tpt.config import EngineConfig, PromptConfig
from tpt.engines.server import api as completions_api
from tpt.engines.server.engine import ServerEngine
from tpt.model.chat import Chat
from tpt.model.load import load_tokenizer


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

    def call(spec: str = "embedded", *, is_base: bool = True, **changes: Any) -> ServerEngine:
        settings = EngineConfig(**{"name": "server", "url": stub.url, "concurrency": 4, "retries": 3, **changes})
        engines.append(ServerEngine(spec, chat, settings, max_length=settings.max_length or 200, is_base=is_base))
        return engines[-1]

    yield call
    for engine in engines:
        engine.close()
