"""What the findings say of samples that are made up: shares, marks, limits, sizes."""

from __future__ import annotations

import random
from dataclasses import replace as replace_fields
from pathlib import Path

import pytest
from gate_samples import of, seen
from msgspec.structs import replace

from tpt.gate import EarlyLook, gate_report, gate_text
from tpt.gate.answer_format import answer_mark
from tpt.gate.length import enough_tokens
from tpt.gate.shares import clustered_share
from tpt.records import Outcome, Problem, Trace, Verdict
from tpt.verifiers.judge import judge


def test_shares_know_that_samples_of_a_problem_are_alike() -> None:
    alike = clustered_share([[True] * 5] * 10 + [[False] * 5] * 10)
    mixed = clustered_share([[True, False, True, False, True]] * 10 + [[True, False, True, False, False]] * 10)
    assert alike.value == mixed.value == 0.5
    assert alike.high - alike.low > 0.38, "twenty problems, not a hundred samples"
    assert mixed.high - mixed.low < 0.21
    none = clustered_share([[False] * 5] * 40)
    assert (none.low, round(none.high, 3)) == (0.0, 0.088)
    empty = clustered_share([[], []])
    assert (empty.value, empty.low, empty.high, str(empty)) == (None, 0.0, 1.0, "unknown")


@pytest.mark.parametrize(
    ("completion", "mark"),
    [
        (r"so \boxed{18}", "\\boxed"),
        ("The answer is \\fbox{18}", "\\boxed"),
        ("**#### 18**", "####"),
        ("The answer is **18**.", "The answer is"),
        ("Final Answer: 18", "The answer is"),
        ("That makes **18 apples**", "bold"),
        ("That makes 18", "none"),
        ("", "none"),
        ("*" * 100_000, "none"),
    ],
)
def test_how_an_answer_is_marked(completion: str, mark: str) -> None:
    assert answer_mark(completion) == mark


def test_answers_in_no_format_at_all_want_an_example_or_no_format() -> None:
    report = gate_report(seen(of(["It is **18**.", "It is **18**.", "It is 17."])), warnings=[])
    assert report.verdict == "wrong format" and report.stops
    assert [key.partition(":")[0] for key in report.finding("format").keys] == [
        "prompt.few_shot",
        'verify.answer_format = "last"',
        "prune.require_format = false",
    ]
    assert "80 in bold" in report.finding("format").said
    own = seen(of([r"\boxed{18}", "17"]), prompt={"template": "{question} Go on."})
    assert gate_report(own, warnings=[]).finding("format").keys == [
        'verify.answer_format = "boxed"',
        r"prompt.template: ask for \boxed{ANSWER}",
    ]


def test_a_format_that_need_not_be_kept_is_no_fault() -> None:
    report = gate_report(seen(of([r"\boxed{18}", "17"]), prune={"require_format": False}), warnings=[])
    assert report.finding("format").verdict == "not needed" and not report.stops
    assert report.verdict == "good"


def test_what_the_training_set_will_hold() -> None:
    rows = {f"p{number:02}": ["#### 18" if number % 2 else "#### 1"] * 5 for number in range(40)}
    figures = gate_report(seen(rows, train=600), warnings=[]).finding("support").figures
    expected = figures["training set"]
    assert 280 <= expected.problems <= 400 and expected.low < expected.problems < expected.high
    assert expected.wanted == 600
    # A solved problem takes a try, an unsolved one all ten.
    assert 2500 <= expected.samples <= 4000
    assert expected.minutes == pytest.approx(expected.samples * 0.5 / 60)
    none = gate_report(seen(of(["#### 1"] * 5)), warnings=[]).finding("support").figures["training set"]
    assert (none.problems, none.low, none.samples) == (0.0, 0.0, 6000.0)
    # At most 8.8 % in the five tries seen, so at most twice as many in ten.
    assert 100 < none.high < 110


def test_fixed_sampling_takes_every_sample() -> None:
    found = seen(of(["#### 18", "#### 1"] * 2), train=100, think={"sampler": "fixed", "samples": 7})
    assert gate_report(found, warnings=[]).finding("support").figures["training set"].samples == 700.0


@pytest.mark.parametrize("sigma", [0.2, 0.5])
def test_the_limit_is_estimated_from_what_did_end(sigma: float) -> None:
    source = random.Random(1)
    lengths = [round(source.lognormvariate(5.0, sigma)) for _ in range(4000)]
    wanted = sorted(lengths)[int(0.98 * len(lengths))]
    limit = sorted(lengths)[int(0.8 * len(lengths))]
    finished = [length for length in lengths if length <= limit]
    found = enough_tokens(finished, len(lengths) - len(finished), limit)
    assert found is not None and 0.93 * wanted <= found <= 1.07 * wanted + 16


