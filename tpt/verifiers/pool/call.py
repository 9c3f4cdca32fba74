"""What a verifier leaves to the pool, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tpt.verifiers import Judgement


@dataclass(frozen=True, slots=True)
class PoolResult:
    """What became of one call."""

    value: Any = None
    """What the function returned, when ``problem`` is empty."""
    problem: str = ""
    """"timeout", "memory", "died" or "error"."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PoolCall:
    """A call to be made in a worker, and how its result becomes a judgement."""

    target: str
    """``module:function`` of this package."""
    arguments: tuple[Any, ...]
    """What JSON can carry."""
    to_judgement: Callable[[PoolResult], Judgement]
    warm_up: str = ""
    """See Pool."""
    same_always: bool = True
    """The result depends on the arguments alone, so that it can be kept."""
