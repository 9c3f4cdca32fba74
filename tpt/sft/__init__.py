"""Supervised fine-tuning: examples in, weights out.

Importing this package imports TRL, which takes seconds, and computes nothing: a server of stages can import it once.
"""

from __future__ import annotations

from tpt.sft.checkpoint import Change, compare, save_checkpoint, snapshot
from tpt.sft.fit import FitLog, fit, peak_memory_mb, resolve_precision
from tpt.sft.rows import Encoded, Row, encode

__all__ = [
    "Change",
    "Encoded",
    "FitLog",
    "Row",
    "compare",
    "encode",
    "fit",
    "peak_memory_mb",
    "resolve_precision",
    "save_checkpoint",
    "snapshot",
]
