"""The paper's own rule: a table of forms, and its rewriting of completions against the published expressions."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tpt.config import RunConfig
from tpt.problems import load_problems
from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.gold import gold_completion
from tpt.verifiers.judge import FORMATS, judge_one
from tpt.verifiers.paper_rule import verify_paper, without_placeholder

RIGHT, WRONG, NONE = Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER


@pytest.mark.parametrize(
    ("gold", "completion", "outcome", "extracted"),
    [
        ("18", "9 * 2 = 18\n#### 18", RIGHT, "18"),
        ("18", "####18", RIGHT, "18"),
        ("18", "**#### 18**", RIGHT, "18"),
        ("18", "#### \t\n 18", RIGHT, "18"),
        ("18", "#### 18\n\nLet me know if you have another problem!", RIGHT, "18"),
        ("18", "#### 18 dollars", RIGHT, "18"),
        ("18", "#### 18cm", RIGHT, "18"),
        ("-3", "#### -3", RIGHT, "-3"),
        ("2,125", "#### 2,125", RIGHT, "2,125"),
        # Several: the first that has a number, even where a later one takes it back.
        ("18", "#### 18\nNo, one more.\n#### 20", RIGHT, "18"),
        ("20", "#### 18\nNo, one more.\n#### 20", WRONG, "18"),
        ("18", "#### Solution\nSo:\n#### 18", RIGHT, "18"),
        # What is left over of the prompt goes.
        ("18", "#### [Answer] 18", RIGHT, "18"),
        ("18", "#### [Answer]\n18", RIGHT, "18"),
        ("18", "#### [Answer]: 18", NONE, None),
        ("18", "So **[Answer]: done.\n#### 18", RIGHT, "18"),
        # Right answers that it misses.
        ("18", "#### $18", NONE, None),
        ("18", "#### **18**", NONE, None),
        ("18", "#### Answer: 18", NONE, None),
        ("18", r"\boxed{18}", NONE, None),
        ("18", "The answer is 18.", NONE, None),
        ("18", "", NONE, None),
        ("18", "#### ", NONE, None),
        ("18", "### 18", NONE, None),
        ("18", "#### 18.", WRONG, "18."),
        ("18", "#### 18.00", WRONG, "18.00"),
        ("18", "#### 18, that is it", WRONG, "18,"),
        ("2125", "#### 2,125", WRONG, "2,125"),
        ("2,125", "#### 2125", WRONG, "2125"),
        ("18", "#### 018", WRONG, "018"),
        ("18", "#### 19", WRONG, "19"),
        ("18", "#### - 18", NONE, None),
        ("18", "#### 1 8", WRONG, "1"),
    ],
)
def test_right_is_the_first_mark_letter_for_letter(
    gold: str, completion: str, outcome: Outcome, extracted: str | None
) -> None:
    problem = Problem("p", "How many?", gold, kind="paper")
    assert judge_one(problem, completion) == Judgement(outcome, outcome is RIGHT, extracted)


@given(st.lists(st.sampled_from(["[Answer]", "####", "**", " ", "\n", ":", "18", "#", "x"]), max_size=14))
def test_what_is_left_of_the_prompt_goes_as_in_the_published_code(parts: list[str]) -> None:
    text = "".join(parts)
    published = re.sub(r"(\*\*|####)?\s*\[Answer\](?:[:])?", "", re.sub(r"#### \[Answer\]", "####", text))
    assert without_placeholder(text) == published


@pytest.mark.parametrize(
    "text", ["####" + " " * 200_000 + "x", "#" * 400_000, "#### " * 100_000, "\n" * 200_000 + "[Answer]"]
)
def test_hostile_completions_take_no_time(text: str) -> None:
    started = time.monotonic()
    verify_paper(Problem("p", "", "18", kind="paper"), text)
    assert time.monotonic() - started < 1


def test_it_is_never_the_default_and_has_a_versioned_format() -> None:
    assert RunConfig().problems.kind == ""
    assert Problem("p", "", "").kind == "number"
    assert FORMATS["paper"].startswith("paper/1: ")


def test_gsm8k_keeps_its_commas_for_it_and_the_golds_pass(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "test.jsonl"
    path.write_text('{"question": "How much?", "answer": "So 1,080.\\n#### 1,080"}\n')
    problem = load_problems(f"gsm8k:{path}", kind="paper")[0]
    assert (problem.answer, problem.kind) == ("1,080", "paper")
    assert judge_one(problem, gold_completion(problem) or "").strict
    assert judge_one(problem, problem.solution or "").strict
    assert load_problems(f"gsm8k:{path}")[0].answer == "1080"
