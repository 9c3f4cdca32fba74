"""Frames of JSON between a tester and the program it tests."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEAD = struct.Struct("!I")


class LinkClosedError(BaseException):
    """Raised when the other side is gone; no ``except Exception`` of a test can swallow it."""


class FrameTooLongError(BaseException):
    """Raised for a frame longer than the output limit."""


class Link:
    """One end of the connection; every frame is a length and JSON."""

    def __init__(self, file: int, frame_bytes: int) -> None:
        self._socket = socket.socket(fileno=file)
        self._frame_bytes = frame_bytes
        self.broken = ""

    def send(self, data: Any) -> None:
        """Send one frame."""
        body = json.dumps(data).encode()
        try:
            self._socket.sendall(_HEAD.pack(len(body)) + body)
        except OSError:
            self.broken = "closed"
            raise LinkClosedError from None

    def receive(self) -> Any:
        """Wait for one frame."""
        (length,) = _HEAD.unpack(self._exactly(_HEAD.size))
        if length > self._frame_bytes:
            self.broken = "too long"
            raise FrameTooLongError
        return json.loads(self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = self._socket.recv(min(count - len(parts), 1 << 20))
            except OSError:
                part = b""
            if not part:
                self.broken = "closed"
                raise LinkClosedError
            parts += part
        return bytes(parts)
