"""An S3 server in a process of its own (moto's, over real sockets) whose connections can be made to break.

``POST /-/faults`` with a JSON object sets what goes wrong: ``down`` (connections break), ``cut`` (that many answers of
objects break off halfway), ``unconditional`` (conditions on writes are "ignored" or "refused"), or ``kill`` (a process
id), ``at`` and ``after``: that process is killed when that many more writes to names with ``at`` in them have come in.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Faulty:
    def __init__(self, app: Any) -> None:
        self.app = app
        self.faults: dict[str, Any] = {}
        self.busy = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/-/faults":
            self.faults = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            start_response("200 OK", [])
            return [b""]
        if self.faults.get("down"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        if "kill" in self.faults and environ["REQUEST_METHOD"] != "GET" and self.faults["at"] in environ["PATH_INFO"]:
            self.faults["after"] -= 1
            if self.faults["after"] == 0:
                os.kill(self.faults["kill"], signal.SIGKILL)
        if (how := self.faults.get("unconditional")) and environ["REQUEST_METHOD"] == "PUT":
            conditions = [environ.pop(name, None) for name in ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")]
            if how == "refused" and any(conditions):
                start_response("501 Not Implemented", [("Content-Length", "0")])
                return [b""]
        with self.busy:
            answer = b"".join(self.app(environ, start_response))
        if environ["REQUEST_METHOD"] == "GET" and len(answer) > 2**20 and self.faults.get("cut", 0) > 0:
            self.faults["cut"] -= 1
            return halves(environ, answer)
        return [answer]


def halves(environ: dict[str, Any], answer: bytes) -> Iterator[bytes]:
    yield answer[: len(answer) // 2]
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None: ...


if __name__ == "__main__":
    application = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    print(server.port, flush=True)
    server.serve_forever()
