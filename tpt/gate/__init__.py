"""Can this run end, and is it worth its samples: a rehearsal, and what the base model's first few dozen samples say."""

from __future__ import annotations

from tpt.gate.early_look import EarlyLook
from tpt.gate.rehearsal import rehearse
from tpt.gate.report import EarlySamples, GateReport, gate_report
from tpt.gate.text import gate_text
from tpt.gate.watch import EARLY_PROBLEMS, early_problems, watch_evaluation, watch_thinking

__all__ = [
    "EARLY_PROBLEMS",
    "EarlyLook",
    "EarlySamples",
    "GateReport",
    "early_problems",
    "gate_report",
    "gate_text",
    "rehearse",
    "watch_evaluation",
    "watch_thinking",
]
