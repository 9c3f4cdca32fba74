"""A real HTTP server in a thread, whose answers the test chooses, and what to ask of it."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tpt.engines import Completion, Engine, Request, Sampling
from tpt.model.chat import Chat
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up, which many a test has them do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


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
