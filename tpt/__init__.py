"""Think, prune, train: a language model becomes a better reasoner by learning from its own verified solutions."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tpt.system.version import __version__

if TYPE_CHECKING:
    from tpt.config import RunConfig, load_config, parse_config
    from tpt.errors import TPTError
    from tpt.problems import load_problems
    from tpt.records import EvalReport, Example, Outcome, Problem, RoundRecord, Trace, Verdict
    from tpt.rounds import Run

__all__ = [
    "EvalReport",
    "Example",
    "Outcome",
    "Problem",
    "RoundRecord",
    "Run",
    "RunConfig",
    "TPTError",
    "Trace",
    "Verdict",
    "__version__",
    "load_config",
    "load_problems",
    "parse_config",
]
_HOMES = {
    "tpt.config": ("RunConfig", "load_config", "parse_config"),
    "tpt.errors": ("TPTError",),
    "tpt.problems": ("load_problems",),
    "tpt.records": ("EvalReport", "Example", "Outcome", "Problem", "RoundRecord", "Trace", "Verdict"),
    "tpt.rounds": ("Run",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``tpt --help`` need not import them all."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'tpt' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
