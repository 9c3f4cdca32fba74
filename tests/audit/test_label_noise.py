"""What traces say about their problems: golds that may be wrong, checks that differ."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Tpt
from real_data import DATA

from tpt.audit.label_noise import check_traces, label_noise_suspects
from tpt.errors import RunError
from tpt.problems import load_problems
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.report.noise import SHOWN, trace_check_text
from tpt.verifiers.judge import judge


def traces_of(problem_id: str, *completions: str) -> list[Trace]:
    return [Trace(problem_id, sample, text, "stop", 0, 0) for sample, text in enumerate(completions)]


@pytest.mark.parametrize(
    ("answers", "suspected"),
    [
        (["20", "20.0", "$20"], ("20", 3, 0)),
        (["20", "20"], None),
        (["20", "20", "20", "18", "18"], ("20", 3, 2)),
        (["20", "20", "20", "18", "18", "18"], None),
        (["20", "20", "20", "21", "22", "23"], None),
        (["20"] * 6 + ["none"] * 4, ("20", 6, 0)),
        (["18"] * 5, None),
        (["none"] * 5, None),
    ],
)
def test_samples_that_agree_on_another_answer_make_the_gold_suspect(
    answers: list[str], suspected: tuple[str, int, int] | None
) -> None:
    problems = {"p": Problem("p", "How many?", "18")}
    texts = ["I do not know" if answer == "none" else f"#### {answer}" for answer in answers]
    suspects = label_noise_suspects(judge(traces_of("p", *texts), problems), problems)
    assert [(each.answer, each.agree, each.correct) for each in suspects] == ([suspected] if suspected else [])
    assert all((each.gold, each.samples, each.question) == ("18", len(answers), "How many?") for each in suspects)


def test_the_most_agreed_on_come_first() -> None:
    problems = {key: Problem(key, "?", "1") for key in "abc"}
    verdicts = [
        Verdict(key, sample, Outcome.WRONG, True, "2" if sample < agree else str(100 + sample))
        for key, agree in (("a", 3), ("b", 4), ("c", 4))
        for sample in range(4)
    ]
    assert [each.problem_id for each in label_noise_suspects(verdicts, problems)] == ["b", "c", "a"]


def test_both_sorts_of_disagreement_are_listed() -> None:
    problems = {"n": Problem("n", "?", "0.5"), "m": Problem("m", "?", "\\frac{1}{2}", "math")}
    traces = [*traces_of("n", "#### 0.5", "it is 0.5", "So \\boxed{\\frac{1}{2}}"), *traces_of("m", "\\boxed{0.5}")]
    found = check_traces(traces, problems, judge=judge)
    assert (found.traces, found.problems, found.outcomes["CORRECT"]) == (4, 2, sum(found.outcomes.values()))
    strict = [(each.problem_id, each.sample) for each in found.disagreements if each.rejected_by == "strict"]
    assert strict[:2] == [("n", 1), ("n", 2)]
    assert {(each.accepted_by, each.rejected_by) for each in found.disagreements} <= {
        ("lenient", "strict"),
        ("number", "math"),
        ("math", "number"),
    }


def test_a_verifier_that_differs_is_named_with_what_each_one_read() -> None:
    problems = {"m": Problem("m", "?", "5", "math")}
    trace = traces_of("m", "The answer is \\boxed{5}, so #### 6")

    def lopsided(traces, problems):  # type: ignore[no-untyped-def]
        """Reads the box for mathematics and the number behind the marks for numbers."""
        reads = {"math": "5", "number": "6"}
        return [
            Verdict(
                each.problem_id,
                each.sample,
                Outcome.CORRECT if reads[problems[each.problem_id].kind] == "5" else Outcome.WRONG,
                True,
                reads[problems[each.problem_id].kind],
            )
            for each in traces
        ]

    (only,) = check_traces(trace, problems, judge=lopsided).disagreements
    assert (only.accepted_by, only.rejected_by, only.gold) == ("math", "number", "5")
    assert (only.accepted_answer, only.rejected_answer) == ("5", "6")


def test_golds_that_the_other_verifier_cannot_read_say_nothing() -> None:
    problems = {"m": Problem("m", "?", "p - q", "math"), "c": Problem("c", "?\nA) 1\nB) 2", "A", "choice")}
    traces = [*traces_of("m", "\\boxed{p - q}"), *traces_of("c", "The answer is (A).")]
    found = check_traces(traces, problems, judge=judge)
    assert {each.rejected_by for each in found.disagreements} <= {"strict"}
    with pytest.raises(RunError, match="no traces"):
        check_traces([], problems, judge=judge)


def test_the_text_is_short_and_safe() -> None:
    problems = {f"p{number}": Problem(f"p{number}", "How \x1b[2J many?", "18") for number in range(SHOWN + 5)}
    traces = [trace for key in problems for trace in traces_of(key, "#### 20", "#### 20", "#### 20", "it is 18")]
    text = trace_check_text(check_traces(traces, problems, judge=judge))
    assert "25 gold answers to look at" in text
    assert "p0: gold 18, but 3 of 4 samples say 20, 1 say the gold" in text
    assert "and 5 more: --format json lists them" in text
    assert "accepted by lenient, rejected by strict: 25" in text
    assert "\x1b" not in text


def test_the_command_reads_traces_of_any_tool(
    tpt: Tpt, fails: Callable[..., str], problem_file: Callable[..., Path]
) -> None:
    problems = problem_file("problems.jsonl", [{"id": "a", "question": "How many?", "answer": "18"}])
    traces = problem_file("traces.jsonl", [{"problem_id": "a", "completion": f"#### {n}"} for n in (20, 20, 20, 18)])
    table = tpt("check", problems, "--traces", traces)
    assert table.code == 0
    assert "a: gold 18, but 3 of 4 samples say 20, 1 say the gold" in table.out
    found = json.loads(tpt("check", problems, "--traces", traces, "--format", "json").out)
    assert found["ok"] is True
    assert found["traces"]["suspects"][0]["answer"] == "20"
    assert "traces" not in json.loads(tpt("check", problems, "--format", "json").out)
    assert "no such file" in fails("check", problems, "--traces", "nowhere.jsonl")


def data_folder() -> Path:
    return DATA


@pytest.mark.real_data
@pytest.mark.skipif(not data_folder().is_dir(), reason="the data sets are not in TPT_DATA")
def test_doubtful_questions_of_gsm8k_are_among_the_suspects() -> None:
    path = data_folder() / "model_outputs" / "gsm8k_example_model_solutions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    problems = {problem.id: problem for problem in load_problems(f"gsm8k:{data_folder()}/math?split=test")}
    solutions = [[each["solution"] for each in row.values() if isinstance(each, dict)] for row in rows]
    traces = [trace for key, texts in zip(problems, solutions, strict=True) for trace in traces_of(key, *texts)]
    found = check_traces(traces, problems, judge=judge)
    assert found.outcomes == {"CORRECT": 2001, "WRONG": 3275, "NO_ANSWER": 0, "TIMEOUT": 0, "ERROR": 0}
    suspects = {each.problem_id: each for each in found.suspects}
    assert len(suspects) < 60
    # "3 times more than 500", a Jean who becomes Jan, and "well over 4 hours longer": each can be read in two ways.
    for problem_id, gold, answer in (("00146", "2125", "2375"), ("00182", "23", "22"), ("01119", "18", "20")):
        suspect = suspects[f"gsm8k/test/{problem_id}"]
        assert (suspect.gold, suspect.answer, suspect.correct) == (gold, answer, 0)
    # These solutions end in "A: 18", which is no strict format, and both verifiers read it alike.
    assert {each.rejected_by for each in found.disagreements} == {"strict"}
