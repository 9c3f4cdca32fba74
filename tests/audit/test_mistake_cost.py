"""What an audit says of a precision is what was measured, and the page of results says the same."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np

from tpt.audit.audit import AuditReport, Rate
from tpt.audit.mistake_cost import FILE, cost_sentence
from tpt.report.audit import html_page, report_text
from tpt.system.jsonl import read_json

KNOWN = read_json(FILE)
ARMS = KNOWN["arms"]
SHARES = [0.0, *(arm["wrong share"] for arm in ARMS)]
DOC = Path(__file__).parents[2] / "docs" / "results" / "noise.md"


def lost(share: float, bound: str) -> float:
    return float(np.interp(share, SHARES, [0.0, *(arm["points lost"][bound] for arm in ARMS)]))


def test_the_sentence_is_the_file_s_numbers() -> None:
    said = cost_sentence(Rate(0.97, 0.91, 0.99, 60))
    about, low, high = lost(0.03, "mean"), lost(0.01, "low"), lost(0.09, "high")
    assert said.startswith(
        f"a precision of 97.0% would cost about {about:.1f} points of strict pass@1 by round {KNOWN['rounds']} "
    )
    assert f"({low:.1f} to {high:.1f}; {KNOWN['seeds']} seed" in said
    for arm in ARMS:
        exact = Rate(1 - arm["wrong share"], 0.0, 1.0, 60)
        assert f"about {arm['points lost']['mean']:.1f} points" in cost_sentence(exact)


def test_no_number_is_said_of_what_was_not_measured() -> None:
    assert cost_sentence(None) == ""
    most = SHARES[-1]
    said = cost_sentence(Rate(1 - most - 0.05, 0.1, 0.9, 60))
    assert "is below what was measured" in said
    assert f"{1 - most:.0%} would cost about {lost(most, 'mean'):.0f} points" in said


def test_an_audit_says_it_beside_the_precision() -> None:
    report = AuditReport(1, [], Rate(0.9, 0.8, 0.95, 40), None, [])
    said = cost_sentence(report.precision)
    assert said and f"false accepts: {said}" in report_text(report)
    assert html.escape(said) in html_page("An audit", [], {}, report)
    assert "false accepts" not in report_text(AuditReport(1, [], None, None, []))


def test_the_page_of_results_is_of_the_same_runs() -> None:
    assert sorted(SHARES) == SHARES and len(set(SHARES)) == len(SHARES)
    page = DOC.read_text(encoding="utf-8")
    for arm in ARMS:
        points = arm["points lost"]
        assert points["low"] <= points["mean"] <= points["high"]
        assert (
            f"- {arm['wrong share']:.1%} wrong: {points['mean']:.1f} [{points['low']:.1f}, {points['high']:.1f}]"
            in page
        )
    found = {float(each) for each in re.findall(r"^\| fp-\d+ \|.*?\| ([+-][\d.]+) \[", page, re.MULTILINE)}
    assert found == {arm["points lost"]["mean"] for arm in ARMS}
