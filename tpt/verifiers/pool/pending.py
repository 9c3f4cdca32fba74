"""What a verifier leaves to the pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tpt.verifiers import Judgement
from tpt.verifiers.pool.pool import Settled


@dataclass(frozen=True, slots=True)
class Pending:
    """A call to be made in a worker, and how its result becomes a judgement."""

    target: str
    """``module:function`` of this package."""
    arguments: tuple[Any, ...]
    """What JSON can carry."""
    conclude: Callable[[Settled], Judgement]
    warm_up: str = ""
    """See Pool."""
    same_always: bool = True
    """The result depends on the arguments alone, so that it can be kept."""
