"""Whether the Hub can be reached: without a network its client asks again and again, for half a minute a file."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

_PAUSE_S = 1.0


@contextmanager
def cache_alone_when_offline() -> Iterator[None]:
    """Have the Hub's client look in its local cache alone while the Hub's name leads nowhere."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _has_address(urlsplit(constants.ENDPOINT).hostname or "")
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _has_address(host: str) -> bool:
    """Return whether a host name leads somewhere, asked twice; behind a proxy that is the proxy's business."""
    if getproxies():
        return True
    for pause_s in (_PAUSE_S, 0.0):
        try:
            return bool(socket.getaddrinfo(host, 443))
        except OSError:
            time.sleep(pause_s)
    return False
