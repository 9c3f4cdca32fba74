"""The gate's report in words, at most 80 columns wide."""

from __future__ import annotations

import textwrap

from tpt.gate.report import GateReport
from tpt.system.words import counted

WIDTH = 80
_INDENT = 10
_VERDICTS = {
    "good": "nothing speaks against this run",
    "wrong format": "the right answers are not written in the asked format",
    "no answer": "most completions end without an answer",
    "too hard": "too little of what the model writes can be kept",
    "too easy": "the model solves nearly everything already",
    "saturated": "the samples of a problem are too alike to choose among",
    "cut off": "many completions are cut off at the token limit",
    "cannot tell yet": "these samples are too few to tell",
}


def gate_text(report: GateReport) -> str:
    """Return the whole report as text to read."""
    lines = [verdict_line(report)]
    for finding in report.findings:
        lines.append(_filled(finding.said, finding.topic))
        lines += [_filled(f"set {key}", "") for key in finding.keys]
    lines += [_filled(warning, "config") for warning in report.warnings]
    lines.append("[ ]: 95 % intervals.")
    return "\n".join(lines)


def verdict_line(report: GateReport) -> str:
    """Return the verdict in a sentence."""
    said = _VERDICTS[report.verdict]
    if report.keys and not report.cause:
        said = "it can go on; see what to set" if report.verdict == "good" else f"{said}; see what to set"
    seen = f"{counted(report.samples, 'sample')} of {counted(report.problems, 'problem')}"
    return _filled(f"Gate: {report.verdict}: {said} ({seen}).")


def stop_text(report: GateReport, sampled: str) -> str:
    """Return the sentences that a run which can keep nothing ends with.

    ``sampled`` is what was sampled, such as "held-out problems".
    """
    support = report.finding("support").figures["keepable problems"]
    said = [
        f"the run can keep nothing: of {report.samples} samples of {report.problems} {sampled} none may be trained on, so "
        f"at most {support.high:.0%} of problems have something to keep in as many tries (95 % confidence). Verdict: "
        f"{report.verdict}, {_VERDICTS[report.verdict]}.",
        *(finding.said for finding in report.findings if finding.topic in ("format", report.cause)),
    ]
    keys = [f"  {key}" for key in report.keys if not key.startswith(("problems.max_heldout", "evaluate.samples"))]
    said += ["Set, in a new run directory (--out):"] if keys else []
    last = 'The samples are kept: stop.gate = "warn" goes on nevertheless (docs/gate.md).'
    return "\n".join([*(textwrap.fill(each, WIDTH) for each in said), *map(_wrapped_key, keys), last])


def _wrapped_key(line: str) -> str:
    return textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _filled(text: str, topic: str | None = None) -> str:
    if topic is None:
        return textwrap.fill(text, WIDTH)
    first = f"  {topic}".ljust(_INDENT)
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=" " * _INDENT)
