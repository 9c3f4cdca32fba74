"""Written arithmetic: what is true, what is false, and what must be left alone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from real_data import DATA

from tpt.config import PruneConfig
from tpt.prune import is_keepable, select
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.verifiers.steps import Steps, check_steps

TRUE = [
    ("16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day", 1),
    ("She makes 9 * 2 = $<<9*2=18>>18 every day at the market.", 1),
    ("5 x $1,200 = $6,000.", 1),
    ("1/3 = 0.33 and 2/3 = 0.67 and 100/3 = 33", 3),
    ("0.33 * 300 = 100", 1),
    ("80 / 26.666666666666668 = 3", 1),
    ("4.20 + 9.45 + 1.35 = 14.999999999999998", 1),
    ("3 + 4 = 7 * 2 = 14", 2),
    ("18/2 = 9/3 = 3", 2),
    (r"$\frac{1}{2} \times 10 = 5$ and \[2^{10} - 24 = 1000\]", 2),
    (r"\begin{align} 3 \cdot 4 &= 12 \\ 12 \div 4 &= 3 \end{align}", 2),
    ("(3 + 4) * 2 = 14, 5(3+2) = 25, -3 + 5 = 2", 3),
    ("20% * 50 = 10, 50 * 20% = 10, 5/20 * 100 = 25%, 100 - 20% = 80", 4),
    ("3 1/2 + 1 = 4.5", 1),
    ("5 cm * 3 cm = 15 cm^2 and 2 m² + 3 m² = 5", 1),
    ("**5** + **3** = **8**", 1),
    ("- 3 + 5 = 8\n2) 4 + 4 = 8", 2),
    ("16 – 7 = 9 left. 5 plus 3 = 8, 6 divided by 2 = 3", 3),
    ("60 miles/hour * 3 hours = 180 miles", 1),
    ("18 * 3.14159 = 56.54866", 1),
    ("17.5 * 2 = 35.0", 1),
    ("0.66666 * 300000 = 200000", 1),
    ("(1 + 1)(2 + 3) = 10", 1),
    ("3 + 4 = 7 - that is all", 1),
    ("On the 2nd day 3 + 4 = 7.", 1),
]
FALSE = [
    ("9 * 2 = 16", "9 * 2 = 16"),
    ("She has 12 + 7 = 20 eggs.", "12 + 7 = 20"),
    ("5 apples + 3 oranges = 9 fruits", "5 + 3 = 9"),
    ("3 + 4 = 8 * 2 = 16", "3 + 4 = 8 * 2"),
    (r"so \frac{3}{4} \cdot 8 = 7", "((3) / (4)) * 8 = 7"),
    ("1,550 cubic inches / 50 = 29", "1550 / 50 = 29"),
    ("10 * .5 = 10", "10 * .5 = 10"),
    ("0.5 * 3 = 1.4", "0.5 * 3 = 1.4"),
    ("2.5 * 5.5 = 14.1", "2.5 * 5.5 = 14.1"),
    ("<<8*3=240>>", "8 * 3 = 240"),
    ("2 hours + 3 hours = 6 hours", "2 + 3 = 6"),
    ("the temperature is -48+21 = 27", "- 48 + 21 = 27"),
    ("$32 - $20 = $300 left", "32 - 20 = 300"),
]
UNREAD = [
    "x + 3 = 8, 2x = 10, 3A + 2 = 35, 100/5 = 5A/5, 8/3 = 24/Y",
    "f(1+1) = 5, sqrt(9 + 16) = 5, C(5+1) = 3",
    "60 cents * 5 = $3, 1/2 hour = 30 minutes, 4 pounds - 6 ounces = 58 ounces",
    "2/5 = 10 students, 20% of 50 = 11, 50 - 20% = 40",
    "17/5 = 3 with 2 left, 56/6 = 9 each, 7/2 = 3 remainder 1",
    "Day 1 + Day 2 = 30, Weeks 1-2 = 40, Step 2 - 3 = 7",
    "his 25 classmates + his 1 teacher + 1 himself = 27",
    "5! = 120, 3 + 4! = 27, 2:30 + 1 = 3:30, 0900-0130 = 0730",
    "2 * 3 dozen = 72, 5 * 3 ≈ 16, 5 + 3 != 9, 3 + 4 >= 5",
    "(2 hours + 30 minutes) = 150",
    "1st + 2nd = 4, the 2nd + 3 = 9",
    "25 / 1/3 = 75, 14, 400 / 80 = 180, .8 + . 84 + .82 = 2.46",
    "100+(100*(10/100) = 110, 1 + (the age - 1) * 2 = 15",
    "9^20^20 = 5, 1/0 = 3, 2^0.5 = 1.41",
]


@pytest.mark.parametrize(("text", "steps"), TRUE)
def test_true_steps(text: str, steps: int) -> None:
    assert check_steps(text) == Steps(steps, [])


@pytest.mark.parametrize(("text", "equation"), FALSE)
def test_false_steps_are_named(text: str, equation: str) -> None:
    assert check_steps(text).false == [equation]


@pytest.mark.parametrize("text", UNREAD)
def test_what_is_not_clear_is_not_false(text: str) -> None:
    assert check_steps(text).false == []


def test_each_equation_counts_once() -> None:
    assert check_steps("2 + 2 = 4\n2+2=4\n3 + 3 = 7\n3+3=<<3+3=7>>7") == Steps(1, ["3 + 3 = 7"])


@pytest.mark.parametrize(
    "text",
    [
        "(" * 20_000 + "=1",
        "1+1=" * 5_000,
        "9" * 20_000 + "+1=2",
        ("1+" * 900 + "1=2\n") * 10,
        "9^20^20^20=1\n" * 1_500,
        "((((9^20)^20)^20)^20)^20=3\n" * 700,
        "1+1=3\n" * 3_000,
        "**" * 9_000 + "=",
        "\\frac{" * 3_000 + "=",
        "<<" * 10_000 + "=",
        ("word " * 390 + "= 2\n") * 10,
        ("1 x " * 480 + "= 2\n") * 10,
        "\\text{" * 3_000 + "=",
        " " * 20_000 + "=",
        "1 " * 900 + "= 2",
        "\ud800+1=\x00\u202e3",
    ],
)
def test_hostile_text_is_read_in_bounded_time(text: str) -> None:
    start = time.process_time()
    check_steps(text)
    assert time.process_time() - start < 2


def kept_traces(completions: list[str], policy: PruneConfig) -> tuple[list[int], int]:
    traces = [Trace("p", sample, text, "stop", 5, 0) for sample, text in enumerate(completions)]
    verdicts = [Verdict("p", trace.sample, Outcome.CORRECT, True, "18") for trace in traces]
    pruned = select(
        traces,
        verdicts,
        {"p": Problem("p", "?", "18")},
        policy=policy,
        messages=lambda problem: [{"role": "user", "content": problem.question}],
        seed=0,
        round_index=1,
    )
    keepable = [
        trace.sample
        for trace, verdict in zip(traces, verdicts, strict=True)
        if is_keepable(trace, verdict, Problem("p", "?", "18"), policy)
    ]
    assert pruned.keepable_traces == len(keepable)
    assert sorted(example.sample for example in pruned.examples) == keepable
    return keepable, pruned.false_step_traces


def test_pruning_can_require_true_steps() -> None:
    completions = ["9 * 2 = 18\n#### 18", "9 * 2 = 16\n#### 18", "#### 18"]
    assert kept_traces(completions, PruneConfig(per_problem="all")) == ([0, 1, 2], 0)
    assert kept_traces(completions, PruneConfig(per_problem="all", require_true_steps=True)) == ([0, 2], 1)


def test_without_a_correct_answer_steps_are_not_what_drops_a_trace() -> None:
    policy = PruneConfig(require_true_steps=True)
    trace, verdict = Trace("p", 0, "1 + 1 = 3", "stop", 5, 0), Verdict("p", 0, Outcome.WRONG, False, "3")
    pruned = select(
        [trace],
        [verdict],
        {"p": Problem("p", "?", "2")},
        policy=policy,
        messages=lambda problem: [],
        seed=0,
        round_index=1,
    )
    assert (pruned.keepable_traces, pruned.false_step_traces) == (0, 0)


def data_folder() -> Path:
    return DATA


@pytest.mark.real_data
@pytest.mark.skipif(not data_folder().is_dir(), reason="the data sets are not in TPT_DATA")
def test_wrong_solutions_have_several_times_as_many_false_steps_as_right_ones() -> None:
    path = data_folder() / "model_outputs" / "gsm8k_example_model_solutions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = {True: [0, 0, 0], False: [0, 0, 0]}
    for row in rows:
        for solution in (each for each in row.values() if isinstance(each, dict)):
            steps = check_steps(solution["solution"])
            for place, count in enumerate((1, bool(steps.false), steps.true)):
                found[solution["is_correct"]][place] += count
    share = {correct: flagged / total for correct, (total, flagged, _) in found.items()}
    assert share[True] < 0.01
    assert share[False] > 4 * share[True]
    # Nearly all of it is read: these solutions write four equations each.
    assert sum(true for _, _, true in found.values()) > 20_000


@pytest.mark.real_data
@pytest.mark.skipif(not data_folder().is_dir(), reason="the data sets are not in TPT_DATA")
def test_few_steps_of_human_solutions_are_false_and_those_are_mistakes() -> None:
    path = data_folder() / "math" / "gsm8k_train.jsonl"
    steps = [check_steps(json.loads(line)["answer"]) for line in path.read_text(encoding="utf-8").splitlines()]
    false = [equation for each in steps for equation in each.false]
    assert sum(each.true for each in steps) > 25_000
    assert len(false) < 30
    assert {"192 * 100 = 1920", "4200 + 3000 = 8600", "13 + 4 + 16 = 45", "2 * 8 = 24"} <= set(false)
