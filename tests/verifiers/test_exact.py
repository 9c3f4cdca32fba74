"""Answers that are texts: the same text, or a pattern."""

from __future__ import annotations

import pytest

from tpt.config import VerifyConfig
from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.judge import judge_one
from tpt.verifiers.pool.call import PoolCall, PoolResult
from tpt.verifiers.text import verify_exact, verify_regex

LIMITS = VerifyConfig(timeout_s=1.5, workers=1)


def regex(pattern: str, completion: str) -> Judgement:
    return judge_one(Problem("p", "", pattern, "regex"), completion, limits=LIMITS)


@pytest.mark.parametrize(
    ("gold", "completion", "outcome", "strict"),
    [
        ("New York", "#### New York", Outcome.CORRECT, True),
        ("New York", "#### new  york\n", Outcome.CORRECT, True),
        ("New York", "#### New York\nIs there more?", Outcome.CORRECT, True),
        ("a\nb", "####\na\nb", Outcome.CORRECT, True),
        ("New York", "It is\nnew york", Outcome.CORRECT, False),
        ("New York", "It is\n**New York.**", Outcome.CORRECT, False),
        ("New York", 'The answer is "New York".', Outcome.CORRECT, False),
        ("New York", "\\boxed{New York}", Outcome.CORRECT, False),
        ("New York", "#### 'New York'", Outcome.CORRECT, False),
        ("New York", "#### New Yorker", Outcome.WRONG, False),
        ("New York", "#### York\nNew York", Outcome.WRONG, False),
        ("New York", "It is not New York", Outcome.WRONG, False),
        ("New York", " \n", Outcome.NO_ANSWER, False),
        (" ", "#### x", Outcome.ERROR, False),
    ],
)
def test_exact(gold: str, completion: str, outcome: Outcome, strict: bool) -> None:
    judged = verify_exact(Problem("p", "", gold, "exact"), completion)
    assert (judged.outcome, judged.strict) == (outcome, strict)
    assert (judged.extracted is None) is (outcome in (Outcome.NO_ANSWER, Outcome.ERROR))


@pytest.mark.parametrize(
    ("pattern", "completion", "outcome", "strict"),
    [
        ("a+b", "#### aab", Outcome.CORRECT, True),
        ("a+b", "it is\naab", Outcome.CORRECT, False),
        ("a+b", "it is\n`aab`", Outcome.CORRECT, False),
        ("(?i)yes|no", "#### YES", Outcome.CORRECT, True),
        ("a+b", "#### aabc", Outcome.WRONG, False),
        ("a+b", "", Outcome.NO_ANSWER, False),
        ("(a+", "#### a", Outcome.ERROR, False),
        ("(a+)+b", "#### " + "a" * 50, Outcome.TIMEOUT, False),
    ],
)
def test_regex(pattern: str, completion: str, outcome: Outcome, strict: bool) -> None:
    judged = regex(pattern, completion)
    assert (judged.outcome, judged.strict) == (outcome, strict)


@pytest.mark.parametrize(
    ("result", "judgement"),
    [
        (PoolResult(value=0), Judgement(Outcome.CORRECT, True, "aab")),
        (PoolResult(value=1), Judgement(Outcome.CORRECT, False, "aab")),
        (PoolResult(value=-1), Judgement(Outcome.WRONG, False, "aab")),
        (PoolResult(problem="timeout", detail="1 s"), Judgement(Outcome.TIMEOUT, False, "aab", "1 s")),
        (PoolResult(problem="memory", detail="1 MB"), Judgement(Outcome.ERROR, False, "aab", "1 MB")),
        (PoolResult(problem="died", detail="gone"), Judgement(Outcome.ERROR, False, "aab", "gone")),
    ],
)
def test_whatever_becomes_of_a_pattern_is_a_verdict(result: PoolResult, judgement: Judgement) -> None:
    call = verify_regex(Problem("p", "", "a+b", "regex"), "#### aab")
    assert isinstance(call, PoolCall) and call.to_judgement(result) == judgement


def test_a_bad_pattern_is_named() -> None:
    assert "'(a+'" in regex("(a+", "#### a").detail
