"""Multiple-choice answers: the letter in many forms, or the option's text."""

from __future__ import annotations

import pytest

from tpt.records import Outcome, Problem
from tpt.verifiers.multiple_choice import options_of, verify_choice

QUESTION = "How fast is the train? A)21 km/h B)21.5 km/h C)22 km/h D)22.5 km/h E)None of these"

STRICT = ["#### B", "It is 21.5.\n#### B\n", "#### B) 21.5", "#### A\nNo:\n#### B", "####B."]
LENIENT = [
    "#### (B)",
    "#### b",
    "#### **B**",
    "(B)",
    "B",
    "B) 21.5",
    "**B**",
    "The answer is B.",
    "The answer is (B).",
    "The answer is (B) because the train is slow.",
    "The correct option is B",
    "So the correct choice is (B).",
    "Answer: B",
    "**Answer:** B) 21.5 km/h",
    "\\boxed{B}",
    "\\boxed{\\text{(B)}}",
    "$\\boxed{\\textbf{(B)}\\ 21.5}$",
    "Therefore, option B is right.",
    "#### 21.5 km/h",
    "#### 21.5",
    "The answer is 21.5 km/h.",
    "The answer is $\\frac{43}{2}$.",
    "\\boxed{21.5}",
]
WRONG = [
    "#### C",
    "#### A train",
    "The answer is C.",
    "\\boxed{D}",
    "#### 22",
    "The answer is B. Wait.\n#### C",
    "#### F",
    "A",
]
NONE = ["", "I do not know.", "A train is fast."]


@pytest.mark.parametrize("completion", STRICT)
def test_asked_format(completion: str) -> None:
    judged = verify_choice(Problem("p", QUESTION, "B", "choice"), completion)
    assert (judged.outcome, judged.strict, judged.extracted) == (Outcome.CORRECT, True, "B")


@pytest.mark.parametrize("completion", LENIENT)
def test_other_forms(completion: str) -> None:
    judged = verify_choice(Problem("p", QUESTION, "B", "choice"), completion)
    assert (judged.outcome, judged.strict, judged.extracted) == (Outcome.CORRECT, False, "B")


@pytest.mark.parametrize("completion", WRONG)
def test_wrong_letters(completion: str) -> None:
    assert verify_choice(Problem("p", QUESTION, "B", "choice"), completion).outcome is Outcome.WRONG


@pytest.mark.parametrize("completion", NONE)
def test_no_answer(completion: str) -> None:
    judged = verify_choice(Problem("p", QUESTION, "B", "choice"), completion)
    assert (judged.outcome, judged.strict) == (Outcome.NO_ANSWER, False)


def test_an_answer_that_is_no_option_is_wrong_and_says_so() -> None:
    judged = verify_choice(Problem("p", QUESTION, "B", "choice"), "#### a dragon")
    assert (judged.outcome, judged.extracted, judged.detail) == (Outcome.WRONG, "a dragon", "no option")


def test_a_letter_counts_before_a_text() -> None:
    judged = verify_choice(Problem("p", QUESTION, "B", "choice"), "#### B) 21")
    assert (judged.outcome, judged.extracted) == (Outcome.CORRECT, "B")


def test_text_options() -> None:
    problem = Problem("p", "Who?\n(A) Evelyn\n(B) Briana\n(C) None of the above", "C", "choice")
    assert verify_choice(problem, "The answer is none of the above.").outcome is Outcome.CORRECT
    assert verify_choice(problem, "The answer is Briana.").outcome is Outcome.WRONG


def test_gold_as_a_text() -> None:
    assert verify_choice(Problem("p", QUESTION, "21.5 km/h", "choice"), "#### B").strict
    judged = verify_choice(Problem("p", QUESTION, "99", "choice"), "#### B")
    assert judged.outcome is Outcome.ERROR
    assert "'99'" in judged.detail


@pytest.mark.parametrize(
    ("question", "options"),
    [
        (QUESTION, {"A": "21 km/h", "B": "21.5 km/h", "C": "22 km/h", "D": "22.5 km/h", "E": "None of these"}),
        ("Q?\nA) 1\nB) 2", {"A": "1", "B": "2"}),
        ("Q?\n(A) 1\n(B) 2\n(C) 3\n\nAnswer with a letter.", {"A": "1", "B": "2", "C": "3"}),
        ("Q?\nA. 1\nB. 2\nGive the letter.", {"A": "1", "B": "2"}),
        ("Point A: left. Q? ['A)1', 'B)2']", {"A": "1", "B": "2"}),
        ("No options here, not even one of A or B", {}),
    ],
)
def test_options_are_read_from_the_question(question: str, options: dict[str, str]) -> None:
    assert options_of(question) == options


def test_without_options_a_letter_still_counts() -> None:
    assert verify_choice(Problem("p", "Which?", "B", "choice"), "The answer is (B).").outcome is Outcome.CORRECT
