"""The round table, and model output that a terminal must not obey."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tpt.evidence import Difference, Interval
from tpt.records import Estimate
from tpt.report.markdown import markdown_table
from tpt.report.rows import RoundRow
from tpt.report.text import printable, round_table

GAIN = Difference(0.0625, 0.02, 0.021, 0.104, 0.01, 0.02, 0.05, "gain")
NOISE = Difference(-0.01, 0.02, -0.05, 0.03, 0.6, 1.0, 0.05, "within noise")


def row(index: int, *, best: bool = False, gain: Difference | None = None, tokens: int = 1_234_567) -> RoundRow:
    return RoundRow(
        round=index,
        best=best,
        strict=Estimate(0.25 + index / 16, 0.0312),
        lenient=Estimate(0.5, 0.02),
        k=16,
        pass_at_k=Estimate(0.75, 0.01),
        gain=gain,
        gain_lenient=gain,
        skill=Interval(0.05, 0.01, 0.09) if gain else None,
        format=Interval(0.0125, 0.0, 0.02) if gain else None,
        step=NOISE if gain else None,
        solved=1234 if index else None,
        examples=400 if index else None,
        tokens=tokens,
        wall_s=90,
    )


ROWS = [row(0), row(1, best=True, gain=GAIN)]


def rendered(rows: list[RoundRow], width: int = 140) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(round_table(rows))
    return file.getvalue()


def test_the_table_shows_every_round_and_stars_the_best() -> None:
    heading, base, first = [line.split() for line in rendered(ROWS).splitlines()]
    assert heading[:5] == ["round", "pass@1", "strict", "lenient", "pass@16"]
    assert base == ["0", "25.0", "±", "3.1", "50.0", "±", "2.0", "75.0", "±", "1.0", "1.2M", "1.5"]
    assert first[0] == "*1" and first[-3:] == ["400", "1.2M", "1.5"]
    assert first[10:-3] == ["+6.2", "[+2.1,", "+10.4]", "gain", "+5.0", "+1.2", "noise"]


def test_the_table_fits_a_terminal_of_120_columns() -> None:
    wide = row(10, best=True, gain=Difference(-0.123, 0, -0.234, -0.111, 0, 0, 0, "loss"), tokens=123_456_789)
    lines = rendered([*ROWS, wide], width=120).splitlines()
    assert len(lines) == 4 and "…" not in "".join(lines) and max(map(len, lines)) <= 120
    assert "123M" in lines[3]


def test_the_markdown_table_has_as_many_cells_in_every_line() -> None:
    lines = markdown_table(ROWS).splitlines()
    assert len(lines) == 4 and {line.count("|") for line in lines} == {13}
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
