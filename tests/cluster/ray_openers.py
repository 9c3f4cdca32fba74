"""Engines that replicas open on their nodes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tpt.engines import Completion, Engine, Request, Sampling
from tpt.engines.scripted import ScriptedEngine
from tpt.errors import EngineError

HERE = Path(__file__).parent
SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0, max_tokens=40)


def script(request: Request) -> str:
    return f"{request.id[0]} {request.id[1]} {request.seed}"


def requests(count: int, *, problem: str = "p") -> list[Request]:
    return [Request((f"{problem}{index}", 0), (1, 2), 1000 + index, SAMPLING) for index in range(count)]


class Paced(ScriptedEngine):
    """Takes so many seconds for a step."""

    def __init__(self, step_s: float, *, slots: int = 4) -> None:
        super().__init__(script, slots=slots)
        self._step_s = step_s

    def step(self) -> list[Completion]:
        time.sleep(self._step_s)
        return super().step()


class Fatal(Paced):
    """Ends its process as soon as it has a certain problem."""

    def add(self, request: Request) -> None:
        if request.id[0] == "fatal":
            os._exit(3)
        super().add(request)


def open_paced(step_s: float = 0.002) -> Engine:
    return Paced(step_s)


def open_fatal() -> Engine:
    return Fatal(0.002, slots=16)


def open_by_turns(marker: str) -> Engine:
    """The first to come is a hundred times slower than the second."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return Paced(0.002)
    return Paced(0.2)


def open_nothing() -> Engine:
    raise EngineError("this engine cannot be opened")


def open_fatally() -> Engine:
    os._exit(3)
