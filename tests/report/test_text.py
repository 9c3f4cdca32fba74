"""The round table, the Markdown report, and model output that a terminal must not obey."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tpt.jsonl import replace_records
from tpt.records import Estimate, EvalReport, Outcome, RoundRecord, Verdict
from tpt.report.rows import Row, report_rows
from tpt.report.text import headline, markdown_report, markdown_table, printable, round_table
from tpt.run_dir import RunDir
from tpt.stats import PairedDifference

GAIN = PairedDifference(0.0625, 0.02, 0.021, 0.104, 0.01)
LOSS = PairedDifference(-0.01, 0.02, -0.05, 0.03, 0.6)


def row(index: int, *, best: bool = False, gain: PairedDifference | None = None, k: int = 4) -> Row:
    return Row(
        round=index,
        best=best,
        strict=Estimate(0.25 + index / 16, 0.0312),
        lenient=Estimate(0.5, 0.02),
        k=k,
        pass_at_k=Estimate(0.75, 0.01),
        gain=gain,
        gain_lenient=LOSS if gain else None,
        solved=1234 if index else None,
        examples=400 if index else None,
        tokens=1_234_567,
        wall_s=90,
    )


ROWS = [row(0), row(1, best=True, gain=GAIN)]


def rendered(rows: list[Row]) -> str:
    file = io.StringIO()
    Console(file=file, width=140).print(round_table(rows))
    return file.getvalue()


def test_the_table_shows_every_round_and_stars_the_best() -> None:
    heading, base, first = [line.split() for line in rendered(ROWS).splitlines()]
    assert heading[:5] == ["round", "pass@1", "strict", "lenient", "pass@4"]
    assert base == ["0", "25.0", "±", "3.1", "50.0", "±", "2.0", "75.0", "±", "1.0", "1,234,567", "1.5"]
    assert first[0] == "*1" and first[-4:] == ["1,234", "400", "1,234,567", "1.5"]
    assert "+6.2 [+2.1, +10.4]" in rendered(ROWS) and "-1.0 [-5.0, +3.0]" in rendered(ROWS)


def test_the_markdown_table_has_as_many_cells_in_every_line() -> None:
    lines = markdown_table(ROWS).splitlines()
    assert len(lines) == 4 and {line.count("|") for line in lines} == {11}
    assert lines[3].startswith("| *1 | 31.2 ± 3.1 |")


def test_the_headline_says_what_was_achieved() -> None:
    assert headline(ROWS[1], ROWS[0]) == (
        "Round 1 is the best: strict pass@1 went from 25.0% to 31.2% (+6.2 [+2.1, +10.4] points), "
        "lenient from 50.0% to 50.0% (-1.0 [-5.0, +3.0] points)."
    )
    assert headline(ROWS[0], ROWS[0]) == "No round beat the base model (25.0 ± 3.1 strict pass@1)."


def test_the_headline_of_a_gain_without_an_interval_still_names_the_best_round() -> None:
    best = row(1, best=True)
    assert headline(best, ROWS[0]) == (
        "Round 1 is the best: strict pass@1 went from 25.0% to 31.2%, lenient from 50.0% to 50.0%."
    )


def record(index: int) -> RoundRecord:
    estimates = {1: Estimate(0.5, 0.1), 2: Estimate(0.75, 0.1)}
    outcomes = {str(outcome): count for outcome, count in zip(Outcome, (2, 1, 1, 0, 0), strict=True)}
    report = EvalReport(
        2, 2, outcomes, estimates, estimates, {2: Estimate(0.5, 0.1)}, {}, {"mean": 10.5, "truncated": 0.25}
    )
    counts = {"solved_problems": 3, "examples": 2} if index else None
    think = {"completion_tokens": 100} if index else None
    return RoundRecord(index, "m", report, think=think, prune=counts, wall_s=60)


def write_verdicts(run: RunDir, index: int, right: dict[str, list[bool]]) -> None:
    verdicts = [
        Verdict(problem_id, sample, Outcome.CORRECT if is_right else Outcome.WRONG, is_right, "1")
        for problem_id, row in right.items()
        for sample, is_right in enumerate(row)
    ]
    replace_records(run.round(index).evaluate_verdicts, verdicts)


def test_rows_pair_each_round_with_the_base_model(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_verdicts(run, 0, {"a": [False, False], "b": [True, True]})
    write_verdicts(run, 1, {"b": [True, True], "a": [True, False]})
    base, first = report_rows(run, [record(0), record(1)], best=1)
    assert base.gain is None and first.gain is not None and first.gain.mean == pytest.approx(0.25)
    assert (base.best, first.best, first.k) == (False, True, 2)
    assert (base.tokens, first.tokens) == (42, 142)
    assert (base.solved, first.solved, first.examples) == (None, 3, 2)
    assert report_rows(run, [], best=0) == []


def test_a_single_held_out_problem_leaves_nothing_to_pair(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for index in (0, 1):
        write_verdicts(run, index, {"a": [True, False]})
    assert report_rows(run, [record(0), record(1)], best=0)[1].gain is None


def test_the_report_counts_every_outcome() -> None:
    text = markdown_report(ROWS, [record(0), record(1)], title="first", stopped="all 1 rounds are done")
    assert text.startswith("# first\n\nRound 1 is the best")
    assert "Scored on 2 held-out problems, 2 samples each" in text and "Stopped: all 1 rounds are done." in text
    assert "| round | CORRECT | WRONG | NO_ANSWER | TIMEOUT | ERROR | cut off |" in text
    assert "| 1 | 2 | 1 | 1 | 0 | 0 | 25.0% |" in text
    assert "Not finished yet." in markdown_report(ROWS, [record(0)], title="first", stopped="")
    assert markdown_report([], [], title="first", stopped="") == "# first\n\nNo round is finished yet.\n"


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
