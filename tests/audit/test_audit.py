"""The audit: what is drawn, what is stored, what is concluded, and what a person sees at a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ENTRY, Finished, Tpt
from resealed import reseal

from tpt.audit.audit import Audit, AuditItem, append_mark, audit_report, draw, mark_of, marks_path, read_marks
from tpt.errors import ConfigError, RunError
from tpt.records import Mark, Outcome, Problem, Trace, Verdict
from tpt.report.audit import ask_marks, html_page, item_text, report_text
from tpt.run.directory import RunDir
from tpt.system.jsonl import replace_records

HOSTILE = "\x1b[2Jso </pre><script>alert(1)</script> \u202e81 ####"


def item(number: int, stratum: str, outcome: Outcome = Outcome.CORRECT, completion: str = "18") -> AuditItem:
    problem_id = f"p/{number:05d}"
    return AuditItem(
        Problem(problem_id, f"Question {number}?", "18"),
        Trace(problem_id, 0, completion, "stop", 3, 0),
        Verdict(problem_id, 0, outcome, outcome is Outcome.CORRECT, "18"),
        stratum,
    )


def population(sizes: dict[str, int]) -> list[AuditItem]:
    items: list[AuditItem] = []
    for stratum, size in sizes.items():
        outcome = Outcome.CORRECT if stratum.startswith("correct") else Outcome.WRONG
        items += [item(len(items) + index, stratum, outcome) for index in range(size)]
    return items


def marked(
    items: list[AuditItem], mistaken: set[tuple[str, int]], *, drawn: bool = True
) -> dict[tuple[str, int], Mark]:
    marks = {}
    for each in items:
        mistake = "false_accept" if each.accepted else "false_reject"
        marks[each.key] = mark_of(each, mistake if each.key in mistaken else "good", round_index=1, drawn=drawn)
    return marks


def test_the_draw_is_even_over_the_strata_and_a_larger_one_adds_to_it() -> None:
    items = population({"correct, trained on": 500, "correct, format not kept": 4, "wrong": 300})
    small, large = (draw(items, n, seed=3, round_index=1) for n in (30, 60))
    assert Counter(each.stratum for each in small) == {
        "correct, trained on": 13,
        "correct, format not kept": 4,
        "wrong": 13,
    }
    assert {each.key for each in small} < {each.key for each in large}
    assert small == draw(list(reversed(items)), 30, seed=3, round_index=1)
    assert small != draw(items, 30, seed=4, round_index=1)
    assert [each.stratum for each in small] != sorted(each.stratum for each in small)
    assert len(draw(items, 5000, seed=0, round_index=1)) == 804
    with pytest.raises(ConfigError, match="--n 0"):
        draw(items, 0, seed=0, round_index=1)


def test_estimates_are_weighted_by_the_sizes_of_the_strata() -> None:
    items = population({"correct, trained on": 900, "correct, format not kept": 100, "wrong": 1000})
    read = items[:10] + items[900:910] + items[1000:1020]
    mistaken = {each.key for each in [items[900], items[901], items[1000]]}
    report = audit_report(items, marked(read, mistaken), 1)
    assert report.precision is not None
    assert report.recall is not None
    # 0.9 * 10/10 + 0.1 * 8/10; 980 found and 1/20 of 1000 missed.
    assert report.precision.value == pytest.approx(0.98)
    assert report.recall.value == pytest.approx(980 / (980 + 50))
    # Wilson's bounds x at the effective number of marks solve (p - x)^2 = z^2 x (1 - x) / n.
    effective = 1 / (0.9**2 / 10 + 0.1**2 / 10)
    for bound in (report.precision.low, report.precision.high):
        assert (0.98 - bound) ** 2 == pytest.approx(1.959964**2 * bound * (1 - bound) / effective, rel=1e-5)
    assert report.precision.low < 0.98 < report.precision.high < 1
    assert report.recall.low < 0.83
    assert report.recall.high > 0.99
    assert (report.precision.marks, report.recall.marks, report.notes) == (20, 40, [])


def test_intervals_cover_the_truth() -> None:
    items = population({"correct, trained on": 300, "correct, format not kept": 100, "wrong": 400, "no answer": 50})
    wrong_ones = {"correct, trained on": 0.05, "correct, format not kept": 0.2, "wrong": 0.1, "no answer": 0.0}
    counted: Counter[str] = Counter()
    mistaken = set()
    for each in items:
        counted[each.stratum] += 1
        if int(counted[each.stratum] * wrong_ones[each.stratum]) > int(
            (counted[each.stratum] - 1) * wrong_ones[each.stratum]
        ):
            mistaken.add(each.key)
    right = sum(each.accepted and each.key not in mistaken for each in items)
    missed = sum(not each.accepted and each.key in mistaken for each in items)
    covered: Counter[str] = Counter()
    for seed in range(200):
        report = audit_report(items, marked(draw(items, 60, seed=seed, round_index=1), mistaken), 1)
        assert report.precision is not None
        assert report.recall is not None
        covered["precision"] += report.precision.low <= right / 400 <= report.precision.high
        covered["recall"] += report.recall.low <= right / (right + missed) <= report.recall.high
    assert covered["precision"] >= 186
    assert covered["recall"] >= 190


def test_what_cannot_be_concluded_is_said() -> None:
    items = population({"correct, trained on": 50, "wrong": 40})
    nothing = audit_report(items, {}, 1)
    assert (nothing.precision, nothing.recall) == (None, None)
    assert "not estimable: no accepted trace is marked" in report_text(nothing)
    chosen = audit_report(items, marked(items[:3], set(), drawn=False), 1)
    assert chosen.precision is None
    assert chosen.notes == ["3 marks are of traces that were not drawn at random; they are kept, but not counted here"]
    half = audit_report(items, marked(items[:3], set()), 1)
    assert half.precision is not None
    assert half.precision.value == 1.0
    assert half.precision.low < 0.5
    assert half.recall is None
    assert half.notes[0].startswith("only 3 verdicts are marked")
    assert half.notes[1] == "nothing is marked of: wrong (40); the estimates leave these verdicts out"
    assert "rough: 100.0%, 95 % interval 43.9% to 100.0%, from 3 marks" in report_text(half)


def test_a_mark_of_another_completion_is_void(tmp_path: Path) -> None:
    before, after = item(1, "wrong", Outcome.WRONG, "17"), item(1, "wrong", Outcome.WRONG, "16")
    run = RunDir(tmp_path)
    append_mark(run, mark_of(before, "false_reject", round_index=1, drawn=True))
    report = audit_report([after], read_marks(run, 1), 1)
    assert report.strata[0].marked == 0
    assert report.notes == ["1 marks are of traces that were made again since; they are not counted"]


def test_marks_must_fit_the_verdict_and_the_last_one_holds(tmp_path: Path) -> None:
    accepted, rejected = item(1, "correct, trained on"), item(2, "wrong", Outcome.WRONG)
    with pytest.raises(ConfigError, match=r"judged WRONG, so it cannot be a false_accept; allowed: good, false_reject"):
        mark_of(rejected, "false_accept", round_index=1, drawn=True)
    with pytest.raises(ConfigError, match=r"mark 'false_acept' is unknown.*Did you mean 'false_accept'"):
        mark_of(accepted, "false_acept", round_index=1, drawn=True)
    run = RunDir(tmp_path)
    for mark, index in (("good", 1), ("false_accept", 1), ("good", 2)):
        append_mark(run, mark_of(accepted, mark, round_index=index, drawn=True))
    assert [mark.mark for mark in read_marks(run, 1).values()] == ["false_accept"]
    assert len(marks_path(run).read_text().splitlines()) == 3


def test_asking_shows_everything_and_takes_only_keys_that_fit() -> None:
    items = [item(1, "correct, trained on", completion=HOSTILE), item(2, "wrong", Outcome.WRONG), item(3, "wrong")]
    stored: list[tuple[str, str]] = []
    screen = io.StringIO()
    ask_marks(
        items,
        keyboard=io.StringIO("r\n\nA\nr\n"),
        screen=screen,
        store=lambda each, mark: stored.append((each.problem.id, mark)),
    )
    assert stored == [("p/00001", "false_accept"), ("p/00002", "false_reject")]
    shown = screen.getvalue()
    assert shown.count("press one of g, a, s or q, then Enter") == 2
    assert "gold answer: 18" in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\u{1b}[2Jso" in item_text(items[0])


def test_the_page_is_escaped_and_stands_alone() -> None:
    items = [item(1, "correct, trained on", completion=HOSTILE), item(2, "wrong", Outcome.WRONG)]
    marks = marked(items, set())
    page = html_page("A & <b>", items, marks, audit_report(items, marks, 1))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "<title>A &amp; &lt;b&gt;</title>" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("<section>") == 2


def test_a_run_is_audited_without_a_terminal(tpt: Tpt, fails: Callable[..., str], finished_copy: Path) -> None:
    shown = tpt("audit", finished_copy, "--n", "8")
    assert shown.code == 0
    assert shown.out.count("gold answer: ") == 8
    assert "not estimable" in shown.out
    drawn = json.loads(tpt("audit", finished_copy, "--n", "8", "--format", "json").out)["drawn"]
    first = next(each for each in drawn if each["verdict"]["outcome"] == "CORRECT")
    key = f"{first['trace']['problem_id']}:{first['trace']['sample']}"
    result = tpt("audit", finished_copy, "--n", "8", "--mark", f"{key}=false_accept", "--format", "json")
    report = json.loads(result.out)["report"]
    assert sum(stratum["mistaken"] for stratum in report["strata"]) == 1
    assert report["precision"]["value"] == 0.0
    page = finished_copy / "audit.html"
    assert tpt("audit", finished_copy, "--n", "8", "--html", page).code == 0
    assert "false_accept" in page.read_text()
    assert "expected ID:SAMPLE=MARK" in fails("audit", finished_copy, "--mark", "x=good", code=2)
    assert "has no verdict of p/1, sample 0" in fails("audit", finished_copy, "--mark", "p/1:0=good")
    assert "round 7 has no verdicts to audit; rounds that have: 0, 1" in fails("audit", finished_copy, "--round", "7")


def test_the_base_model_s_round_is_its_evaluation(finished: Finished) -> None:
    opened = Audit(RunDir(finished.path), n=5, round_index=0)
    assert opened.round == 0
    assert len(opened.items) == 20
    assert {each.stratum for each in opened.items}.isdisjoint({"correct, trained on"})
    assert "correct, trained on" in {each.stratum for each in Audit(RunDir(finished.path), n=5).items}


def test_a_verdict_without_its_trace_is_an_error(finished_copy: Path) -> None:
    replace_records(RunDir(finished_copy).round(1).traces, [])
    reseal(finished_copy)
    with pytest.raises(RunError, match="has no trace or no problem"):
        Audit(RunDir(finished_copy), n=5)


def test_a_person_marks_at_a_real_terminal(finished_copy: Path) -> None:
    ours, theirs = pty.openpty()
    command = [*ENTRY, "audit", str(finished_copy), "--n", "4"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    try:
        text = _until(ours, "[q]uit? ", 1)
        os.write(ours, b"g\n")
        text += _until(ours, "[q]uit? ", 1)
        os.write(ours, b"s\n")
        text += _until(ours, "[q]uit? ", 1)
        os.write(ours, b"q\n")
        text += _until(ours, "recall", 1)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        os.close(ours)
    assert "=== 1 of 4 ===" in text
    assert "=== 3 of 4 ===" in text
    marks = read_marks(RunDir(finished_copy), 1)
    assert sorted(mark.mark for mark in marks.values()) == ["good", "skip"]
    assert all(mark.drawn for mark in marks.values())
    assert len(Audit(RunDir(finished_copy), n=4).unread()) == 2


def _until(descriptor: int, expected: str, times: int, *, patience_s: float = 30.0) -> str:
    """Read a terminal until it has shown a text so many times."""
    deadline, shown = time.monotonic() + patience_s, b""
    while shown.decode(errors="replace").count(expected) < times:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"waited for {expected!r}, saw: {shown.decode(errors='replace')[-500:]}"
        shown += os.read(descriptor, 65536)
    return shown.decode(errors="replace")
