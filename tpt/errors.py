"""Every error that tpt raises on purpose.

::

    TPTError                    a message for the user; the command line prints it without a traceback, exit code 1
    ├── ConfigError             a config key is unknown or its value is not allowed
    │   └── GateError           the first samples show that a run with this config can keep nothing
    ├── ProblemError            a problem source cannot be read, or its rows are not problems
    ├── ModelError              a model, tokenizer or chat template cannot be loaded or used
    ├── EngineError             an engine cannot be built, or failed while sampling
    │   └── ForeignModelError   our own decoder does not know a model's architecture
    ├── ClusterError            a Ray cluster cannot be joined, or a node of it lacks what it needs
    ├── VerifierError           a verifier cannot be built (a bad *answer* is a Verdict, never an exception)
    ├── TrainError              training data or settings that must not be trained on
    ├── RunError                the run directory is not what the command needs
    │   ├── StaleStageError     a finished stage was made from other inputs than those there now
    │   └── RunLockedError      another process is writing this run
    └── EstimateError           a statistic cannot be estimated from the data given

A message says what happened, where, what was found, what is allowed and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TPTError(Exception):
    """Base of every error that is the user's to fix."""


class ConfigError(TPTError, ValueError):
    """Raised when a config key is unknown or a value is not allowed."""


class GateError(ConfigError):
    """Raised when a run's first samples show that it can keep nothing to train on."""


class ProblemError(TPTError, ValueError):
    """Raised when a problem source cannot be read or holds rows that are no problems."""


class ModelError(TPTError):
    """Raised when a model, its tokenizer or its chat template cannot be loaded or used."""


class EngineError(TPTError, RuntimeError):
    """Raised when an engine cannot be built or fails while sampling."""


class ForeignModelError(EngineError):
    """Raised when our own decoder does not know a model's architecture; transformers' ``generate`` may."""


class ClusterError(TPTError):
    """Raised when a Ray cluster cannot be joined, or a node of it lacks what it needs."""


class VerifierError(TPTError):
    """Raised when a verifier cannot be built; a bad answer is a Verdict instead."""


class TrainError(TPTError):
    """Raised before compute is spent on data or settings that must not be trained on."""


class OwnCodeError(TPTError):
    """Raised when a function of the user's own cannot be loaded, raises, or returns what it must not."""


class RunError(TPTError):
    """Raised when a run directory is not what the command needs."""


class StaleStageError(RunError):
    """Raised when a finished stage was made from other inputs than those there now."""


class RunLockedError(RunError):
    """Raised when another process is writing this run."""


class EstimateError(TPTError, ValueError):
    """Raised when a statistic cannot be estimated from the data given, such as pass@k with k > n."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known name, or ``""`` when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
