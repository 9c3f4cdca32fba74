"""The gate's report: five findings, one verdict, and whether the run stops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tpt.gate.answer_format import format_finding
from tpt.gate.early_samples import UNKNOWN, EarlySamples, Finding
from tpt.gate.heldout import greedy_finding, power_finding
from tpt.gate.length import length_finding
from tpt.gate.support import nothing_to_keep, support_finding

__all__ = ["EarlySamples", "Finding", "GateReport", "GateVerdict", "gate_report"]

GateVerdict = Literal[
    "good", "wrong format", "no answer", "too hard", "too easy", "saturated", "cut off", "cannot tell yet"
]


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the first samples say of a run."""

    verdict: GateVerdict
    stops: bool
    """Whether the run can keep nothing."""
    samples: int
    problems: int
    findings: list[Finding]
    warnings: list[str]
    """What does not go together in the config."""

    def finding(self, topic: str) -> Finding:
        """Return what is said of a topic."""
        return next(finding for finding in self.findings if finding.topic == topic)

    @property
    def cause(self) -> str:
        """The topic that the verdict is about; empty: none."""
        return _TOPIC.get(self.verdict, "")

    @property
    def keys(self) -> list[str]:
        """What to set, the cause of the verdict first."""
        ordered = sorted(self.findings, key=lambda finding: finding.topic != self.cause)
        return [key for finding in ordered for key in finding.keys]


_TOPIC = {
    "wrong format": "format",
    "no answer": "support",
    "too hard": "support",
    "too easy": "support",
    "saturated": "support",
    "cut off": "length",
}


def gate_report(seen: EarlySamples, *, warnings: list[str]) -> GateReport:
    """Draw the conclusions from some samples."""
    findings = [
        format_finding(seen),
        support_finding(seen),
        length_finding(seen),
        power_finding(seen),
        greedy_finding(seen),
    ]
    said: dict[str, str] = {finding.topic: finding.verdict for finding in findings}
    stops = seen.config.data.source == "self" and nothing_to_keep(seen)
    problems = len({trace.problem_id for trace, _ in seen.pairs})
    return GateReport(_verdict(said), stops, len(seen.pairs), problems, findings, warnings)


def _verdict(said: dict[str, str]) -> GateVerdict:
    if said["format"] == "not kept":
        return "wrong format"
    # Where even those that did end are all wrong, a longer limit would not help.
    if said["length"] == "cut off" and said["support"] not in ("no answer", "too hard"):
        return "cut off"
    match said["support"]:
        case "no answer":
            return "no answer"
        case "too easy":
            return "too easy"
        case "saturated":
            return "saturated"
        case "too hard" | "few" | "nothing to keep":
            return "too hard"
    return UNKNOWN if UNKNOWN in (said["format"], said["support"]) else "good"
