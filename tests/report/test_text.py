"""The round table, and model output that a terminal must not obey."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from tpt.evidence import Difference
from tpt.records import Estimate
from tpt.report.markdown import markdown_table
from tpt.report.rows import RoundRow
from tpt.report.text import round_table
from tpt.system.terminal import printable
from tpt.system.words import score_text

PART = Difference(0.0125, 0.01, -0.004, 0.02, 0.1, 0.2, 0.03, "within noise")
GAIN = Difference(0.0625, 0.02, 0.021, 0.104, 0.01, 0.02, 0.05, "gain")
NOISE = Difference(-0.01, 0.02, -0.05, 0.03, 0.6, 1.0, 0.05, "within noise")


def row(index: int, *, best: bool = False, gain: Difference | None = None, tokens: int = 1_234_567) -> RoundRow:
    strict = 0.25 + index / 16
    return RoundRow(
        round=index,
        best=best,
        strict=Estimate(strict, 0.0158, strict - 0.031, strict + 0.031),
        lenient=Estimate(0.5, 0.01, 0.48, 0.52),
        greedy=Estimate(0.5625, 0.02, 0.52, 0.60),
        majority=Estimate(0.625, 0.02, 0.585, 0.665),
        k=16,
        pass_at_k=Estimate(0.975, 0.01, 0.93, 0.99),
        gain=gain,
        gain_lenient=gain,
        format=PART if gain else None,
        sharpening=replace(PART, mean=-0.02) if gain else None,
        skill=replace(PART, mean=0.07) if gain else None,
        step=NOISE if gain else None,
        solved=1234 if index else None,
        examples=400 if index else None,
        tokens=tokens,
        wall_s=90,
    )


ROWS = [row(0), row(1, best=True, gain=GAIN)]


WIDE = row(10, best=True, gain=Difference(-0.123, 0, -0.234, -0.111, 0, 0, 0, "loss"), tokens=123_456_789)
ALL = [
    *("round", "strict", "lenient", "greedy", "maj@16", "pass@16", "gain [95 %]", "vs base", "format", "sharpening"),
    *("skill [95 %]", "vs last", "set", "tokens", "min"),
]


def rendered(rows: list[RoundRow], width: int) -> list[str]:
    return round_table(rows, width=width)


def shown_headings(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


def test_the_table_shows_every_round_and_stars_the_best() -> None:
    heading, base, first = rendered(ROWS, 220)
    assert shown_headings(heading) == ALL
    cells = ["0", "25.0 ± 3.1", "50.0 ± 2.0", "56.2 ± 4.0", "62.5 ± 4.0", "97.5 [93.0, 99.0]", "1.2M", "1.5"]
    assert shown_headings(base) == cells
    told = ["+6.2 [+2.1, +10.4]", "gain", "+1.2", "-2.0", "+7.0 [-0.4, +2.0]", "noise", "400", "1.2M", "1.5"]
    assert shown_headings(first) == ["*1", "31.2 ± 3.1", *cells[2:6], *told]


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_heading_is_cut(width: int) -> None:
    lines = rendered([*ROWS, WIDE], width)
    assert "…" not in "".join(lines) and max(map(len, lines)) <= width
    found = shown_headings(lines[0])
    assert set(found) <= set(ALL) and found == sorted(found, key=ALL.index)
    assert {"round", "strict", "greedy", "gain [95 %]", "skill [95 %]"} <= set(found)
    assert "-12.3 [-23.4, -11.1]" in lines[3]
    missing = [name for name in ALL if name not in found]
    said = " ".join(lines[4:]).replace("  ", " ")
    assert said.startswith(f"(no room for: {', '.join(missing)};") if missing else not said


def test_the_least_important_columns_go_first() -> None:
    kept = [shown_headings(rendered([*ROWS, WIDE], width)[0]) for width in (80, 100, 120, 200)]
    assert [len(each) for each in kept] == sorted(len(each) for each in kept) and len(kept[0]) < len(kept[-1])
    assert all(set(narrow) <= set(wide) for narrow, wide in pairwise(kept))
    assert "vs last" not in kept[0] and "tokens" not in kept[0] and "format" in kept[1]


def test_a_scores_interval_is_bounds_where_it_is_uneven() -> None:
    assert score_text(Estimate(0.5, 0.02, 0.46, 0.54)) == "50.0 ± 4.0"
    assert score_text(Estimate(1.0, 0.0, 0.57, 1.0)) == "100.0 [57.0, 100.0]"
    # What earlier versions stored has a standard error alone.
    assert score_text(Estimate(0.5, 0.02)) == "50.0 ± 3.9"
    assert score_text(Estimate(0.99, 0.02)) == "99.0 [95.1, 100.0]"


def test_the_markdown_table_has_as_many_cells_in_every_line() -> None:
    lines = markdown_table(ROWS).splitlines()
    assert len(lines) == 4 and {line.count("|") for line in lines} == {len(ALL) + 1}
    assert lines[3].startswith("| *1 | 31.2 ± 3.1 |")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext é漢🙂", "plain\n\ttext é漢🙂"),
        ("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m"),
        ("\x9b2J", "\\u{9b}2J"),
        ("over\rwritten\x08", "over\\u{d}written\\u{8}"),
        ("\u202etxt\u2066\u200b", "\\u{202e}txt\\u{2066}\\u{200b}"),
        ("\ud800", "\\u{d800}"),
        ("\u2028\u2029\ufeff", "\\u{2028}\\u{2029}\\u{feff}"),
        ("\U000e0041", "\\u{e0041}"),
    ],
)
def test_nothing_is_printed_that_a_terminal_would_obey(text: str, shown: str) -> None:
    assert printable(text) == shown
