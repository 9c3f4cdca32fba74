"""The check before a run: golds against their verifiers, duplicates, both sides against each other."""

import pytest

from tpt.check import check, check_problems, gold_completion
from tpt.errors import ProblemError, VerifierError
from tpt.problems import load_problems
from tpt.records import Outcome, Problem
from tpt.verifiers import Judgement
from tpt.verifiers.kinds import verifier_for
from tpt.verifiers.number import verify_number


def test_generated_problems_pass_their_verifier():
    train = load_problems("word_problems?split=train&size=100")
    heldout = load_problems("reasoning_gym:gsm_symbolic?size=100&split=heldout")
    found = check(train, heldout, verifier_for=verifier_for)
    found.require()
    assert (found.train.problems, found.train.kinds, found.train.duplicates) == (100, {"number": 100}, [])
    assert found.heldout is not None
    assert (found.heldout.problems, found.heldout.unchecked) == (100, [])


def test_golds_that_fail_are_named():
    problems = [Problem("a", "q", "18"), Problem("b", "r", "p - q"), Problem("c", "Q?", "-1,200.5")]
    report = check_problems(problems, verify_number)
    assert [(each.problem_id, each.outcome) for each in report.gold_failures] == [("b", Outcome.ERROR)]
    assert report.duplicates == [["a", "c"]]
    with pytest.raises(ProblemError, match=r"1 gold answers do not pass .*\n  b: 'p - q' is ERROR: .*not a number"):
        check(problems, verifier_for=verifier_for).require()


def test_a_failing_heldout_gold_fails_the_check():
    found = check([Problem("a", "q", "1")], [Problem("b", "r", "x")], verifier_for=verifier_for)
    assert found.train.ok
    assert not found.ok


def test_the_sides_must_be_disjoint():
    with pytest.raises(ProblemError, match="share the question"):
        check([Problem("a", "q", "1")], [Problem("b", "Q", "1")], verifier_for=verifier_for)


def test_an_unknown_kind_is_the_verifiers_error():
    with pytest.raises(VerifierError, match="'numbr'"):
        check([Problem("a", "q", "1", kind="numbr")], verifier_for=verifier_for)


def test_each_kind_is_looked_up_once_and_golds_come_in_its_format():
    asked, shown = [], []

    def lookup(kind):
        asked.append(kind)

        def verify(problem, completion):
            shown.append(completion)
            return Judgement(Outcome.CORRECT, True, problem.answer)

        return verify

    problems = [
        Problem("a", "q", "1"),
        Problem("b", "r", "2"),
        Problem("c", "s", "\\pi", kind="math"),
        Problem("d", "t", "", kind="code", tests=["assert f()"], solution="def f(): return 1"),
        Problem("e", "u", "", kind="code", tests=["assert f()"]),
    ]
    found = check(problems, verifier_for=lookup)
    assert asked == ["number", "math", "code"]
    assert shown == ["#### 1", "#### 2", "\\boxed{\\pi}", "```python\ndef f(): return 1\n```"]
    assert found.train.unchecked == ["e"]
    assert gold_completion(problems[4]) is None
