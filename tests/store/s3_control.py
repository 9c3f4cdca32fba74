"""How tests steer the local S3 server."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Server:
    port: int

    def faults(self, **faults: Any) -> None:
        self.send("POST", "/-/faults", json.dumps(faults))

    def rights(self, anybody: bool) -> None:
        """Let anybody do anything, or only users that were made, of whom there are none."""
        self.send("POST", "/moto-api/reset-auth", "inf" if anybody else "0")

    def send(self, method: str, path: str, body: str = "") -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, body, {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        connection.close()
