"""Supervised fine-tuning: examples in, weights out.

Importing this package imports TRL, which takes seconds, and computes nothing: a server of stages can import it once.
"""

from __future__ import annotations

from tpt.sft.checkpoint import Change, compare, interpolate, save_checkpoint, snapshot
from tpt.sft.distributed import check_devices, device_of, ranks, run_in_parallel
from tpt.sft.fit import fit, resolve_precision
from tpt.sft.memory_check import check_memory
from tpt.sft.own_trainer import train_by_own_code
from tpt.sft.recorder import FitLog
from tpt.sft.resume import ResumePoint
from tpt.sft.rows import Encoded, Row, encode
from tpt.sft.trainable import check_saved, finish, gather, open_trainee
from tpt.sft.trainer import check_installed

__all__ = [
    "Change",
    "Encoded",
    "FitLog",
    "ResumePoint",
    "Row",
    "check_devices",
    "check_installed",
    "check_memory",
    "check_saved",
    "compare",
    "device_of",
    "encode",
    "finish",
    "fit",
    "gather",
    "interpolate",
    "open_trainee",
    "ranks",
    "resolve_precision",
    "run_in_parallel",
    "save_checkpoint",
    "snapshot",
    "train_by_own_code",
]
