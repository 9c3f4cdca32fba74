"""A page for the browsers of this machine: served on the loopback interface, under an address that nobody can guess."""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tpt.errors import ConfigError, TPTError
from tpt.report.html.live import LivePage
from tpt.system.terminal import printable

_LOOPBACK = "127.0.0.1"
_HOSTS = ("127.0.0.1", "localhost")
"""What a browser on this machine, or at the end of a tunnel to it, calls it; any other name was made to lead here."""
_QUIET_S = 10.0
"""How long a connection may say nothing."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What the page's own policy, in its text, cannot say."""


class Response(NamedTuple):
    """What is sent back."""

    status: HTTPStatus
    kind: str
    body: str


class PageServer(ThreadingTCPServer):
    """Serves a live page and its status to those who know the address. A context manager: it closes its port."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, page: LivePage, *, port: int = 0) -> None:
        """Open a port; 0: a free one.

        Raises:
            ConfigError: the port cannot be had.
        """
        self.page = page
        self._token = secrets.token_urlsafe(24)
        try:
            super().__init__((_LOOPBACK, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"--port {port}: {error.strerror}. Take another one, or leave --port out: then a free one is taken"
            ) from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{_LOOPBACK}:{self.server_address[1]}/{self._token}/"

    def answer(self, host: str, path: str) -> Response:
        """Return what a request is answered; without the token, or under a foreign host's name, that is nothing."""
        if _host_name(host) not in _HOSTS:
            return _plain(HTTPStatus.FORBIDDEN, f"Open this page as {_LOOPBACK} or localhost.")
        _, token, *rest = [*path.split("?")[0].split("/"), ""]
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return _plain(HTTPStatus.NOT_FOUND, "Not found. The whole address is in the terminal where tpt watch runs.")
        if rest[:-1] == ["status"]:
            return Response(HTTPStatus.OK, "application/json", json.dumps(asdict(self.page.status())))
        if rest[:-1] != [""]:
            return _plain(HTTPStatus.NOT_FOUND, f"Not found. The page is {self.address}")
        try:
            return Response(HTTPStatus.OK, "text/html", self.page.text())
        except (TPTError, OSError) as error:
            return _plain(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"{printable(str(error))}\nReload the page once that is mended."
            )

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong with a request, unless the browser has gone away."""
        error = sys.exception()
        if not isinstance(error, OSError):
            print(f"tpt watch: {printable(repr(error))}", file=sys.stderr)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = _QUIET_S
    server_version = "tpt"
    sys_version = ""

    def do_GET(self) -> None:
        self._send(with_body=True)

    def do_HEAD(self) -> None:
        self._send(with_body=False)

    def log_message(self, *_: Any) -> None:
        """Keep the terminal free for what matters: a request is no news, and its text is not ours."""

    def _send(self, *, with_body: bool) -> None:
        answer = self.server.answer(self.headers.get("Host", ""), self.path)
        body = answer.body.encode("utf-8", "replace")
        self.send_response(answer.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{answer.kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _host_name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _plain(status: HTTPStatus, said: str) -> Response:
    return Response(status, "text/plain", f"{said}\n")
