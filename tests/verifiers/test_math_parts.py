"""The parts of the judgement of mathematical answers, each by itself, without computer algebra."""

from __future__ import annotations

import pytest

from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.math.final_answer import _right_side, answer_behind_hashes, final_answer
from tpt.verifiers.math.latex import compare_exactly
from tpt.verifiers.math.verify import verify_math
from tpt.verifiers.pool.call import PoolCall, PoolResult


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("x=5", r"\text{5 apples}", True),
        ("5", r"\text{x = 5 apples}", True),
        ("6", r"\text{5 apples}", False),
        ("3 meters, 2 meters", "3 meters and 2 meters", True),
        (r"1000\%", r"1,000\%", True),
        (r"1000\%", r"1,001\%", False),
        ("5", r"5\text{ per hour}", True),
        ("5", r"5\text{ square}", True),
        ("5", r"5\text{ or more}", None),
        (r"\{1,2\}", "(1)+2", None),
        (r"\{1,2\}", "(1,2)", False),
        (r"5\text{ km}", r"5\text{ m}", False),
        (r"5\text{ cubic cm}", r"5\text{ square cm}", False),
        (r"5\text{ cubic cm}", r"5\text{ cm}^3", True),
        ("(1,2)", "[1,2)", False),
        ("12:00", "12", False),
        (r"\text{(A)}", "B plus", False),
        ("Malcolm X", "Malcolm", False),
        ("x=5", r"\text{x = 5}", True),
        (r"x<1 \lor x>3", "x<1 or x>3", True),
        ("500", r"5 \cdot 10^{2}", True),
        (r"\frac{1}{3}", "0.3", False),
        (r"\frac{1}{3}", "0.3333", True),
        ("5", "5/0", None),
        ("ABC", "abc", True),
        ("ABC", "ABD", False),
        ("5000", r"5\text{ thousands}", True),
    ],
)
def test_what_is_decided_exactly(gold: str, answer: str, same: bool | None) -> None:
    assert compare_exactly(gold, answer) is same


@pytest.mark.parametrize(
    ("formula", "side"),
    [
        ("a = b = 5", "5"),
        ("a = 5", "a = 5"),
        ("a_{i} = b_{j} = 5", "5"),
        (r"\sum_{i=1} i = a = 3", "3"),
        (r"a = b = 5 \text{ cm}", r"a = b = 5 \text{ cm}"),
        (r"\begin{aligned} a = b = 5", r"\begin{aligned} a = b = 5"),
        ("a = 1, b = 2", "a = 1, b = 2"),
    ],
)
def test_what_a_chain_of_equations_comes_to(formula: str, side: str) -> None:
    assert _right_side(formula) == side


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("#### 9", "9"),
        ("#### \n 9\nmore", "9"),
        ("#### 8\n#### 9 \n", "9"),
        ("9", None),
        ("####", None),
    ],
)
def test_what_stands_behind_hashes(completion: str, text: str | None) -> None:
    found = answer_behind_hashes(completion)
    assert (found and found.text) == text
    assert found is None or found.how == "####"


@pytest.mark.parametrize(
    ("completion", "text"),
    [("The answer is 3 red green balloons.", "3"), ("The answer is red green balloons 34.", "34")],
)
def test_the_only_number_of_several_words_is_the_answer(completion: str, text: str) -> None:
    found = final_answer(completion)
    assert found is not None and found.text == text


@pytest.mark.parametrize(
    ("result", "judgement"),
    [
        (PoolResult(value="x+x"), Judgement(Outcome.CORRECT, True, "x+x")),
        (PoolResult(value=None), Judgement(Outcome.WRONG, False, "x+x")),
        (PoolResult(problem="timeout", detail="1 s"), Judgement(Outcome.TIMEOUT, False, "x+x", "1 s")),
        (PoolResult(problem="error", detail="a\nb"), Judgement(Outcome.WRONG, False, "x+x", "cannot be compared: b")),
        (PoolResult(problem="memory", detail="1 MB"), Judgement(Outcome.ERROR, False, "x+x", "1 MB")),
    ],
)
def test_whatever_becomes_of_a_comparison_is_a_verdict(result: PoolResult, judgement: Judgement) -> None:
    call = verify_math(Problem("p", "", "2x", "math"), r"\boxed{x+x}")
    assert isinstance(call, PoolCall) and call.to_judgement(result) == judgement


def test_what_is_not_compared_says_why() -> None:
    assert verify_math(Problem("p", "", "", "math"), r"\boxed{5}") == Judgement(
        Outcome.ERROR, False, None, "the gold answer of problem p is empty"
    )
    assert verify_math(Problem("p", "", "5", "math"), r"\boxed{9^{9^9}}") == Judgement(
        Outcome.TIMEOUT, False, "9^{9^9}", "not computed: a number of millions of digits"
    )
