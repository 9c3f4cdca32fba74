"""Think, prune, train: a language model becomes a better reasoner by learning from its own verified solutions."""

from tpt.config import RunConfig, load_config, parse_config
from tpt.errors import TPTError
from tpt.problems import load_problems
from tpt.records import EvalReport, Example, Outcome, Problem, RoundRecord, Trace, Verdict
from tpt.rounds import Run
from tpt.system.version import __version__

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
