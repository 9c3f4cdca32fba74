"""What an audit says of a precision is what was measured, and the page of results says the same."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from tpt.audit.audit import AuditReport, Rate
from tpt.audit.mistake_cost import FILE, cost_sentence
from tpt.report.audit import html_page, report_text
from tpt.system.jsonl import read_json

KNOWN = read_json(FILE)
SLOPE = KNOWN["points per share of wrong traces"]
DOC = Path(__file__).parents[2] / "docs" / "results" / "noise.md"


def test_the_sentence_is_the_file_s_numbers() -> None:
    said = cost_sentence(Rate(0.97, 0.91, 0.99, 60))
    about, low, high = SLOPE["mean"] * 0.03, SLOPE["low"] * 0.01, SLOPE["high"] * 0.09
    assert said.startswith(
        f"a precision of 97.0% would cost about {about:.1f} points of strict pass@1 by round {KNOWN['rounds']} "
    )
    assert f"({low:.1f} to {high:.1f}; {KNOWN['seeds']} seed" in said
    assert SLOPE["low"] <= SLOPE["mean"] <= SLOPE["high"]


def test_no_number_is_said_of_what_was_not_measured() -> None:
    assert cost_sentence(None) == ""
    least = KNOWN["lowest precision"]
    said = cost_sentence(Rate(least - 0.05, 0.1, 0.9, 60))
    assert (
        "is below what was measured" in said
        and f"{least:.0%} would cost about {SLOPE['mean'] * (1 - least):.0f} points" in said
    )


def test_an_audit_says_it_beside_the_precision() -> None:
    report = AuditReport(1, [], Rate(0.9, 0.8, 0.95, 40), None, [])
    said = cost_sentence(report.precision)
    assert said and f"false accepts: {said}" in report_text(report)
    assert html.escape(said) in html_page("An audit", [], {}, report)
    assert "false accepts" not in report_text(AuditReport(1, [], None, None, []))


def test_the_line_follows_from_the_arms() -> None:
    arms = KNOWN["arms"]
    shares, lost = [each["wrong share"] for each in arms], [each["points lost"] for each in arms]
    slope = sum(x * y for x, y in zip(shares, lost, strict=True)) / sum(x * x for x in shares)
    assert slope == pytest.approx(SLOPE["mean"], abs=0.5)
    assert KNOWN["lowest precision"] == pytest.approx(1 - max(shares), abs=0.001)


def test_the_page_of_results_is_of_the_same_runs() -> None:
    page = DOC.read_text(encoding="utf-8")
    each, low, high = (SLOPE[name] / 100 for name in ("mean", "low", "high"))
    assert f"costs {each:.2f} points\n[{low:.2f}, {high:.2f}] by round {KNOWN['rounds']}" in page
    lost = {float(found) for found in re.findall(r"^\| fp-\d+ \|.*?\| ([+-][\d.]+) \[", page, re.MULTILINE)}
    assert lost == {arm["points lost"] for arm in KNOWN["arms"]}
