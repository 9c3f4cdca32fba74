"""What runs in a replica's process, somewhere in the cluster: an engine, and the few calls that drive it.

Imports nothing heavy: where that is missing, the replica can still say so.
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpt.engines import Completion, Engine, Guarantee, Request, RequestId
from tpt.errors import TPTError

_BRIEFLY_S = 0.05
"""Once something has finished, it goes back after so long."""
_LONGEST_S = 0.5
"""What cancels or asks waits for so long at most, one step of the engine aside."""
_HARDWARE = ("torch", "transformers", "vllm", "dtype", "weights", "int8", "device", "device_name", "threads", "slots")
"""What a described engine's arithmetic depends on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What an opened replica says of itself."""

    slots: int
    guarantee: Guarantee
    described: dict[str, Any]
    """The engine's own description."""
    hardware: dict[str, Any]
    """What the bits of a completion may depend on besides the request."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a call."""

    completions: list[Completion]
    failure: str = ""
    """A message for the user that ends the stage."""


class Replica:
    """An engine behind calls that all return soon."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._running: set[RequestId] = set()

    def locate(self) -> str:
        """Return the id of the node that this process runs on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def open(self, opener: Callable[[], Engine]) -> Opened | str:
        """Open the engine by what loads the model; returns a message when that is refused."""
        try:
            self._engine = opener()
        except (TPTError, OSError, ImportError) as error:
            return f"{type(error).__name__}: {error}" if not isinstance(error, TPTError) else str(error)
        described = self._engine.describe()
        hardware = {"cpu": _cpu_name(), **{key: described[key] for key in _HARDWARE if key in described}}
        return Opened(self._engine.slots, self._engine.guarantee, described, hardware)

    def work(self, requests: list[Request]) -> Report:
        """Take on these requests and sample until something has finished, but not for long."""
        assert self._engine is not None
        done: list[Completion] = []
        started = time.monotonic()
        try:
            for request in requests:
                self._engine.add(request)
                self._running.add(request.id)
            while self._running and time.monotonic() - started < (_BRIEFLY_S if done else _LONGEST_S):
                finished = self._engine.step()
                self._running -= {completion.id for completion in finished}
                done += finished
        except TPTError as error:
            return Report(done, str(error))
        return Report(done)

    def cancel(self, ids: set[RequestId]) -> int:
        """Drop these requests and return how many tokens they had sampled."""
        assert self._engine is not None
        self._running -= ids
        return self._engine.cancel(ids)


def _cpu_name() -> str:
    """Return the CPU's model name, or the architecture where the system has none to tell."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else f"{platform.machine()} of {socket.gethostname()}"
