"""Text that fits its terminal: columns go by priority, sentences break at words, nothing else changes."""

from __future__ import annotations

import io
import os
import pty
from pathlib import Path

import pytest

from tpt.system.terminal import columns_of, text_table, wrapped

ROWS = [
    ["round", "strict", "lenient", "p"],
    ["*0", "41.7 ± 22.5", "54.2 ± 23.8", ""],
    ["1", "29.2 [12.7, 53.8]", "45.8 ± 23.7", "< 0.001"],
]


def test_a_file_has_no_width_and_a_terminal_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    with (tmp_path / "out").open("w") as file:
        assert columns_of(file) is None and columns_of(io.StringIO()) is None
    ours, theirs = pty.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w") as terminal:
        monkeypatch.setenv("COLUMNS", "72")
        assert columns_of(terminal) == 72
        monkeypatch.setenv("COLUMNS", "wide")
        assert (columns_of(terminal) or 0) >= 1


def test_without_a_width_a_table_has_every_column() -> None:
    assert text_table(ROWS, left=(), drop=(3, 2)) == [
        "round             strict      lenient        p",
        "   *0        41.7 ± 22.5  54.2 ± 23.8",
        "    1  29.2 [12.7, 53.8]  45.8 ± 23.7  < 0.001",
    ]


@pytest.mark.parametrize(("width", "gone"), [(46, []), (45, ["p"]), (30, ["lenient", "p"])])
def test_columns_go_by_priority_and_the_table_says_which(width: int, gone: list[str]) -> None:
    lines = text_table(ROWS, width=width, left=(), drop=(3, 2))
    kept = [name for name in ROWS[0] if name not in gone]
    assert lines[0].split() == kept
    said = " ".join(" ".join(lines[3:]).split())
    assert said.startswith(f"(no room for: {', '.join(gone)};") if gone else not said
    assert max(map(len, lines)) <= width


def test_an_empty_column_is_not_missed() -> None:
    rows = [["a", "b"], ["1" * 9, ""]]
    assert text_table(rows, width=9, drop=(1,)) == ["a", "1" * 9]


def test_where_no_column_may_go_rows_become_lines() -> None:
    lines = text_table(ROWS, width=24)
    assert lines == [
        *("round: *0", "  strict: 41.7 ± 22.5", "  lenient: 54.2 ± 23.8"),
        *("round: 1", "  strict: 29.2 [12.7,", "    53.8]", "  lenient: 45.8 ± 23.7", "  p: < 0.001"),
    ]


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_sentences_break_at_words_and_keep_their_words(width: int) -> None:
    text = "Tested by problem, Holm over the rounds, level 0.05; see tpt report runs/first --html. " * 4
    lines = wrapped(f"  - {text}", width).split("\n")
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()) == f"- {' '.join(text.split())}"
    assert all(line.startswith("    ") for line in lines[1:])


def test_a_path_or_an_option_is_never_broken() -> None:
    path = "/a/very-long/path-of-a-run/that-is-longer/than-the-line.jsonl"
    lines = wrapped(f"error: {path}: no such file, and --set think.samples=20", 30).split("\n")
    assert [line.strip() for line in lines] == ["error:", f"{path}:", "no such file, and --set", "think.samples=20"]


def test_short_lines_and_pipes_stay_as_they_are() -> None:
    code = "def f(x):\n\n    return  x   # two spaces"
    assert wrapped(code, 80) == code and wrapped("word " * 99, None) == "word " * 99
