"""Whether an answer is written as asked is one question, and whether it is right another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Tpt

from tpt.config import RunConfig, VerifyConfig, render_toml
from tpt.records import Example, Outcome, Problem, Trace, Verdict
from tpt.report.answer_form import answer_form
from tpt.run.directory import RunDir
from tpt.system.jsonl import replace_records
from tpt.verifiers.judge import judge_one

CASES = [
    ("number", "18", "9 + 9 = 18\n#### 18", "format kept"),
    ("number", "18", "The answer is 18.", "format not kept"),
    ("number", "18", "9 + 8 = 17\n#### 17", "format kept"),
    ("number", "18", "The answer is 17.", "format not kept"),
    ("number", "18", "I cannot tell.", ""),
    ("math", "\\frac{1}{2}", "so \\boxed{\\frac{1}{3}}", "format kept"),
    ("math", "\\frac{1}{2}", "so it is \\frac{1}{3}.", "format not kept"),
    ("math", "\\frac{1}{2}", "so \\boxed{0.5}", "format kept"),
    ("choice", "B", "#### C", "format kept"),
    ("choice", "B", "The answer is (C).", "format not kept"),
    ("exact", "Paris", "#### London", "format kept"),
    ("regex", "Par.s", "#### London", ""),
]


def verdict_of(problem: Problem, completion: str, limits: VerifyConfig = VerifyConfig()) -> Verdict:  # noqa: B008
    found = judge_one(problem, completion, limits=limits)
    return Verdict(problem.id, 0, found.outcome, found.strict, found.extracted, found.detail)


@pytest.mark.parametrize(("kind", "gold", "completion", "form"), CASES)
def test_the_form_of_right_and_wrong_answers(kind: str, gold: str, completion: str, form: str) -> None:
    problem = Problem("p", "Which of (A) x (B) y (C) z?", gold, kind=kind)
    verdict = verdict_of(problem, completion)
    assert answer_form(Trace("p", 0, completion, "stop", 9, 0), verdict, problem, VerifyConfig()) == form


def test_the_run_s_own_format_decides() -> None:
    problem, trace = Problem("p", "?", "18"), Trace("p", 0, "so \\boxed{17}", "stop", 9, 0)
    for answer_format, form in (("boxed", "format kept"), ("hash", "format not kept"), ("last", "format kept")):
        limits = VerifyConfig(answer_format=answer_format)
        verdict = verdict_of(problem, trace.completion, limits)
        assert verdict.outcome is Outcome.WRONG and answer_form(trace, verdict, problem, limits) == form


def test_a_verifier_that_is_not_here_leaves_it_open() -> None:
    problem = Problem("p", "?", "18", kind="nowhere.py:check")
    verdict = Verdict("p", 0, Outcome.WRONG, False, "17")
    assert answer_form(Trace("p", 0, "#### 17", "stop", 9, 0), verdict, problem, VerifyConfig()) == ""


def test_show_and_audit_say_both(tpt: Tpt, tmp_path: Path) -> None:
    run, problem = RunDir(tmp_path / "run"), Problem("p", "What is 9 + 9?", "18")
    run.path.mkdir()
    run.config.write_text(render_toml(RunConfig()))
    replace_records(run.problems, [problem])
    replace_records(run.heldout, [])
    texts = ["#### 17", "It is 17.", "It is 18.", "#### 18"]
    round_dir = run.round(1)
    replace_records(round_dir.traces, [Trace("p", n, text, "stop", 3, 0) for n, text in enumerate(texts)])
    verdicts = [verdict_of(problem, text) for text in texts]
    placed = [Verdict("p", n, v.outcome, v.strict, v.extracted) for n, v in enumerate(verdicts)]
    replace_records(round_dir.verdicts, placed)
    replace_records(round_dir.examples, [Example("p", 3, [])])
    out = tpt("show", run.path, "--round", "1", "--problem", "p").out
    said = [line for line in out.splitlines() if line.startswith("--- sample")]
    assert [line.split(": ")[1].split(",")[0] for line in said] == [
        *("WRONG (format kept", "WRONG (format not kept", "CORRECT (format not kept", "CORRECT (format kept"),
    ]
    table = json.loads(tpt("show", run.path, "--round", "1", "--problem", "p", "--format", "json").out)
    forms = ["format kept", "format not kept", "format not kept", "format kept"]
    assert [each["answer_format"] for each in table["traces"]] == forms
    page = tmp_path / "audit.html"
    assert tpt("audit", run.path, "--n", "9", "--html", page).code == 0
    assert "WRONG, format kept, ended by stop" in page.read_text()
    assert "WRONG, format not kept, ended by stop" in page.read_text()
