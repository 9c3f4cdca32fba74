"""One batch of several kinds: every verdict is its own problem's, in the order of the traces."""

from __future__ import annotations

import threading

import pytest

from tpt.audit.check import check_problems
from tpt.config import VerifyConfig
from tpt.errors import VerifierError
from tpt.records import Outcome, Problem, Trace
from tpt.verifiers.gold import gold_completion
from tpt.verifiers.judge import FORMATS, OPENINGS, formats_of, judge, judge_one
from tpt.verifiers.math.magnitude import too_large

LIMITS = VerifyConfig(timeout_s=2.0, workers=2)
CHOICE = "Q? A) 1 B) 2 C) 3"
# kind, question, gold, completion, what it is
ROWS = [
    ("number", "", "18", "#### 18", (Outcome.CORRECT, True)),
    ("math", "", r"2\sqrt{3}", r"\boxed{\sqrt{12}}", (Outcome.CORRECT, True)),
    ("choice", CHOICE, "B", "#### B", (Outcome.CORRECT, True)),
    ("exact", "", "Paris", "It is\nparis", (Outcome.CORRECT, False)),
    ("regex", "", "[0-9]{3}", "#### 123", (Outcome.CORRECT, True)),
    ("math", "", r"2\sqrt{3}", r"\boxed{\sqrt{13}}", (Outcome.WRONG, False)),
    ("regex", "", "[0-9]{3}", "#### 1234", (Outcome.WRONG, False)),
    ("math", "", "5", r"\boxed{9^{9^9}}", (Outcome.TIMEOUT, False)),
    ("math", "", r"2\sqrt{3}", "The answer is $\\sqrt{12}$.", (Outcome.CORRECT, False)),
    ("tpt.verifiers.number.verify:verify_number", "", "5", "It is 5", (Outcome.CORRECT, False)),
]


def test_a_batch_of_all_kinds() -> None:
    problems = {str(n): Problem(str(n), row[1], row[2], row[0]) for n, row in enumerate(ROWS)}
    traces = [Trace(str(n), 4, row[3], "stop", 0, 0) for n, row in enumerate(ROWS)]
    verdicts = judge(traces, problems, limits=LIMITS)
    assert [(each.problem_id, each.sample) for each in verdicts] == [(str(n), 4) for n in range(len(ROWS))]
    assert [(each.outcome, each.strict) for each in verdicts] == [row[4] for row in ROWS]


def test_no_traces_no_verdicts() -> None:
    assert judge([], {}) == []


@pytest.mark.parametrize("kind", sorted(OPENINGS))
def test_every_kind_has_a_versioned_format(kind: str) -> None:
    assert FORMATS[kind].startswith(f"{kind}/")
    assert formats_of({kind}) == {kind: FORMATS[kind]}


def test_unknown_kinds_are_explained() -> None:
    with pytest.raises(VerifierError, match=r"allowed: number, math, .*Did you mean 'choice'\?"):
        judge_one(Problem("p", "?", "A", "choise"), "#### A")


def test_from_another_thread() -> None:
    found = []
    problem = Problem("p", "", r"3\sqrt{5}", "math")
    thread = threading.Thread(target=lambda: found.append(judge_one(problem, r"\boxed{\sqrt{45}}", limits=LIMITS)))
    thread.start()
    thread.join()
    assert [each.outcome for each in found] == [Outcome.CORRECT]


def test_golds_in_the_asked_format() -> None:
    problems = [
        Problem("n", "", "18", "number"),
        Problem("m", "", r"\frac{1}{2}", "math"),
        Problem("b", "", r"$\boxed{\frac{1}{2}}$", "math"),
        Problem("c", CHOICE, "B", "choice"),
        Problem("e", "", "New York", "exact"),
        Problem("r", "", "a+", "regex", solution="#### aaa"),
        Problem("o", "", "5", "tpt.verifiers.number.verify:verify_number", solution="So it is 5"),
    ]
    assert check_problems(problems, judge).gold_failures == []
    assert gold_completion(Problem("r", "", "a+", "regex")) is None
    assert gold_completion(Problem("o", "", "5", "mine.py:f")) is None


def test_numbers_too_large_to_compute() -> None:
    large = ["9**9**9", "9^{9^9}", "10!!", "10!!!!", "(10^{10})!", "2^{2^{2^{2^{2^2}}}}", "1" + "0" * 400 + "!"]
    small = [
        "2^{2004}",
        "2004!",
        "5!!",
        "3!!!",
        "1!!!!!!!",
        "0!!",
        "2^{2^{10}}",
        "10^{-20}",
        "x^{99999}",
        "10^{100}",
        "5",
    ]
    assert [text for text in large if not too_large(text)] == []
    assert [text for text in small if too_large(text)] == []