def test_a_limit_that_data_cannot_tell_is_not_told() -> None:
    assert enough_tokens([100] * 30, 31, 128) is None
    assert enough_tokens([100] * 10, 5, 128) is None
    assert enough_tokens([100] * 300, 1, 128) == 128
    assert enough_tokens([100] * 300, 30, 128) is not None


def test_loops_are_no_want_of_room() -> None:
    loop = "and again one and two " * 40 + "…"
    report = gate_report(seen(of(["#### 18", "#### 18", "#### 3", loop])), warnings=[])
    said = report.finding("length")
    assert said.verdict == "cut off" and "40 of these 40 caught in a loop" in said.said
    assert not any("max_tokens" in key for key in said.keys) and "the limit would do" in said.said


def test_power_and_sharpening() -> None:
    report = gate_report(seen(of(["#### 18", "#### 18", "#### 3"])), warnings=[])
    gap = report.finding("greedy").figures["gap"]
    assert gap == pytest.approx(1 / 3)
    power = report.finding("power").figures
    # Half of the 200 held-out problems; variance 1/3 of a sample, doubled, over 3 samples.
    assert power["problems"] == 100
    assert power["detectable gain"] == pytest.approx(2.8016 * (2 / 3 / 3) ** 0.5 / 10, rel=1e-3)
    single = gate_report(seen(of(["#### 18"])), warnings=[])
    assert single.finding("greedy").verdict == single.finding("power").verdict == "cannot tell yet"


def test_a_look_is_over_once_and_at_the_same_samples() -> None:
    def traces(keys: list[tuple[str, int]]) -> list[tuple[Trace, Verdict]]:
        made = Trace("a", 0, "#### 18", "stop", 3, 0)
        verdict = judge([made], {"a": Problem("a", "?", "18")})[0]
        return [
            (replace(made, problem_id=name, sample=n), replace(verdict, problem_id=name, sample=n)) for name, n in keys
        ]

    calls: list[list[tuple[str, int]]] = []
    look = EarlyLook(["a", "b"], 2, lambda pairs, pace: calls.append([(t.problem_id, t.sample) for t, _ in pairs]))
    for pair in traces([("b", 1), ("c", 0), ("a", 1), ("b", 0), ("a", 2)]):
        look.take(*pair)
        look.decide()
    assert calls == []
    for pair in traces([("a", 0), ("c", 1)]):
        look.take(*pair)
        look.decide()
    assert calls == [[("a", 0), ("a", 1), ("b", 0), ("b", 1)]]


def words(text: str) -> str:
    return " ".join(text.split())


PAGE = words((Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8"))


def test_the_published_failures_are_told_as_the_page_says() -> None:
    source = random.Random(0)
    texts = [r"So $\boxed{18}$"] * 35 + ["first we take the apples …"] * 60 + [r"So $\boxed{7}$"] * 105
    source.shuffle(texts)
    rows = {f"p{number:02}": texts[5 * number : 5 * number + 5] for number in range(40)}
    asked = "{question} Think step by step and give the answer as #### N."
    report = gate_report(seen(rows, prompt={"template": asked}), warnings=[])
    assert report.stops
    shown = words(gate_text(report)).partition(" length ")[0]
    assert shown in PAGE

    few = {f"p{number:02}": ["#### 18" if number < 10 else "#### 7"] for number in range(40)}
    report = gate_report(replace_fields(seen(few), claiming=20, claiming_units=20), warnings=[])
    assert report.verdict == "good" and not report.stops
    power = report.finding("power")
    assert "rests on 20 held-out" in power.said and "a true gain of about 38.4 points" in power.said
    assert len(power.keys) == 2 and "a true gain of about 38.4 points" in PAGE


def test_few_right_answers_none_as_asked_are_a_hint() -> None:
    rows = of(["17"] * 5) | {f"p{number:02}": ["17", r"\boxed{18}"] + ["17"] * 3 for number in range(3)}
    report = gate_report(seen(rows), warnings=[])
    assert report.stops and report.finding("format").verdict == "cannot tell yet"
    assert report.finding("format").keys == ['verify.answer_format = "boxed"']


def test_programs_are_not_told_of_answer_formats() -> None:
    found = seen(of(["", ""]))
    problems = {key: replace(problem, kind="code", tests=["assert f()"]) for key, problem in found.problems.items()}
    pairs = [(trace, replace(verdict, outcome=Outcome.CORRECT)) for trace, verdict in found.pairs]
    report = gate_report(replace_fields(found, problems=problems, pairs=pairs), warnings=[])
    keys = report.finding("format").keys
    assert [key.partition(":")[0] for key in keys] == ["prompt.few_shot", "prune.require_format = false"]
