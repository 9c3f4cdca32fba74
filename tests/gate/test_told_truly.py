"""What the gate says of samples of many sorts: the verdict, what is said of it, and that the key it names mends it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import scripted_models as models
from command_line import Tpt
from gate_samples import of, seen
from scripted_models import Configure

from tpt.gate import GateReport, gate_report, gate_text
from tpt.gate.answer_format import answer_mark
from tpt.gate.text import stop_text
from tpt.records import Problem

LOOP = "and again one and two " * 40
FENCED = "It adds.\n```python\ndef f(x):\n    return x + 1\n```"
CODE: dict[str, Any] = {"tests": [{"type": "assert", "code": "assert f(1) == 2"}]}


def judged(texts: list[str], problems: int = 40, **config: Any) -> GateReport:
    return gate_report(seen(of(texts, problems), **config), warnings=[])


def of_kinds(texts: dict[str, list[str]], **config: Any) -> GateReport:
    """Twenty problems of each kind."""
    rows, problems = {}, {}
    for kind, each in texts.items():
        for number in range(20):
            key = f"{kind}{number:02}"
            rows[key], fields = each, CODE if kind == "code" else {}
            problems[key] = Problem(key, f"{key}?", "" if kind == "code" else "18", kind=kind, **fields)
    return gate_report(seen(rows, problems, **config), warnings=[])


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("It is **18**.", "80 in bold"),
        ("Die Antwort lautet 18.", "80 without a mark"),
        ('{"steps": "6 + 12", "answer": 18}', "80 in JSON"),
        ("So we add.\n<answer>18</answer>", "80 with an <answer> tag"),
        ("#### Step 1\nWe add.\n#### Step 2\nSo **18**.", "80 in bold"),
        ("#### Final Answer\n**18**", "80 in bold"),
        ("#### **18**", "80 with ####"),
        ("The answer is 18.", "80 with The answer is"),
    ],
)
def test_right_answers_in_no_asked_format(text: str, mark: str) -> None:
    report = judged([text, text, "17"])
    assert (report.verdict, report.stops) == ("wrong format", True)
    assert f"kept by 0 of 80 right answers [0, 9] %; they are written: {mark}." in report.finding("format").said
    for key in ({"verify": {"answer_format": "last"}}, {"prune": {"require_format": False}}):
        assert judged([text, text, "17"], **key).verdict == "good"


def test_of_two_marks_the_last_one_counts() -> None:
    assert answer_mark("So \\boxed{18}.\n#### 18", "18") == "####"
    assert answer_mark("#### 18\nThat is \\boxed{18}", "18") == "\\boxed"
    said = judged(["So \\boxed{18}.\n#### 18", "17"]).finding("format").said
    assert "kept by 40 of 40" in said and "40 with ####" in said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("I'm sorry, but I cannot help with that.", 'begin with "I\'m sorry, but I cannot help with that."'),
        ("", "are empty."),
        ("<think>6 + 12 = 18, so #### 18</think>", "are empty behind their reasoning."),
        ("\u202eno\n", 'begin with "\\u{202e}no".'),
    ],
)
def test_completions_without_an_answer_are_not_called_hard_problems(text: str, shown: str) -> None:
    report = judged([text] * 5)
    assert (report.verdict, report.stops) == ("no answer", True)
    assert f"200 of the 200 without an answer {shown}" in report.finding("support").said
    assert [key.partition(":")[0] for key in report.keys] == ["prompt.template, prompt.few_shot", "model"]
    assert not any("easier" in key for key in report.keys)


def test_an_answer_that_is_run_on_behind_wants_a_stop_string() -> None:
    text = "#### 18\n\nQuestion: Ann has 3 pens. How many?\nAnswer: #### 3\n\nQuestion: Bob…"
    report = judged([text, text, text.replace("18", "17")])
    assert (report.verdict, report.stops) == ("cut off", True)
    assert (
        "120 of these 120 behind an answer written as asked, which no limit would end." in report.finding("length").said
    )
    assert report.keys[0].startswith("think.stop and evaluate.stop") and "max_tokens" not in " ".join(report.keys)
    assert "Without a right answer" not in gate_text(report) and "All right answers stand in" in gate_text(report)
    assert judged([text.partition("\n\nQ")[0]] * 2 + ["#### 17"]).verdict == "good"


def test_loops_are_told_from_a_short_limit() -> None:
    report = judged([LOOP + "…"] * 5)
    assert report.verdict == "cut off" and report.stops
    assert "200 of these 200 caught in a loop" in report.finding("length").said
    assert "limit would do" not in report.finding("length").said, "none has ended"
    assert [key.partition(":")[0] for key in report.keys] == [
        "think.temperature and evaluate.temperature",
        "prompt.few_shot",
    ]
    mixed = judged([LOOP + "…", *(f"{'first this ' * 3}{word}…" for word in ("a", "b", "c")), "#### 18"])
    assert mixed.keys[0].startswith("think.max_tokens"), "three of four are merely long"


@pytest.mark.parametrize(("cut", "verdict"), [(1, "too hard"), (2, "too hard"), (4, "cut off"), (5, "cut off")])
def test_a_longer_limit_is_no_help_where_what_ends_is_wrong(cut: int, verdict: str) -> None:
    report = judged([f"first {number}…" for number in range(cut)] + ["#### 17"] * (5 - cut))
    assert report.verdict == verdict and report.stops


def test_kinds_are_told_apart() -> None:
    kept = of_kinds({"math": ["\\boxed{18}", "\\boxed{17}"], "number": ["#### 18", "#### 17"]})
    said = kept.finding("format").said
    assert "(\\boxed{ANSWER}) is kept by 20 of 20 right answers to problems of kind math" in said
    assert "(#### ANSWER) is kept by 20 of 20 right answers to problems of kind number" in said
    assert kept.verdict == "good" and kept.finding("format").keys == []
    boxed = of_kinds({"math": ["\\boxed{18}", "\\boxed{17}"], "number": ["\\boxed{18}", "\\boxed{17}"]})
    assert boxed.finding("format").keys == ['verify.answer_format = "boxed"']
    assert "nothing speaks against" not in gate_text(boxed)


def test_programs_have_a_format_of_their_own() -> None:
    fenced = of_kinds({"code": [FENCED, "none"], "number": ["\\boxed{18}", "\\boxed{17}"]})
    said = fenced.finding("format").said
    assert "(one fenced program) is kept by 20 of 20 right answers to problems of kind code" in said
    assert "20 in a fence." in said and "20 with \\boxed." in said
    assert fenced.finding("format").keys == ['verify.answer_format = "boxed"']
    bare = of_kinds({"code": ["def f(x):\n    return x + 1\n", "none"]})
    assert bare.verdict == "wrong format" and "verify.answer_format" not in " ".join(bare.keys)


def test_where_no_format_is_asked_none_is_kept_or_broken() -> None:
    said = judged(["It is 18.", "17"], verify={"answer_format": "last"}).finding("format").said
    assert "No format is asked for; 40 right answers are written: 40 without a mark." in said


@pytest.mark.parametrize(
    ("policy", "text", "key"),
    [
        ({"require_true_steps": True}, "6 + 12 = 19\n#### 18", "prune.require_true_steps = false"),
        ({"wrong_only": True, "correct_only": False}, "#### 18", "prune.wrong_only = false"),
    ],
)
def test_a_policy_that_bars_every_answer_is_named(policy: dict[str, bool], text: str, key: str) -> None:
    report = judged([text, text, text], prune=policy)
    assert report.stops and report.keys[0].startswith(key)
    assert "If every right answer" not in gate_text(report) or "require_true_steps" in key


def test_nothing_is_to_be_set_where_nothing_is_known() -> None:
    assert "Set, in a new run" in stop_text(judged(["#### 17"] * 5), "problems")
    report = judged(["#### 18"] * 5, prune={"keep": f"{__file__}:none"}, data={"source": "self"})
    assert report.keys[0].startswith("prune.keep") and report.stops


def none(problem: Problem, trace: object, verdict: object) -> bool:
    return False


def test_traces_from_elsewhere_need_no_right_answer_of_the_model() -> None:
    report = judged(["#### 17"] * 5, data={"source": "human"})
    assert (report.verdict, report.stops, report.finding("support").keys) == ("good", False, [])
    assert judged(["#### 18"] * 5, data={"source": "human"}).verdict == "too easy"


def test_greedy_samples_say_little_of_what_thinking_finds() -> None:
    greedy = {"temperature": 0, "samples": 5}
    never = judged(["#### 17"] * 5, evaluate=greedy)
    assert (never.verdict, never.stops) == ("cannot tell yet", False)
    alike = gate_report(seen({f"p{n:02}": [f"#### {18 - n % 2}"] * 5 for n in range(40)}, evaluate=greedy), warnings=[])
    assert alike.verdict == "good" and "These samples are greedy" in alike.finding("support").said
    assert "nothing to sharpen" in alike.finding("greedy").said


@pytest.mark.parametrize("text", ["#### 18", "#### 17"])
def test_few_problems_that_are_all_alike_leave_doubt(text: str) -> None:
    report = judged([text] * 5, problems=8, claiming=4)
    assert report.verdict == "cannot tell yet"
    gap = report.finding("greedy").figures
    assert gap["low"] < -0.2 and gap["high"] > 0.2 and "may be mere sharpening" in report.finding("greedy").said
    expected = report.finding("support").figures["training set"]
    assert expected.high - expected.low > 100
    assert "with fewer than 7 problems no gain can be told from noise" in report.finding("power").said


def test_a_vote_that_finds_less_is_no_sharpening() -> None:
    report = judged(["#### 18", "#### 17", "#### 17", "#### 17", "#### 18"])
    assert report.finding("greedy").verdict == "none" and "would gain nothing" in report.finding("greedy").said
    assert "so much of a gain" not in report.finding("greedy").said


def test_problems_outside_the_band_are_not_counted_on() -> None:
    rows = {f"p{n:02}": ["#### 18"] * 5 if n % 2 else ["#### 18", "#### 17"] * 2 + ["#### 17"] for n in range(40)}
    band = {"think": {"sampler": "fixed"}, "prune": {"max_solve_rate": 0.9}}
    expected = gate_report(seen(rows, **band), warnings=[]).finding("support").figures["training set"]
    assert 200 < expected.problems < 420


def test_the_size_that_is_wanted_is_the_one_that_is_set() -> None:
    few, many = (judged(["#### 18", "#### 17"], prune={"size": size}).finding("support").said for size in (100, 2000))
    assert "of the 100 problems wanted (prune.size)" in few and "of the 600 training problems" in many


@pytest.mark.parametrize("samples", [16, 64])
def test_many_samples_of_a_problem_put_no_stop_off(
    samples: int, configure: Configure, tpt: Tpt, tmp_path: Path
) -> None:
    config = configure(models.hard, f"evaluate.samples = {samples}")
    stopped = tpt("run", config, "--out", tmp_path / "run")
    assert stopped.code == 2 and re.search(r"of 200 samples of 40\s+held-out\s+problems none", stopped.err)
    assert (tmp_path / "run/round-0/evaluate/traces.jsonl").read_bytes().count(b"\n") < 300
