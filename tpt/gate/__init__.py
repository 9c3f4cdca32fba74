"""Is this run worth its samples: what the base model's first few dozen say of format, support, length and power."""

from __future__ import annotations

from tpt.gate.early_look import EarlyLook
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
    "watch_evaluation",
    "watch_thinking",
]
