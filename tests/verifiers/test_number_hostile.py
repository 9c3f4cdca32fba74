"""The judgement of numeric answers on hostile completions: every text gets a verdict, and quickly."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.number.verify import TAIL, verify_number

RIGHT, WRONG, NONE = Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER


def judge(gold: str, completion: str) -> Judgement:
    return verify_number(Problem("p", "", gold), completion)


HOSTILE = {
    "digits": "#### " + "9" * 1_000_000,
    "digits at the end": "so it is " + "9" * 1_000_000,
    "signs": "#### " + "-" * 1_000_000 + "18",
    "marks": "####" * 250_000 + "18",
    "boxes": "\\boxed{" * 150_000 + "18",
    "answers": "answer is " * 100_000,
    "commas": "#### 1" + ",111" * 250_000 + ",11",
    "slashes": "#### 1" + "/1" * 500_000,
    "additions": "1+" * 500_000,
    "blanks": "#### 18" + " " * 1_000_000 + "x",
    "line breaks": "####" + "\n" * 1_000_000 + "18",
    "fractions": "\\frac{" * 200_000 + "1",
    "bold": "*" * 1_000_000 + "18",
    "latex text": "#### " + "\\text{" * 200_000 + "18",
    "words": "#### 18 " + "and " * 250_000 + "3",
    "nul bytes": "#### " + "\x00" * 1_000_000 + "18",
    "exponent": "#### 1e" + "9" * 1_000_000,
    "power": "#### 1 * 10^" + "9" * 1_000_000,
    "surrogates": "#### 18\ud800" * 100_000,
    "assignments": "#### " + "a=" * 500_000 + "18",
    "comments": "<!-- -->" * 100_000 + "#### 17",
    "open comments": "<!-- " * 200_000 + "--> 17",
    "struck": "~~" * 400_000 + "17",
    "struck tags": "<s>" * 150_000 + "</s> 17",
    "taken back": "#### 17" + ". No, " * 150_000,
    "spelled": "#### 17 " + "and a " * 150_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_completions_are_judged_quickly(name: str) -> None:
    began = time.process_time()
    judgement = judge("18", HOSTILE[name])
    # The slowest takes 0.06 s of a quiet core; what grows with the square of the length would take minutes.
    assert time.process_time() - began < 0.4
    assert judgement.extracted is None or len(judgement.extracted) <= 200
    if name not in ("line breaks", "bold", "boxes", "assignments", "marks", "surrogates"):
        assert judgement.outcome in (WRONG, NONE), judgement


def test_an_answer_out_of_the_tail_is_not_seen() -> None:
    assert judge("18", "#### 18\n" + "and so on " * (TAIL // 10)).outcome is NONE


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789-+*/=.,:$%#\\{}() \nabxAnswerboxedfrac½１\x00", max_size=60))
def test_any_text_gets_a_verdict(text: str) -> None:
    judgement = judge("18", text)
    assert judgement.outcome in (RIGHT, WRONG, NONE)
    assert not judgement.strict or judgement.outcome is RIGHT
    assert (judgement.extracted is None) == (judgement.outcome is NONE)
