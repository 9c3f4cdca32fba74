"""A small stand-in for the Hub's upload endpoints, for the real client to talk to: what it gets, it keeps."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SHA = "0" * 39 + "1"


class HubStub(ThreadingHTTPServer):
    """Serves on a free port of this machine until it is left."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.created: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.refuse = 0
        """Answer with this status; 0: as it should be."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> HubStub:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: HubStub

    def do_POST(self) -> None:
        body = self._body()
        self.server.asked.append(f"POST {self.path}")
        self.server.tokens.add(self.headers.get("authorization", ""))
        if self.server.refuse:
            return self._answer({"error": "You don't have the rights"}, self.server.refuse)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            self.server.created.append(asked)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            return self._answer({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        if "/preupload/" in self.path:
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": each, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for each in files]
            return self._answer({"files": modes, "commitOid": SHA})
        if "/commit/" in self.path:
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return self._answer(
                {"success": True, "commitOid": SHA, "commitUrl": f"{self.server.url}/me/x/commit/{SHA}"}
            )
        return self._answer({}, 200)

    def do_GET(self) -> None:
        self.server.asked.append(f"GET {self.path}")
        self._answer({"id": "me/x", "sha": SHA, "siblings": [], "private": True, "modelId": "me/x"})

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = []
        while size := int(self.rfile.readline().strip(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def _answer(self, table: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(table).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
