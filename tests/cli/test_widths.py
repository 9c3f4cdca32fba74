"""Every command that prints tables, at terminals of several widths and into a pipe."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from command_line import QUICKSTART, TINY, Finished, Tpt, sets
from rich.console import Console
from terminal import at_terminal

from tpt.system.progress import bar


def commands(run: Path) -> dict[str, list[object]]:
    first = json.loads((run / "round-1" / "examples.jsonl").read_text().splitlines()[0])["problem_id"]
    return {
        "report": ["report", run],
        "compare runs": ["report", run, "--compare", run],
        "status": ["status", run],
        "show": ["show", run, "--round", "1"],
        "show problem": ["show", run, "--round", "1", "--problem", first],
        "audit": ["audit", run, "--n", "4", "--mark", f"{first}:0=skip"],
        "plan": ["plan", run],
        "check config": ["check", run],
        "check": ["check", "word_problems?split=train&size=5", "--against", "word_problems?split=heldout&size=5"],
        "pass-at-k": ["pass-at-k", run / "round-1" / "evaluate"],
        "score": ["score", run, "--round", "0", "--out", run.parent / "scored", *sets("evaluate.samples=2")],
        "error": ["show", run, "--round", "7"],
        "doctor": ["doctor"],
    }


NAMES = [
    *(
        "report",
        "compare runs",
        "status",
        "show",
        "show problem",
        "audit",
        "plan",
        "check config",
        "check",
        "pass-at-k",
    ),
    *("score", "error", "doctor"),
]


def too_wide(lines: list[str], columns: int) -> list[str]:
    """A path of the tests may be longer than a line: such a word stands alone, or behind its name."""
    wide = [line.split() for line in lines if len(line) > columns]
    return [" ".join(words) for words in wide if len(words) > 2 or ("/" not in words[-1] and len(words) > 1)]


@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_wider_than_the_terminal(name: str, finished_copy: Path) -> None:
    for columns in (80, 100) if name != "report" else (60, 80, 100, 117, 200):
        _, lines = at_terminal(columns, *commands(finished_copy)[name])
        assert not too_wide(lines, columns), (name, columns)
        assert len(lines) > 1 and "…" not in "".join(lines)
        assert not any("Traceback" in line for line in lines)


def test_a_wide_terminal_and_a_pipe_have_every_column(finished: Finished, tpt: Tpt) -> None:
    piped = tpt("report", finished.path).out.splitlines()
    _, shown = at_terminal(250, "report", finished.path)
    assert shown[:3] == piped[:3] and piped[0].split()[-1] == "min" and "vs base" in piped[0]
    # In a pipe a sentence is one line, for grep and for programs.
    assert any(len(line) > 200 for line in piped) and "no room for" not in "".join(piped)


def test_the_words_of_a_narrow_report_are_those_of_a_wide_one(finished: Finished) -> None:
    texts = [" ".join(at_terminal(columns, "report", finished.path)[1]).split() for columns in (60, 250)]
    start = [text.index("No") if "No" in text else text.index("Round") for text in texts]
    assert texts[0][start[0] :] == texts[1][start[1] :]


def test_a_run_at_80_columns_begins_with_its_header_and_fits(tmp_path: Path) -> None:
    run = tmp_path / "r"
    code, lines = at_terminal(80, "run", QUICKSTART, "--out", run, *sets(*TINY), timeout_s=240)
    said = [line for line in lines if line.strip()]
    assert code == 0 and not too_wide(said, 80)
    header = " ".join(" ".join(said[:4]).split())
    for part in (
        f"{run}:",
        "model embedded",
        "40 problems to learn from, 10 held out",
        "1 round;",
        "hf on cpu in float32",
    ):
        assert part in header
    clocked = [line for line in said if "left" in line and "round 1 think" in line]
    assert clocked and all(line.rstrip()[-1] in "0123456789-" for line in clocked)


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 200])
def test_the_clock_is_whole_and_the_note_is_what_is_cut(columns: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=columns)
    shown = bar(console, disable=False)
    note = "1234 correct, 12,345 tokens/s"
    task = shown.add_task("round 12 think (solved)", total=2000, note=note)
    shown.start()
    time.sleep(0.01)
    shown.update(task, completed=740, note=note)
    lines = [line.plain.rstrip() for line in _rendered(console, shown)]
    shown.stop()
    assert len(lines) == 1 and len(lines[0]) <= columns
    assert "740/2000" in lines[0] or columns == 40
    if columns >= 60:
        assert lines[0].split("left ")[1] in ("-:--:--", "0:00:00", "0:00:01")
        assert "round 12 think (solved)" in lines[0]
    assert (note in lines[0]) == (columns >= 80)


def _rendered(console: Console, shown: object) -> list[object]:
    from rich.segment import Segment
    from rich.text import Text

    lines = console.render_lines(shown.get_renderable(), console.options)  # type: ignore[attr-defined]
    return [Text("".join(segment.text for segment in line if isinstance(segment, Segment))) for line in lines]


def test_a_check_of_a_model_and_of_traces_fit_too(finished: Finished, tmp_path: Path) -> None:
    tiny = sets(*TINY, "problems.max_heldout=8")
    problems, traces = finished.path / "problems.jsonl", finished.path / "round-1" / "traces.jsonl"
    told = tmp_path / "told.jsonl"
    told.write_text("".join(line for line in traces.read_text().splitlines(keepends=True)[:12]))
    for arguments in (["check", QUICKSTART, "--model", *tiny], ["check", problems, "--traces", told]):
        _, lines = at_terminal(80, *arguments)
        assert len(lines) > 5 and not too_wide(lines, 80)
        assert not any("Traceback" in line for line in lines)
